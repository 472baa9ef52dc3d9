"""ShuffleNet V2 1x on ImageNet: Practical Guidelines for Efficient CNN Architecture Design.

Paper: https://arxiv.org/abs/1807.11164, section 4. Ma et al. train as ShuffleNet was trained.

  python train.py --config=configs/shufflenet_v2.py --workdir=runs/shufflenet_v2
  python eval.py --config=configs/shufflenet_v2.py --workdir=runs/shufflenet_v2

Published: 30.6 % top-1, 11.1 % top-5 error, one centre crop (the authors' repository,
megvii-model/ShuffleNet-Series). Not trained here on the full set. Other widths:
--config.model.width_multiplier.
"""

from configs import common, shufflenet


def get_config():
    config = shufflenet.get_config()
    config.model = common.model("shufflenet_v2", num_classes=1000)
    config.model.width_multiplier = 1.0
    return config
