"""Every architecture on small photographs, within minutes on a laptop.

  curl -O https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz && tar xzf imagenette2-160.tgz
  python train.py --config=configs/small.py:vgg --workdir=runs/vgg

The name after the colon is one of NETWORKS, which has each architecture; the default is resnet. Imagenette
(https://github.com/fastai/imagenette) at 32 x 32, or your own images as in configs/imagenette.py. One
recipe for all, none of a paper; networks without BatchNorm have a lower learning rate and clipped
gradients. No figures are published for this.
"""

from configs import common


def get_config(network="resnet"):
    common.one_of("small", network, NETWORKS)
    config = common.get_config()
    config.batch_size = 32
    config.total_epochs = 2.0
    config.log_steps = 20
    config.label_smoothing = 0.1

    config.input.source = "folder:imagenette2-160"
    config.input.exif_orientation = True  # as your own photographs need it
    config.input.eval_split = "val"
    config.input.image_size = 32
    config.input.resize = 36
    config.input.crop = "random_resized"
    config.input.min_area = 0.35  # gentler than ImageNet's 0.08, for a short run

    config.optimizer.learning_rate = 0.4
    config.optimizer.nesterov = True
    config.optimizer.warmup_epochs = 0.5
    config.optimizer.weight_decay = 5e-4
    if network in WITHOUT_BATCH_NORM:
        config.optimizer.learning_rate = 0.08
        config.optimizer.clip_norm = 1.0

    name, fields = NETWORKS[network]
    config.model = common.model(name, num_classes=10, **fields)
    return config


# Name: the architecture, and the fields that differ from its defaults, for images of 32 x 32.
NETWORKS = {
    "alexnet": ("alexnet", {"stem": "small", "hidden": 512, "initialization": "he"}),
    "zfnet": ("zfnet", {"stem": "small", "hidden": 512, "initialization": "he"}),
    "vgg": ("vgg", {"depth": 11, "hidden": 512}),
    "vgg_bn": ("vgg", {"depth": 11, "hidden": 512, "batch_norm": True}),
    "googlenet": ("googlenet", {"stem": "small"}),
    "googlenet_bn": ("googlenet", {"stem": "small", "form": "batch_norm"}),
    "plain": ("resnet", {"depth": 20, "layout": "cifar", "residual": False}),
    "resnet": ("resnet", {"depth": 20, "layout": "cifar", "shortcut": "A"}),
    "preact_resnet": (
        "preact_resnet",
        {"depth": 20, "layout": "cifar", "block": "basic", "shortcut": "A"},
    ),
    "resnext": (
        "resnext",
        {"depth": 11, "layout": "cifar", "cardinality": 8, "base_width": 4},
    ),
    "densenet": ("densenet", {"depth": 40, "layout": "cifar", "growth_rate": 12}),
    "mobilenet": (
        "mobilenet",
        {"stem": "small", "width_multiplier": 0.5, "bn_momentum": 0.9},
    ),
    "shufflenet": ("shufflenet", {"stem": "small", "scale": 0.5}),
    "shufflenet_v2": ("shufflenet_v2", {"stem": "small", "width_multiplier": 0.5}),
    "zoph_le": ("zoph_le", {}),
    "nasnet": (
        "nasnet",
        {
            "layout": "cifar",
            "cells": 1,
            "filters": 16,
            "stem_filters": 32,
            "drop_path_keep": 0.9,
            "epsilon": 1e-5,
            "bn_momentum": 0.9,
        },
    ),
}
FOR_SMALL_IMAGES = {"stem": "small", "layout": "cifar"}  # of an architecture that is not listed
for name in common.architectures():
    if name not in NETWORKS:
        known = common.fields_of(name)
        NETWORKS[name] = (name, {f: value for f, value in FOR_SMALL_IMAGES.items() if f in known})
WITHOUT_BATCH_NORM = ("alexnet", "zfnet", "vgg", "googlenet")
