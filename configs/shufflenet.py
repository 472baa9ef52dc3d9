"""ShuffleNet 1x (g = 3) on ImageNet: An Extremely Efficient Convolutional Neural Network.

Paper: https://arxiv.org/abs/1707.01083, section 4. Zhang et al. follow ResNeXt but for weight decay, a
linear learning rate and milder crops.

  python train.py --config=configs/shufflenet.py --workdir=runs/shufflenet
  python eval.py --config=configs/shufflenet.py --workdir=runs/shufflenet

Published: 32.6 % top-1 error, one centre crop of 224 from 256 (table 2). Not trained here on the full
set. Without the shuffle 34.5 % (table 3): --config.model.shuffle=False. Other groups and widths:
--config.model.groups, --config.model.scale.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 1024  # section 4
    config.total_steps = 300_000  # section 4
    config.label_smoothing = 0.1  # the authors' code (megvii-model/ShuffleNet-Series)

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "random_resized"
    config.input.min_area = 0.25  # section 4: "slightly less aggressive"; the figure is ours
    config.input.color_jitter = 0.4  # the authors' code

    config.optimizer.learning_rate = 0.125  # per 256 images: 0.5 at the paper's 1024 (section 4)
    config.optimizer.momentum = 0.9  # as in ResNeXt
    config.optimizer.schedule = "linear"  # section 4: to 0
    config.optimizer.weight_decay = 4e-5  # section 4
    config.optimizer.decay = "kernels"  # the authors' code

    config.model = common.model("shufflenet", num_classes=1000)
    config.model.groups = 3
    config.model.scale = 1.0
    return config
