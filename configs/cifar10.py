"""ResNets on CIFAR-10 as in He et al., section 4.2: Deep Residual Learning for Image Recognition.

Paper: https://arxiv.org/abs/1512.03385. With 110 layers the paper warms up at a learning rate of 0.01 until
the training error is below 80 %, about 400 iterations; here it rises from 0.01 to 0.1 over 400 iterations,
which approximates that, and so it does with 1202.

  python scripts/prepare_data.py cifar10                      # once, or a folder:
  python train.py --config=configs/cifar10.py --workdir=runs/cifar10
  python train.py --config=configs/cifar10.py:110 --workdir=runs/resnet110 \\
      --config.input.source=folder:PATH                       # PATH/train/CLASS/*.jpg, PATH/test/...

The number after the colon is one of DEPTHS; the default is 20. Published test error (table 6): 8.75 % of 20
layers, 7.51 % of 32, 7.17 % of 44, 6.97 % of 56, 6.43 % of 110, the best of five runs (6.61 +- 0.16), and 7.93 %
of 1202, which the paper puts down to overfitting. docs/results.md has a short run of 20. 1202 layers take minutes
to start and keep the maps of each: where memory is short, --config.model.remat=True keeps a fourth of it (measured
at depth 110, where it is 9 % slower).
"""

from configs import common

DEPTHS = (20, 32, 44, 56, 110, 1202)


def get_config(depth=20):
    common.one_of("cifar10", depth, DEPTHS)
    config = common.cifar10()
    config.batch_size = 128
    config.total_steps = 64_000

    config.optimizer.learning_rate = 0.2  # per 256 images: 0.1 at the paper's 128
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (32_000 / 64_000, 48_000 / 64_000)
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "all"

    config.model = common.model("resnet", depth=int(depth), num_classes=10)
    config.model.layout = "cifar"
    config.model.shortcut = "A"
    if int(depth) >= 110:
        config.optimizer.warmup_factor = 0.1
        config.optimizer.warmup_epochs = 400 * 128 / 50_000
        config.model.scan = True  # equal blocks are compiled once
    return config
