"""MobileNet on ImageNet: Efficient Convolutional Neural Networks for Mobile Vision Applications.

Paper: https://arxiv.org/abs/1704.04861, section 3.2: RMSProp as for Inception v3 (arXiv:1512.00567),
little augmentation, no label smoothing, no auxiliary heads. The paper prints no figures; those here the
MobileNetV2 paper gives as MobileNet's (arXiv:1801.04381, section 6.1). Both trained asynchronously, here
the steps are synchronous.

  python train.py --config=configs/mobilenet.py --workdir=runs/mobilenet
  python eval.py --config=configs/mobilenet.py --workdir=runs/mobilenet

Published: 29.4 % top-1 error (70.6 % accuracy, table 4); TF-slim's weights: 29.1 %, 10.1 % top-5, one
central crop of 87.5 %. Not trained here on the full set. Narrower: --config.model.width_multiplier;
smaller images: --config.input.image_size=192 --config.input.resize=219. The 16 models of figure 4:

  python scripts/sweep.py --config=configs/mobilenet.py --workdir=runs/mobilenets --dry_run
"""

from configs import common, spaces


def get_config():
    config = common.get_config()
    config.batch_size = 96  # MobileNetV2
    config.total_epochs = 200.0  # ours: the learning rate falls to 2 %

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "random_resized"
    config.input.min_area = 0.25  # section 3.2 limits "the size of small crops"; the figure is ours
    config.input.mean = (0.5, 0.5, 0.5)  # -1 to 1, as in TF-slim
    config.input.std = (0.5, 0.5, 0.5)

    config.optimizer.name = "rmsprop"  # section 3.2
    config.optimizer.rms_decay = 0.9  # MobileNetV2, Inception v3
    config.optimizer.epsilon = 1.0  # Inception v3 (its section 8)
    config.optimizer.momentum = 0.9  # MobileNetV2
    config.optimizer.learning_rate = 0.12  # per 256 images: 0.045 at MobileNetV2's 96
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_factor = 0.98  # each epoch, MobileNetV2
    config.optimizer.decay_epochs = 1.0
    config.optimizer.weight_decay = 4e-5  # MobileNetV2
    config.optimizer.decay = "not_depthwise"  # section 3.2: "very little or no" there

    config.model = common.model("mobilenet", num_classes=1000)
    config.model.width_multiplier = 1.0  # table 1
    return config


def sweep():
    return spaces.product(
        {"model.width_multiplier": (1.0, 0.75, 0.5, 0.25)},  # section 4.2
        spaces.together(
            {"input.image_size": (224, 192, 160, 128), "input.resize": (256, 219, 183, 146)}
        ),
    )
