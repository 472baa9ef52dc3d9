"""ResNet-1202 on CIFAR-10: Deep Residual Learning for Image Recognition.

Paper: https://arxiv.org/abs/1512.03385, section 4.2. He et al. train it as they train depth
110, here with the same warm-up: from 0.01 to 0.1 over 400 iterations.

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/resnet1202.py --workdir=runs/resnet1202

Published: 7.93 % test error (table 6): more than depth 110, which the paper puts down to overfitting.
Not trained here; it takes minutes to start. It keeps the maps of 1,201 layers: where memory is short,
--config.model.remat=True keeps a fourth of it (measured at depth 110, where it is 9 % slower).
"""

from configs import common


def get_config():
    config = common.cifar10()
    config.batch_size = 128
    config.total_steps = 64_000

    config.optimizer.learning_rate = 0.2  # per 256 images: 0.1 at the paper's 128
    config.optimizer.warmup_factor = 0.1
    config.optimizer.warmup_epochs = 400 * 128 / 50_000
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (32_000 / 64_000, 48_000 / 64_000)
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "all"

    config.model = common.model("resnet", depth=1202, num_classes=10)
    config.model.layout = "cifar"
    config.model.scan = True
    config.model.shortcut = "A"
    return config
