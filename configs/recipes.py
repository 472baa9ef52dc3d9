"""Recipes of today, not of the networks' own papers, each with its source.

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/recipes.py:resnet18_cifar10 --workdir=runs/resnet18-cifar10

The name after the colon is one of RECIPES. Nobody has run these at full length here. Published is top-1 on the
50,000 validation images of ImageNet, one centre crop, or on CIFAR-10's test images.

  resnet18_cifar10  ResNet-18 with a 3x3 stem, 200 epochs, after main.py of github.com/kuangliu/pytorch-cifar, in
                    the version that has batches of 256. One thing differs: pixels are divided by the standard
                    deviations of configs/common.py. Published: 96 % for "standard ResNet-18 training" in the
                    README of github.com/KellerJordan/cifar10-airbench, which does not give its settings; 93.02 %
                    in an early README of pytorch-cifar, by three learning rates over 350 epochs.
  resnet50_cifar10  the same with 50 layers; 93.62 % in that early README, by the same three rates.
  resnet18_cifar10_fast  for GPUs, 31 epochs, with what airbench96.py of cifar10-airbench (arXiv:2404.00498) has that
                    ResNet-18 can have: large batches, Nesterov's momentum of 0.85, a rate that rises shortly and falls
                    on a line to 0, strong label smoothing, 16 bits. Its own network, of 10 convolutions on whitened
                    patches, its alternating flips, cutout and rates are not here, and its 96.0 % are not this one's.
  resnet50_a2, resnet50_a3  "ResNet strikes back" (arXiv:2110.00476, table 2), 300 and 100 epochs, A3 with images of
                    160 pixels. Published: 79.8 % and 78.1 %. Three things differ: A2 has 2,040 images a step for the
                    paper's 2,048, since three repeats of an image have to divide them; RandAugment interpolates
                    bilinearly; and random crops are resized by OpenCV.
  resnet50_torchvision  the recipe of ResNet50_Weights.IMAGENET1K_V2 (github.com/pytorch/vision/pull/5201, issue 3995):
                    600 epochs at 176 pixels, weights averaged. Published: 80.858 %.
  shufflenet_v2_1.5, shufflenet_v2_2.0  the same for wider ShuffleNets V2 (github.com/pytorch/vision/pull/5906).
                    Published: 72.996 % and 76.230 %, of the raw weights of the best epoch.
  mobilenet         the same, as for MobileNetV2 (github.com/pytorch/vision/pull/5560). Published: 72.154 % of
                    MobileNetV2; none of MobileNet. timm's 76.1 % (mobilenetv1_100.ra4_e3600_r224_in1k) come from
                    another recipe of 3,600 epochs.
  resnet50_ffcv16, resnet50_ffcv88  16 and 88 epochs with images that grow from 160 to 192 pixels, after rn50_configs of
                    github.com/libffcv/ffcv-imagenet. Published in its README: 73.8 % and 78.4 %, means of an image
                    and its mirror image. Its network blurs before each convolution with a stride; this one does not.
"""

from functools import partial

from configs import common, spaces

SEEDS = 3


def cifar10(depth: int):
    config = common.cifar10()
    config.batch_size = 256
    config.total_epochs = 200.0

    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "cosine"
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay = "all"

    config.model = common.model("resnet", depth=depth, stem="small", num_classes=10)
    return config


def fast_cifar10():
    config = cifar10(18)
    config.batch_size = 1024
    config.total_epochs = 31.0
    config.label_smoothing = 0.2

    config.optimizer.momentum = 0.85
    config.optimizer.nesterov = True
    config.optimizer.schedule = "linear"
    config.optimizer.warmup_epochs = 3.0  # ours, and the rate and weight decay of `cifar10`

    config.model.dtype = "bfloat16"  # airbench: float16
    return config


def strikes_back(depth: int):
    """Returns what A2 and A3 have in common."""
    config = common.get_config()
    config.batch_size = 2048
    config.loss = "bce"

    config.input.source = "tfds:imagenet2012"
    config.input.resize = 235  # a crop of 0.95 of it, as timm rounds
    config.input.interpolation = "bicubic"
    config.input.auto_augment = "ra_timm"
    config.input.ra_magnitude_std = 0.5
    config.input.mixup_alpha = 0.1
    config.input.cutmix_alpha = 1.0

    config.optimizer.name = "lamb"
    config.optimizer.epsilon = 1e-6  # timm's LAMB
    config.optimizer.clip_norm = 1.0  # timm's LAMB
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 5.0
    config.optimizer.weight_decay = 0.02

    config.model = common.model("resnet", depth=depth, num_classes=1000)
    config.model.zero_init_last = True  # timm's ResNet
    return config


