"""DenseNet-121 on ImageNet: Densely Connected Convolutional Networks.

Paper: https://arxiv.org/abs/1608.06993, section 4.2. Huang et al. built on fb.resnet.torch.

  python train.py --config=configs/densenet121.py --workdir=runs/densenet121
  python eval.py --config=configs/densenet121.py --workdir=runs/densenet121
  python eval.py --config=configs/densenet121.py --workdir=runs/densenet121 --crops=10

Published: 25.02 % top-1, 7.71 % top-5 error with one crop, 23.61 %, 6.66 % with 10 (table 3). Not
trained here on the full set. Also 169, 201 and 264: --config.model.depth; 161 needs
--config.model.growth_rate=48, too.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 256  # section 4.2
    config.total_epochs = 90.0  # section 4.2

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "random_resized"  # the augmentation of fb.resnet.torch
    config.input.color_jitter = 0.4  # fb.resnet.torch
    config.input.pca_lighting = 0.1  # fb.resnet.torch

    config.optimizer.learning_rate = 0.1  # section 4.2, at 256 images
    config.optimizer.momentum = 0.9  # section 4.2
    config.optimizer.nesterov = True  # section 4.2
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (30 / 90, 60 / 90)  # section 4.2
    config.optimizer.weight_decay = 1e-4  # section 4.2
    config.optimizer.decay = "all"  # as in fb.resnet.torch

    config.model = common.model("densenet", depth=121, num_classes=1000)
    config.model.growth_rate = 32  # table 1
    return config
