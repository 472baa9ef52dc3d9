"""ResNet-20 on CIFAR-10 as in He et al., section 4.2.

Paper: https://arxiv.org/abs/1512.03385.

  python scripts/prepare_data.py cifar10                      # once, or a folder:
  python train.py --config=configs/cifar10.py --workdir=runs/cifar10
  python train.py --config=configs/cifar10.py --workdir=runs/cifar10 \\
      --config.input.source=folder:PATH                       # PATH/train/CLASS/*.jpg, PATH/test/...

Published: 8.75 % test error (table 6). For depth 110 the paper warms up at a learning rate of 0.01.
"""

from configs import common


def get_config():
    config = common.cifar10()
    config.batch_size = 128
    config.total_steps = 64_000

    config.optimizer.learning_rate = 0.2  # per 256 images: 0.1 at the paper's 128
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (32_000 / 64_000, 48_000 / 64_000)
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "all"

    config.model = common.model("resnet", depth=20, num_classes=10)
    config.model.layout = "cifar"
    config.model.shortcut = "A"
    return config
