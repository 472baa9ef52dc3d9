"""ResNet-152 on ImageNet: Deep Residual Learning for Image Recognition.

Paper: https://arxiv.org/abs/1512.03385, section 3.4. He et al. lower the learning rate when the error
plateaus; here it falls at epochs 30 and 60 of 90, as in fb.resnet.torch.

  python train.py --config=configs/resnet152.py --workdir=runs/resnet152
  python eval.py --config=configs/resnet152.py --workdir=runs/resnet152 --crops=10

Published: 21.43 % top-1, 5.71 % top-5 error with 10 crops (table 3). Not trained here on the full
set.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 256  # section 3.4
    config.total_epochs = 90.0

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "scale_jitter"  # section 3.4
    config.input.scales = (256, 480)
    config.input.pca_lighting = 0.1  # "the standard color augmentation in [21]", AlexNet's

    config.optimizer.learning_rate = 0.1  # section 3.4, at 256 images
    config.optimizer.momentum = 0.9
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (30 / 90, 60 / 90)
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "all"  # as in fb.resnet.torch

    config.model = common.model("resnet", depth=152, num_classes=1000)
    config.model.bottleneck_stride = "1x1"
    return config
