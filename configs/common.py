"""The fields that every config has. A config file starts from these and says what its paper says."""

from ml_collections import ConfigDict

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def get_config() -> ConfigDict:
    """Returns the shared defaults; `model` holds only what each network has."""
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 256  # over all devices of all processes
    config.model_devices = 1  # that hold one copy of the network together; 2: AlexNet's towers
    config.total_epochs = 90.0
    config.total_steps = 0  # wins over total_epochs where it is above 0
    config.log_steps = 100
    config.eval_epochs = 1.0
    config.eval_steps = 0  # wins over eval_epochs where it is above 0
    config.eval_train = False  # evaluate on the training images, too, without augmentation
    config.checkpoint_epochs = 1.0
    config.checkpoint_steps = 0
    config.keep_checkpoints = 2  # this number of the latest, and the best by top-1
    config.label_smoothing = 0.0
    config.aux_weight = 0.3  # of each auxiliary head's loss, where the network has such heads

    config.input = ConfigDict()
    config.input.source = ""  # tfds:NAME, folder:PATH, digits or synthetic
    config.input.data_dir = ""  # of TFDS; else $TFDS_DATA_DIR, else ~/tensorflow_datasets
    config.input.train_split = "train"
    config.input.eval_split = "validation"
    config.input.image_size = 224
    config.input.resize = 256  # the shorter side before a centre crop
    config.input.exif_orientation = False  # True: turn photographs, as torchvision does not
    config.input.crop = "random_resized"  # "scale_jitter", "pad" or "center"
    config.input.min_area = 0.08  # of a random resized crop
    config.input.scales = (256, 480)  # the shorter side under scale jitter
    config.input.padding = 4  # of "pad"
    config.input.flip = True
    config.input.color_jitter = 0.0  # strength; 0.4 is usual
    config.input.pca_lighting = 0.0  # standard deviation; 0.1 in AlexNet
    config.input.mean = IMAGENET_MEAN
    config.input.std = IMAGENET_STD
    config.input.in_memory = False  # decode everything once, at the start
    config.input.threads = 0  # that read and decode; 0: one a core
    config.input.max_broken_images = 10  # more than these stop the run

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # "rmsprop" or "adamw"
    config.optimizer.learning_rate = 0.1  # per 256 images
    config.optimizer.schedule = "cosine"  # constant, steps, linear, exponential, polynomial
    config.optimizer.warmup_epochs = 0.0
    config.optimizer.warmup_factor = 0.0  # the warm-up starts at this part of the learning rate
    config.optimizer.decay_at = (1 / 3, 2 / 3)  # of "steps": fractions of the run
    config.optimizer.decay_factor = 0.1  # of "steps" and "exponential"
    config.optimizer.decay_epochs = 1.0  # of "exponential"
    config.optimizer.power = 2.0  # of "polynomial"
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.rms_decay = 0.9
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.999
    config.optimizer.epsilon = 1e-8  # 1.0 is usual for RMSProp on ImageNet
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "kernels"  # "all": biases and BatchNorm, too; "not_depthwise"
    config.optimizer.clip_norm = 0.0  # 0: no clipping

    config.model = ConfigDict()
    return config


def cifar10() -> ConfigDict:
    """Returns `get_config()` with CIFAR-10 as He et al. augment it (arXiv:1512.03385, section 4.2)."""
    config = get_config()
    config.batch_size = 128
    config.log_steps = 100
    config.eval_epochs = 5.0
    config.checkpoint_epochs = 5.0

    config.input.source = "tfds:cifar10"
    config.input.eval_split = "test"
    config.input.image_size = 32
    config.input.resize = 32
    config.input.crop = "pad"
    config.input.padding = 4
    config.input.mean = (0.4914, 0.4822, 0.4465)
    config.input.std = (0.2470, 0.2435, 0.2616)
    config.input.in_memory = True
    return config


def alexnet(num_classes: int) -> ConfigDict:
    """Returns the fields of models/alexnet.py."""
    return ConfigDict(
        {
            "name": "alexnet",
            "num_classes": num_classes,
            "form": "grouped",
            "stem": "imagenet",
            "conv1_padding": 2,
            "hidden": 4096,
            "dropout": 0.5,
            "initialization": "paper",
            "response_norm": "across",
            "pooled_size": 0,
            "tower_axis": "",
            "dtype": "float32",
        }
    )


def zfnet(num_classes: int) -> ConfigDict:
    """Returns the fields of models/zfnet.py."""
    return ConfigDict(
        {
            "name": "zfnet",
            "num_classes": num_classes,
            "wide": False,
            "stem": "imagenet",
            "filter_rms": 0.1,
            "hidden": 4096,
            "dropout": 0.5,
            "initialization": "paper",
            "dtype": "float32",
        }
    )