def a2(depth: int):
    config = strikes_back(depth)
    config.batch_size = 2040  # ours, see above
    config.total_epochs = 300.0
    config.input.ra_magnitude = 7
    config.input.aug_repeats = 3
    config.optimizer.learning_rate = 5e-3 * 256 / 2048
    config.model.drop_path_rate = 0.05
    return config


def a3(depth: int):
    config = strikes_back(depth)
    config.total_epochs = 100.0
    config.input.image_size = 160
    config.input.eval_size = 224
    config.input.ra_magnitude = 6
    config.optimizer.learning_rate = 8e-3 * 256 / 2048
    return config


def torchvision(network: str, **fields):
    config = common.get_config()
    config.batch_size = 1024  # 8 GPUs with 128 each
    config.total_epochs = 600.0
    config.label_smoothing = 0.1
    # Its 0.99998 is for a run of another length: references/classification/train.py multiplies 1 - 0.99998 by the
    # images between two updates, and divides it by the epochs.
    config.ema_every = 32
    config.ema_decay = 1 - 2e-5 * 32 * config.batch_size / config.total_epochs  # 0.99891

    config.input.source = "tfds:imagenet2012"
    config.input.image_size = 176
    config.input.eval_size = 224
    config.input.resize = 232
    config.input.auto_augment = "ta_wide"
    config.input.random_erase = 0.1
    config.input.aug_repeats = 4
    config.input.mixup_alpha = 0.2
    config.input.cutmix_alpha = 1.0

    config.optimizer.learning_rate = 0.5 * 256 / 1024
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 5.0
    config.optimizer.warmup_factor = 0.01  # lr_warmup_decay, by its default
    config.optimizer.weight_decay = 2e-5
    config.optimizer.decay = "kernels"  # norm_weight_decay 0; there the classifier's biases decay

    config.model = common.model(network, num_classes=1000, **fields)
    return config


def ffcv(epochs: int, grow_epochs: tuple[float, float]):
    config = common.get_config()
    config.batch_size = 4096  # 8 GPUs with 512 each
    config.total_epochs = float(epochs)
    config.label_smoothing = 0.1

    config.input.source = "tfds:imagenet2012"
    config.input.start_size = 160
    config.input.image_size = 192
    config.input.grow_epochs = grow_epochs
    config.input.eval_size = 256
    config.input.resize = 293  # the crop is 224 / 256 of it

    config.optimizer.learning_rate = 1.7 * 256 / 4096
    config.optimizer.schedule = "linear"
    config.optimizer.warmup_epochs = 2.0  # lr_peak_epoch, by its default
    config.optimizer.warmup_factor = 1e-4
    config.optimizer.weight_decay = 1e-4

    config.model = common.model("resnet", depth=50, num_classes=1000)
    return config


RECIPES = {
    "resnet18_cifar10": partial(cifar10, 18),
    "resnet50_cifar10": partial(cifar10, 50),
    "resnet18_cifar10_fast": fast_cifar10,
    "resnet50_a2": partial(a2, 50),
    "resnet50_a3": partial(a3, 50),
    "resnet50_torchvision": partial(torchvision, "resnet", depth=50),
    "shufflenet_v2_1.5": partial(torchvision, "shufflenet_v2", width_multiplier=1.5),
    "shufflenet_v2_2.0": partial(torchvision, "shufflenet_v2", width_multiplier=2.0),
    "mobilenet": partial(torchvision, "mobilenet", epsilon=1e-5, bn_momentum=0.9),
    "resnet50_ffcv16": partial(ffcv, 16, (11.0, 13.0)),
    "resnet50_ffcv88": partial(ffcv, 88, (65.0, 76.0)),
}


def get_config(recipe="resnet18_cifar10"):
    common.one_of("recipes", recipe, RECIPES)
    return RECIPES[recipe]()


def sweep(recipe="resnet18_cifar10"):
    """Returns the recipe over several seeds."""
    return spaces.product({"seed": range(SEEDS)})
