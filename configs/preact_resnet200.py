"""Pre-activation ResNet-200 on ImageNet: Identity Mappings in Deep Residual Networks.

Paper: https://arxiv.org/abs/1603.05027. He et al. train as in arXiv:1512.03385; what they do not say
is that of fb.resnet.torch, whose ResNet-200 is this network.

  python train.py --config=configs/preact_resnet200.py --workdir=runs/preact_resnet200
  python eval.py --config=configs/preact_resnet200.py --workdir=runs/preact_resnet200

Published: 21.66 % top-1, 5.79 % top-5 error, one centre crop of 224 (fb.resnet.torch). The paper's own
figures are for crops of 320 (table 5). Not trained here on the full set.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 256  # on 8 GPUs
    config.total_epochs = 90.0

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "random_resized"  # the paper's "scale and aspect ratio augmentation"
    config.input.color_jitter = 0.4  # fb.resnet.torch
    config.input.pca_lighting = 0.1  # fb.resnet.torch

    config.optimizer.learning_rate = 0.1  # at 256 images, without a warm-up
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True  # fb.resnet.torch
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (30 / 90, 60 / 90)
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "all"  # as in fb.resnet.torch

    config.model = common.model("preact_resnet", depth=200, num_classes=1000)
    config.model.bottleneck_stride = "3x3"  # as in fb.resnet.torch
    return config
