"""ResNeXt-29 (8 x 64d) on CIFAR-10: Aggregated Residual Transformations for Deep Neural Networks.

Paper: https://arxiv.org/abs/1611.05431, section 5.3 and appendix A. (The first version on arXiv had
pre-activated blocks and batches of 256; the authors found these here better.)

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/resnext29.py --workdir=runs/resnext29

Published: 3.65 % test error (table 7). Not trained here. 16 x 64d, 3.58 %:
--config.model.cardinality=16.
"""

from configs import common


def get_config():
    config = common.cifar10()
    config.batch_size = 128  # appendix A
    config.total_epochs = 300.0  # appendix A

    config.optimizer.learning_rate = 0.2  # per 256 images: 0.1 at 128 (appendix A)
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True  # fb.resnet.torch, on which the authors' code is based
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (150 / 300, 225 / 300)  # appendix A
    config.optimizer.weight_decay = 5e-4  # appendix A
    config.optimizer.decay = "all"  # as in fb.resnet.torch

    config.model = common.model("resnext", depth=29, num_classes=10)
    config.model.layout = "cifar"
    config.model.cardinality = 8
    config.model.base_width = 64
    return config
