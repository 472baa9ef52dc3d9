"""DenseNet-BC (L = 100, k = 12) on CIFAR-10: Densely Connected Convolutional Networks.

Paper: https://arxiv.org/abs/1608.06993, section 4.2.

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/densenet_bc100.py --workdir=runs/densenet_bc100

Published: 4.51 % test error with this augmentation, "C10+" (table 2). Not trained here.
"""

from configs import common


def get_config():
    config = common.cifar10()
    config.batch_size = 64  # section 4.2
    config.total_epochs = 300.0  # section 4.2

    config.optimizer.learning_rate = 0.4  # per 256 images: 0.1 at the paper's 64
    config.optimizer.momentum = 0.9  # section 4.2
    config.optimizer.nesterov = True  # section 4.2
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (0.5, 0.75)  # section 4.2
    config.optimizer.weight_decay = 1e-4  # section 4.2
    config.optimizer.decay = "all"  # as in fb.resnet.torch

    config.model = common.model("densenet", depth=100, num_classes=10)
    config.model.layout = "cifar"
    config.model.growth_rate = 12
    config.model.dropout = 0.0  # section 4.2: 0.2 only without augmentation
    return config
