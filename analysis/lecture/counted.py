"""The networks and layers of the lecture's tables, counted."""

import functools
import math
from collections.abc import Callable

import flax.linen as nn

import analysis
import models
from analysis.count import Count, Layer
from models import layers

KB, MB = 1024, 2**20
# What the blocks of all papers here take.
BLOCK = {"stride": 1, "conv": layers.conv, "norm": layers.batch_norm(False, dtype="float32")}


class Chain(nn.Module):
    """Modules one after the other, such as the layers or the block that a table compares."""

    parts: tuple[Callable, ...]  # that return a module

    @nn.compact
    def __call__(self, x, train: bool = False):
        for part in self.parts:
            x = part()(x)
        return x


def cost(side: int, channels: int, *parts: Callable) -> Count:
    """Counts modules on a map of side x side with `channels` channels."""
    return analysis.count(Chain(parts), (side, side, channels))


@functools.cache
def alexnet() -> Count:
    """Returns the lecture's AlexNet: one tower, images of 227 x 227, conv1 with a padding of 2."""
    model = models.create("alexnet", num_classes=1000, form="single_tower", conv1_padding=2)
    return analysis.count(model, (227, 227, 3))


@functools.cache
def vgg16(**fields) -> Count:
    return analysis.count(models.create("vgg", num_classes=1000, depth=16, **fields), (224, 224, 3))


@functools.cache
def googlenet() -> Count:
    model = models.create("googlenet", num_classes=1000, aux_heads=False)
    return analysis.count(model, (224, 224, 3))


@functools.cache
def resnet(depth: int) -> Count:
    """Returns a ResNet in torchvision's form."""
    return analysis.count(models.create("resnet", num_classes=1000, depth=depth), (224, 224, 3))


@functools.cache
def densenet121() -> Count:
    return analysis.count(models.create("densenet", num_classes=1000), (224, 224, 3))


def total(members: list[Layer], figure: str) -> int:
    """Returns the sum of a figure of `analysis.count.Layer` over layers."""
    return sum(getattr(layer, figure) for layer in members)


def until(count: Count, kind: str, number: int) -> list[Layer]:
    """Returns the layers up to the `number`-th of a kind."""
    found = []
    for layer in count.layers:
        found.append(layer)
        number -= layer.kind == kind
        if not number:
            return found
    raise ValueError(f"the network has too few layers of kind {kind}")


def pooled(members: list[Layer]) -> int:
    """Returns how many elements the windows of poolings hold, all together."""
    poolings = (layer for layer in members if layer.kind.endswith("pool"))
    return sum(math.prod(layer.output) * math.prod(layer.kernel) for layer in poolings)
