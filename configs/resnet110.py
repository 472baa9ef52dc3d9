"""ResNet-110 on CIFAR-10: Deep Residual Learning for Image Recognition.

Paper: https://arxiv.org/abs/1512.03385, section 4.2. He et al. warm up at a learning rate of
0.01 until the training error is below 80 %, about 400 iterations; here it rises from 0.01 to 0.1 over
400 iterations, which approximates that.

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/resnet110.py --workdir=runs/resnet110

Published: 6.43 % test error, the best of five runs (6.61 +- 0.16; table 6). Not trained here.
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

    config.model = common.model("resnet", depth=110, num_classes=10)
    config.model.layout = "cifar"
    config.model.scan = True
    config.model.shortcut = "A"
    return config
