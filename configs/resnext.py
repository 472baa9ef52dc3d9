"""ResNeXts (32 x 4d) on ImageNet: Aggregated Residual Transformations for Deep Neural Networks.

Paper: https://arxiv.org/abs/1611.05431, section 4. Xie et al. divide the learning rate by 10 three times
by the schedule of fb.resnet.torch, which does so every 30 epochs; 100 epochs in all are a choice of
ours, as torchvision's.

  python train.py --config=configs/resnext.py:101 --workdir=runs/resnext101
  python eval.py --config=configs/resnext.py:101 --workdir=runs/resnext101

The number after the colon is one of DEPTHS; the default is 50. Published top-1 error, one crop of 224 (table 3;
the authors' repository): 22.2 % of 50 layers, 21.2 % of 101, 20.4 % of 101 with 64 x 4d
(--config.model.cardinality=64). Not trained here on the full set.
"""

from configs import common

DEPTHS = (50, 101)


def get_config(depth=50):
    common.one_of("resnext", depth, DEPTHS)
    config = common.get_config()
    config.batch_size = 256  # section 4
    config.total_epochs = 100.0

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "random_resized"  # section 4, "scale and aspect ratio augmentation"
    config.input.color_jitter = 0.4  # fb.resnet.torch, on which the authors' code is based
    config.input.pca_lighting = 0.1  # the same

    config.optimizer.learning_rate = 0.1  # section 4, at 256 images
    config.optimizer.momentum = 0.9  # section 4
    config.optimizer.nesterov = True  # fb.resnet.torch
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (30 / 100, 60 / 100, 90 / 100)
    config.optimizer.weight_decay = 1e-4  # section 4
    config.optimizer.decay = "all"  # as in fb.resnet.torch

    config.model = common.model("resnext", depth=int(depth), num_classes=1000)
    config.model.cardinality = 32  # table 1
    config.model.base_width = 4
    return config
