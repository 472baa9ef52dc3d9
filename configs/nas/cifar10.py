"""A search for cells on CIFAR-10 at 16 x 16: for hours on two cores.

  python scripts/prepare_data.py cifar10                      # once; or --config.input.source=folder:PATH
  python scripts/nas.py --config=configs/nas/cifar10.py --workdir=runs/nas-cifar10
  python train.py --config=configs/nas/cifar10.py --config.model.genotype=runs/nas-cifar10/ppo.json

Children see 4,800 images, 150 steps of 32; ENAS's operations and four nodes. None of a paper but the methods; docs/nas.md has a run.
configs/nas/cifar10.py:resnet is the ResNet-8 that the cells are compared with.
"""

from configs import common
from configs.nas import common as nas


def get_config(network="nasnet"):
    config = common.cifar10()
    config.batch_size = 64
    config.total_steps = 2000
    config.log_steps = 100
    config.eval_steps = 1000
    config.checkpoint_steps = 1000
    config.input.image_size = 16
    config.input.resize = 16
    config.input.padding = 2

    config.optimizer.learning_rate = 0.4  # 0.1 at 64
    config.optimizer.nesterov = True
    config.optimizer.warmup_epochs = 0.1
    config.optimizer.weight_decay = 5e-4
    nas.network(config, network, "nas/cifar10")

    config.nas = nas.get_config()
    config.nas.validation = 10
    config.nas.space.nodes = 4
    config.nas.proxy = nas.short_training(batch_size=32, total_steps=150, learning_rate=0.4)
    config.nas.evolution.population = 25
    config.nas.evolution.sample = 8
    config.nas.sharing.seeds = 2
    config.nas.sharing.steps = 500
    config.nas.final.parameters = 78_000  # of ResNet-8
    return config
