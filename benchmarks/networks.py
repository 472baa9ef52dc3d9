"""The networks that `train` and `infer` measure: their names, their configs, their twins in PyTorch."""

import re

import numpy as np
from ml_collections import ConfigDict

import configs
import data
import models
from configs import common
from models.torch import weights
from training import command, sharding, steps

DEFAULT = (
    "torchvision/alexnet@32x224",
    "torchvision/vgg11@8x224",
    "torchvision/googlenet@8x224",
    "torchvision/resnet18@8x224",
    "torchvision/resnet50@8x224",
    "torchvision/resnext50_32x4d@8x224",
    "torchvision/densenet121@8x224",
    "timm/mobilenetv1_100@8x224",
    "torchvision/shufflenet_v2_x1_0@8x224",
    "akamaster/resnet20@128x32",
    "akamaster/resnet56@128x32",
)
TWINS = (  # that a config may equal
    *("torchvision/" + name for name in ("alexnet", "googlenet")),
    *(f"torchvision/vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "_bn")),
    *(f"torchvision/resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"torchvision/wide_resnet{depth}_2" for depth in (50, 101)),
    *(f"torchvision/resnext{name}d" for name in ("50_32x4", "101_32x8", "101_64x4")),
    *(f"torchvision/densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"torchvision/shufflenet_v2_x{scale}" for scale in ("0_5", "1_0", "1_5", "2_0")),
    *(f"timm/mobilenetv1_{scale}" for scale in ("100", "100h", "125")),
    "timm/nasnetalarge",
    *(f"akamaster/resnet{depth}" for depth in (20, 32, 44, 56, 110, 1202)),
)


def parse(text: str, batch: int, size: int | None) -> tuple[str, int, int | None]:
    """Returns (name, images a batch, pixels a side) of NETWORK or NETWORK@BATCHxSIZE.

    Raises:
      ValueError: something else stands behind the "@".
    """
    name, at, shape = text.partition("@")
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", shape)
    if at and not found:
        raise ValueError(f"{text!r}: write NETWORK@BATCHxSIZE, as in akamaster/resnet20@128x32")
    return (name, int(found[1]), int(found[2])) if found else (name, batch, size)


def load(name: str, batch: int, size: int | None, dtype: str) -> ConfigDict:
    """Returns the config of a network, for `train.build`.

    A file of configs/ keeps its recipe, with what its step computes of the augmentation. A network of
    PyTorch gets SGD with momentum 0.9 and weight decay, and no augmentation.

    Args:
      name: `configs/NAME.py`, `configs/NAME.py:ARGUMENT`, or LIBRARY/MODEL of `models.torch.weights`;
        with "+FIELD" behind it, for example "+scan", this switch of the network is on.
      batch: images.
      size: pixels a side; None: the config's own, 32 for CIFAR's networks, else 224.
      dtype: of the computation.

    Raises:
      ValueError: no such network, or it has no such switch.
    """
    name, *switches = name.split("+")
    if is_config(name):
        command.parse(["benchmark.py", f"--config={name}"], configs)
        config = command.CONFIG.value
    else:
        network, fields, _ = weights.describe(name)
        cifar = fields.get("layout") == "cifar"
        config = common.cifar10() if cifar else common.get_config()
        config.model = ConfigDict(fields | {"name": network, "num_classes": 10 if cifar else 1000})
        config.input.crop, config.input.flip = "center", False
        config.optimizer.learning_rate = 0.256 / batch  # 0.001 a step
        config.optimizer.schedule = "constant"
    config.batch_size = batch
    config.model.dtype = dtype
    if size:
        config.input.image_size = size
    with config.model.unlocked():
        config.model.update(dict.fromkeys(switches, True))
    module = models.create(**config.model)  # raises where a field is wrong
    for switch in switches:
        if not isinstance(getattr(type(module), switch, None), bool):  # its default
            raise ValueError(f"+{switch}: model.{switch} is not a switch, true or false")
    return config


def is_config(name: str) -> bool:
    """Whether the network is named by a file of configs/."""
    return re.split("[:+]", name)[0].endswith(".py")


def twin(config: ConfigDict) -> str | None:
    """Returns the LIBRARY/MODEL that is the network of `config`, if any is.

    Its classes may be others, and it may run its blocks in another way.
    """
    if len(config.input.mean) != 3:
        return None
    module = models.create(**config.model)
    for name in TWINS:
        network, fields, _ = weights.describe(name)
        if network == config.model.name:
            free = ("num_classes", "dtype", "scan", "remat")
            more = {field: config.model[field] for field in free if field in config.model}
            if models.create(network, **fields, **more) == module:
                return name
    return None


def training(config: ConfigDict, mesh):
    """Returns (state, training step, (batch, key)); the batch is noise and lies on the devices."""
    import train

    _, state, step, *_ = train.build(config, mesh, total_steps=1000, steps_per_epoch=100.0)
    rng, shape = np.random.default_rng(0), data.input_shape(config.input)
    images = rng.integers(0, 256, (config.batch_size, *shape), np.uint8)
    labels = rng.integers(0, config.model.num_classes, config.batch_size, np.int32)
    batch = sharding.to_global({"image": images, "label": labels}, mesh)
    return state, step, (batch, steps.make_key(0, mesh))
