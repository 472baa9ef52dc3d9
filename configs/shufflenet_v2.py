"""ShuffleNet V2 1x on ImageNet: Practical Guidelines for Efficient CNN Architecture Design.

Paper: https://arxiv.org/abs/1807.11164, section 4. Ma et al. train as ShuffleNet was trained.

  python train.py --config=configs/shufflenet_v2.py --workdir=runs/shufflenet_v2
  python eval.py --config=configs/shufflenet_v2.py --workdir=runs/shufflenet_v2

Published: 30.6 % top-1, 11.1 % top-5 error, one centre crop (the authors' repository,
megvii-model/ShuffleNet-Series). Not trained here on the full set. Other widths:
--config.model.width_multiplier.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 1024  # as for ShuffleNet (arXiv:1707.01083, section 4)
    config.total_steps = 300_000  # the same
    config.label_smoothing = 0.1  # the authors' code

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "random_resized"
    config.input.min_area = 0.25  # "slightly less aggressive" than 0.08; the figure is ours
    config.input.color_jitter = 0.4  # the authors' code

    config.optimizer.learning_rate = 0.125  # per 256 images: 0.5 at 1024
    config.optimizer.momentum = 0.9
    config.optimizer.schedule = "linear"  # to 0
    config.optimizer.weight_decay = 4e-5
    config.optimizer.decay = "kernels"  # the authors' code

    config.model = common.model("shufflenet_v2", num_classes=1000)
    config.model.width_multiplier = 1.0
    return config
