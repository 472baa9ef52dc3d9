"""ResNet-50 on ImageNet as He et al. trained it.

Paper: https://arxiv.org/abs/1512.03385, section 3.4. The paper lowers the learning rate when the
error plateaus; here it falls at epochs 30 and 60 of 90, as in fb.resnet.torch.

  python train.py --config=configs/resnet50_he.py --workdir=runs/resnet50_he
  python eval.py --config=configs/resnet50_he.py --workdir=runs/resnet50_he --crops=10

Published: 22.85 % top-1 error of ResNet-50 with 10 crops (table 3). Not trained here on the full set.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 256
    config.total_epochs = 90.0

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "scale_jitter"
    config.input.scales = (256, 480)
    config.input.pca_lighting = 0.1  # "the standard color augmentation in [21]", AlexNet's

    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (30 / 90, 60 / 90)
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "all"

    config.model = common.model("resnet", depth=50, num_classes=1000)
    config.model.bottleneck_stride = "1x1"
    return config
