"""ResNets on ImageNet as He et al. trained them: Deep Residual Learning for Image Recognition.

Paper: https://arxiv.org/abs/1512.03385, section 3.4. The paper lowers the learning rate when the error
plateaus; here it falls at epochs 30 and 60 of 90, as in fb.resnet.torch.

  python train.py --config=configs/resnet.py:152 --workdir=runs/resnet152
  python eval.py --config=configs/resnet.py:152 --workdir=runs/resnet152 --crops=10

The number after the colon is one of DEPTHS; the default is 50. Published error with 10 crops (table 3): 22.85 %
top-1, 6.71 % top-5 of 50 layers; 21.75 %, 6.05 % of 101; 21.43 %, 5.71 % of 152. Not trained here on the full
set. configs/cifar10.py has the networks for CIFAR-10, configs/resnet50.py a newer recipe.
"""

from configs import common

DEPTHS = (18, 34, 50, 101, 152)  # table 1


def get_config(depth=50):
    common.one_of("resnet", depth, DEPTHS)
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

    config.model = common.model("resnet", depth=int(depth), num_classes=1000)
    config.model.bottleneck_stride = "1x1"
    return config