def vgg(depth: int, num_classes: int) -> ConfigDict:
    """Returns the fields of models/vgg.py."""
    return ConfigDict(
        {
            "name": "vgg",
            "num_classes": num_classes,
            "depth": depth,
            "stages": (),
            "batch_norm": False,
            "hidden": 4096,
            "dropout": 0.5,
            "initialization": "he",
            "pooled_size": 0,
            "dtype": "float32",
        }
    )


def googlenet(num_classes: int) -> ConfigDict:
    """Returns the fields of models/googlenet.py."""
    return ConfigDict(
        {
            "name": "googlenet",
            "num_classes": num_classes,
            "form": "paper",
            "stem": "imagenet",
            "aux_heads": True,
            "dropout": 0.4,
            "dtype": "float32",
        }
    )


def resnet(depth: int, num_classes: int) -> ConfigDict:
    """Returns the fields of models/resnet.py."""
    return ConfigDict(
        {
            "name": "resnet",
            "num_classes": num_classes,
            "depth": depth,
            "layout": "imagenet",
            "residual": True,
            "shortcut": "B",
            "shortcut_zeros": "after",
            "bottleneck_stride": "3x3",
            "zero_init_last": False,
            "scan": False,
            "remat": False,
            "dtype": "float32",
        }
    )


def preact_resnet(depth: int, num_classes: int) -> ConfigDict:
    """Returns the fields of models/preact_resnet.py."""
    return ConfigDict(
        {
            "name": "preact_resnet",
            "num_classes": num_classes,
            "depth": depth,
            "layout": "imagenet",
            "block": "bottleneck",
            "order": "full_preactivation",
            "shortcut": "B",
            "bottleneck_stride": "3x3",
            "first_unit_norm": False,
            "scan": False,
            "remat": False,
            "dtype": "float32",
        }
    )


def resnext(depth: int, num_classes: int) -> ConfigDict:
    """Returns the fields of models/resnext.py."""
    return ConfigDict(
        {
            "name": "resnext",
            "num_classes": num_classes,
            "depth": depth,
            "cardinality": 32,
            "base_width": 4,
            "layout": "imagenet",
            "dtype": "float32",
        }
    )


def densenet(depth: int, num_classes: int) -> ConfigDict:
    """Returns the fields of models/densenet.py."""
    return ConfigDict(
        {
            "name": "densenet",
            "num_classes": num_classes,
            "depth": depth,
            "growth_rate": 32,
            "layout": "imagenet",
            "bottleneck": True,
            "dropout": 0.0,
            "remat": False,
            "dtype": "float32",
        }
    )


def mobilenet(num_classes: int) -> ConfigDict:
    """Returns the fields of models/mobilenet.py."""
    return ConfigDict(
        {
            "name": "mobilenet",
            "num_classes": num_classes,
            "width_multiplier": 1.0,
            "padding": "SAME",
            "activation": "relu",
            "separable": True,
            "shallow": False,
            "head_conv": False,
            "stem": "imagenet",
            "dropout": 0.001,
            "epsilon": 1e-3,
            "bn_momentum": 0.9997,
            "dtype": "float32",
        }
    )


def shufflenet(num_classes: int) -> ConfigDict:
    """Returns the fields of models/shufflenet.py."""
    return ConfigDict(
        {
            "name": "shufflenet",
            "num_classes": num_classes,
            "groups": 3,
            "scale": 1.0,
            "shuffle": True,
            "stem": "imagenet",
            "dtype": "float32",
        }
    )


def shufflenet_v2(num_classes: int) -> ConfigDict:
    """Returns the fields of models/shufflenet_v2.py."""
    return ConfigDict(
        {
            "name": "shufflenet_v2",
            "num_classes": num_classes,
            "width_multiplier": 1.0,
            "stem": "imagenet",
            "dtype": "float32",
        }
    )


def zoph_le(num_classes: int) -> ConfigDict:
    """Returns the fields of models/zoph_le.py."""
    return ConfigDict(
        {
            "name": "zoph_le",
            "num_classes": num_classes,
            "genotype": "",
            "dtype": "float32",
        }
    )


def nasnet(num_classes: int) -> ConfigDict:
    """Returns the fields of models/nasnet.py."""
    return ConfigDict(
        {
            "name": "nasnet",
            "num_classes": num_classes,
            "cells": 4,
            "filters": 44,
            "layout": "imagenet",
            "stem_filters": 32,
            "skip_reduction": False,
            "cell": "nasnet_a",
            "genotype": "",
            "padded_average": False,
            "aux_head": True,
            "dropout": 0.5,
            "drop_path_keep": 1.0,
            "epsilon": 1e-3,
            "bn_momentum": 0.9997,
            "dtype": "float32",
        }
    )
