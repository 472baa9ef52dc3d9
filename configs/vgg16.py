"""VGG-16 on ImageNet: Very Deep Convolutional Networks for Large-Scale Image Recognition.

Paper: https://arxiv.org/abs/1409.1556. Simonyan and Zisserman lower the learning rate three times, when
the validation accuracy stalls (section 3.1); the epochs here, 25, 45 and 60, are a choice of ours.

  python train.py --config=configs/vgg16.py --workdir=runs/vgg16
  python eval.py --config=configs/vgg16.py --workdir=runs/vgg16

Published: 24.4 % top-1, 7.2 % top-5 error of one network, many crops and dense evaluation at several
scales (table 5); torchvision's weights: 28.41 %, 9.62 %, one centre crop. Not trained here on the full
set. Net 11 and 19: --config.model.depth.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 256  # section 3.1
    config.total_epochs = 74.0  # section 3.1

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "scale_jitter"  # section 3.1, "multi-scale training"
    config.input.scales = (256, 512)
    config.input.pca_lighting = 0.1  # section 3.1, "random RGB colour shift", AlexNet's

    config.optimizer.learning_rate = 0.01  # section 3.1, at 256 images
    config.optimizer.momentum = 0.9  # section 3.1
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (25 / 74, 45 / 74, 60 / 74)
    config.optimizer.weight_decay = 5e-4  # section 3.1
    config.optimizer.decay = "kernels"  # ours, as Caffe's networks; the paper does not say

    config.model = common.model("vgg", depth=16, num_classes=1000)
    config.model.dropout = 0.5  # section 3.1
    # Ours: the paper starts net 16 from a trained net 11 (section 3.1). The paper subtracts the mean
    # from pixels of 0 to 255; here they have unit variance, too, as this initialisation assumes.
    config.model.initialization = "he"
    return config
