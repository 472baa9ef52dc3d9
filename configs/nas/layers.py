"""The search of Zoph and Le, layer by layer with skip connections, at the paper's size, for clusters.

  python scripts/nas.py --config=configs/nas/layers.py --workdir=/shared/layers --parallel=8
  python train.py --config=configs/nas/layers.py --config.model.genotype=/shared/layers/reinforce.json

Neural Architecture Search with Reinforcement Learning (arXiv:1611.01578): 12,800 children, 50 epochs each on
45,000 images of CIFAR-10, on 800 GPUs. The paper lets the depth grow, rewards by the cube of the highest accuracy
of the last five epochs, and starts from weights in +-0.08; here all children have `layers`, the reward is the last
accuracy, the weights start in +-0.1. Nobody has run this here.
"""

from ml_collections import ConfigDict

from configs import zoph_le
from configs.nas import common as nas


def get_config():
    config = zoph_le.get_config()
    config.nas = nas.get_config()
    config.nas.methods = ("reinforce", "random")
    config.nas.seeds = 1
    config.nas.asks = 12_800
    config.nas.batch = 8  # children of one replica of the controller
    config.nas.children = "runs"
    config.nas.validation = 10  # 5,000 images
    config.nas.space = ConfigDict(
        {
            "kind": "layers",
            "layers": 15,
            "sides": (1, 3, 5, 7),
            "filters": (24, 36, 48, 64),
            "strides": (1,),  # (1, 2, 3) in the paper's second space
        }
    )
    config.nas.reinforce.hidden = 35  # of two layers in the paper; one here
    config.nas.reinforce.learning_rate = 6e-4
    config.nas.reinforce.entropy = 0.0
    config.nas.final.networks = ()
    return config
