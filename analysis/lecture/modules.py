"""Tables of docs/lecture.md on modules: Inception's, residual, dense and ShuffleNet's.

A module's figures are counted in the module itself. Numbers of slides and papers are constants here.
"""

import functools
import math
import re
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import analysis
import models
from analysis import markdown
from analysis.count import Count, Layer
from analysis.lecture import counted
from analysis.lecture.counted import BLOCK, KB, MB, total
from analysis.summary import shape_text
from models import densenet, googlenet, layers, resnet, resnext, shufflenet

CONV_RELU = partial(googlenet.ConvReLU)
# Stanford's CS231n, lecture 9 of 2 May 2017: a module on a map of 28 x 28 x 256.
SLIDE_INCEPTION = {"side": 28, "channels": 256, "widths": (128, 64, 192, 64, 96, 64)}
SLIDE_INCEPTION_WORK = {"without": 854, "with": 358}  # million multiply-adds
# Scale, groups: top-1 error in percent without and with shuffle (arXiv:1707.01083, table 3).
SHUFFLE = {
    ("1x", 3): (34.5, 32.6),
    ("1x", 8): (37.6, 32.4),
    ("0.5x", 3): (45.7, 43.2),
    ("0.5x", 8): (48.1, 42.3),
    ("0.25x", 3): (56.3, 55.0),
    ("0.25x", 8): (56.5, 52.7),
}


class NaiveInception(nn.Module):
    """1x1 | 3x3 | 5x5 | 3x3 max pooling, concatenated: no reduction, no projection (figure 2a)."""

    one: int
    three: int
    five: int

    @nn.compact
    def __call__(self, x):
        branches = [
            CONV_RELU(self.one, 1, name="1x1")(x),
            CONV_RELU(self.three, 3, name="3x3")(x),
            CONV_RELU(self.five, 5, name="5x5")(x),
            layers.max_pool(x, (3, 3), padding=((1, 1), (1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


def inception_and_naive(widths: tuple[int, ...]) -> tuple:
    """Returns a module of GoogLeNet and the same without its reductions and its projection."""
    one, _, three, _, five, _ = widths
    whole = partial(googlenet.Inception, widths, CONV_RELU, 5)
    return whole, partial(NaiveInception, one, three, five)


def zfnet() -> str:
    """Returns AlexNet beside both forms of ZFNet, layer by layer."""
    networks = [
        analysis.count(models.create(name, num_classes=1000, **fields), (224, 224, 3))
        for name, fields in (("alexnet", {}), ("zfnet", {}), ("zfnet", {"wide": True}))
    ]
    rows = [["layer: kernel, stride, output", "AlexNet", "ZFNet", "ZFNet, wide"]]
    convolutions = [[x for x in n.products if x.kind == "conv"] for n in networks]
    for i, alike in enumerate(zip(*convolutions, strict=True), 1):
        rows.append([f"conv{i}", *(_window(layer) for layer in alike)])
    rows.append(["parameters, M", *(f"{n.parameters / 1e6:.1f}" for n in networks)])
    rows.append(["multiply-adds, G", *(f"{n.multiply_adds / 1e9:.2f}" for n in networks)])
    return markdown.table(rows)


def _window(layer: Layer) -> str:
    side, stride = layer.kernel[0], layer.stride[0]
    return f"{side} x {side}, {stride}, {shape_text(layer.output)}"


@functools.cache
def example() -> tuple[Count, Count]:
    """Returns the counts of the slide's module, with and without reductions."""
    side, channels, widths = SLIDE_INCEPTION.values()
    whole, naive = (counted.cost(side, channels, one) for one in inception_and_naive(widths))
    return whole, naive


def inception_example() -> str:
    """Returns the example of the slide, layer by layer."""
    whole, naive = example()
    rows = [["convolution", "without 1x1 before it, M", "with, M"]]
    without = {_branch(layer): layer for layer in naive.products}
    for layer in whole.products:
        name, other = _branch(layer), without.get(_branch(layer))
        label = f"{name}, {layer.input[-1]} to {layer.output[-1]}"
        if other and other.input != layer.input:
            label = f"{name}, {other.input[-1]} or {layer.input[-1]} to {layer.output[-1]}"
        rows.append([label, _million(other) if other else "", _million(layer)])
    works = (f"{count.multiply_adds / 1e6:.1f}" for count in (naive, whole))
    rows.append(["all: here", *works])
    rows.append(
        ["all: slide", str(SLIDE_INCEPTION_WORK["without"]), f"**{SLIDE_INCEPTION_WORK['with']}**"]
    )
    rows.append(["parameters", f"{naive.parameters:,}", f"{whole.parameters:,}"])
    rows.append(["channels of the output", *(str(_channels(c)) for c in (naive, whole))])
    return markdown.table(rows)


def _branch(layer: Layer) -> str:
    """Returns the name of a convolution of Inception."""
    return layer.path.split("/")[-2]


def _million(layer: Layer) -> str:
    return f"{layer.multiply_adds / 1e6:.1f}"


def _channels(count: Count) -> int:
    """Returns the channels of the map that comes out."""
    return count.blocks[""][-1]


class Module(NamedTuple):
    """A module of GoogLeNet, counted in three forms."""

    name: str
    input: tuple[int, int, int]
    whole: Count
    naive: Count  # without reductions, on the same input
    stacked: Count  # the same on what the naive modules before it give


@functools.cache
def of_googlenet() -> tuple[Module, ...]:
    """Returns GoogLeNet's nine modules."""
    inputs = {layer.path.partition("/")[0]: layer.input for layer in counted.googlenet().products}
    growing = inputs["inception3a"][-1]
    found = []
    for name, widths in googlenet.INCEPTION.items():
        side, _, channels = inputs[f"inception{name}"]
        whole, naive = inception_and_naive(widths)
        stacked = counted.cost(side, growing, naive)
        growing = _channels(stacked)
        shape = (side, side, channels)
        counts = (counted.cost(side, channels, one) for one in (whole, naive))
        found.append(Module(name, shape, *counts, stacked))
    return tuple(found)


def inception() -> str:
    """Returns GoogLeNet's nine modules with and without what reduces their channels."""
    rows = [
        [
            "module", "input", "channels out", "parameters, k", "multiply-adds, M",
            "without: channels out", "parameters, k", "multiply-adds, M", "times more",
        ]
    ]  # fmt: skip

    def row(name, shape, whole, naive, out):
        more = sum(c.multiply_adds for c in naive) / sum(c.multiply_adds for c in whole)
        cells = [
            [
                one,
                f"{sum(c.parameters for c in counts) / 1e3:,.1f}",
                f"{sum(c.multiply_adds for c in counts) / 1e6:,.1f}",
            ]
            for one, counts in zip(out, (whole, naive), strict=True)
        ]
        return [name, shape, *cells[0], *cells[1], f"{more:.1f}"]

    found = of_googlenet()
    for one in found:
        out = [f"{_channels(c):,}" for c in (one.whole, one.naive)]
        rows.append(row(one.name, shape_text(one.input), [one.whole], [one.naive], out))
    _, _, whole, naive, stacked = zip(*found, strict=True)
    rows.append(row("all", "", whole, naive, ["", ""]))
    grown = f"{_channels(stacked[-1]):,}"
    rows.append(row("all, one on the other", "", whole, stacked, [out[0], grown]))
    return markdown.table(rows, left=2)


def resnet_stem() -> str:
    """Returns what stands before the first block of every ResNet for ImageNet."""
    rows = [["layer", "kernel, stride, output", "memory, KB", "parameters, k", "multiply-adds, M"]]
    stem = counted.until(counted.resnet(50), "max pool", 1)
    for layer in (layer for layer in stem if layer.memory):
        cost = f"{layer.parameters / 1e3:,.1f}", f"{layer.multiply_adds / 1e6:,.1f}"
        rows.append([layer.path, _window(layer), f"{layer.memory / KB:,.0f}", *cost])
    return markdown.table(rows, left=2)


def resnet_stages() -> str:
    """Returns ResNet-34 and 50, which have as many blocks a stage, stage by stage."""
    networks = {depth: counted.resnet(depth) for depth in (34, 50)}
    heads = ["part", "blocks", "map"]
    for depth, kind in ((34, "basic"), (50, "bottleneck")):
        heads += [
            f"ResNet-{depth}, {kind}: channels",
            "memory, MB",
            "parameters, M",
            "multiply-adds, M",
        ]
    rows = [heads]
    parts = {"stem": "", **{f"stage{i}": blocks for i, blocks in enumerate(resnet.STAGES[50], 1)}}
    for part, blocks in (parts | {"fc": "", "all": ""}).items():
        row = [part, str(blocks)]
        for depth, network in networks.items():
            members = [x for x in network.layers if part in ("all", _part(x))]
            last = [layer for layer in members if layer.memory][-1].output
            sides = shape_text(last[:2]) if len(last) == 3 else ""
            row += [sides] if depth == 34 else []
            row += [
                "" if part == "all" else f"{last[-1]:,}",
                f"{total(members, 'memory') / MB:.1f}",
                f"{total(members, 'parameters') / 1e6:.2f}",
                f"{total(members, 'multiply_adds') / 1e6:,.0f}",
            ]
        rows.append(row)
    return markdown.table(rows, left=3)


def _part(layer: Layer) -> str:
    """Returns the part of a ResNet that a layer belongs to; the global average belongs to "fc"."""
    first = layer.path.partition("/")[0]
    if first.startswith("stage"):
        return first
    return "fc" if first == "fc" or layer.kind == "global average" else "stem"


def block_kinds(known: dict[str, dict]) -> str:
    """Returns whole networks of basic and of bottleneck blocks, as many of either.

    Args:
      known: the networks of tests/counts.json by name.
    """
    rows = [
        [
            "blocks", "kind", "layers", "memory, MB", "parameters, M", "multiply-adds, G",
            "published top-1 error, %",
        ]
    ]  # fmt: skip
    for pair in ((18, 26), (34, 50)):
        for kind, depth in zip(("basic", "bottleneck"), pair, strict=True):
            network = counted.resnet(depth)
            name = f"ResNet-{depth}" + " v1.5" * (depth >= 50)
            rows.append(
                [
                    ", ".join(map(str, resnet.STAGES[depth])),
                    kind,
                    str(depth),
                    f"{network.memory / MB:.1f}",
                    f"{network.parameters / 1e6:.2f}",
                    f"{network.multiply_adds / 1e9:.2f}",
                    f"{known[name]['published']['top1']:.2f}" if name in known else "",
                ]
            )
    return markdown.table(rows, left=2)


def dense_blocks() -> str:
    """Returns DenseNet-121's blocks, and what they would cost if no layer saw the maps of those before it."""
    network = counted.densenet121()
    rows = [
        [
            "block", "layers", "map", "channels in, out", "parameters, k", "without concatenation",
            "multiply-adds, M", "without", "memory of outputs, MB", "of concatenated maps, MB",
        ]
    ]  # fmt: skip
    for number, depth in enumerate(densenet.BLOCKS[121], 1):
        name = f"block{number}"
        members = [layer for layer in network.layers if layer.path.startswith(f"{name}/")]
        side, _, before = members[0].input
        alone = counted.cost(side, before, dense_layer(32))
        after = network.blocks[name][-1]
        rows.append(
            [
                name,
                str(depth),
                f"{side} x {side}",
                f"{before}, {after:,}",
                f"{total(members, 'parameters') / 1e3:,.0f}",
                f"{depth * alone.parameters / 1e3:,.0f}",
                f"{total(members, 'multiply_adds') / 1e6:,.0f}",
                f"{depth * alone.multiply_adds / 1e6:,.0f}",
                f"{total(members, 'memory') / MB:.1f}",
                f"{concatenated(network, name) / MB:.1f}",
            ]
        )
    return markdown.table(rows, left=4)


def dense_layer(growth_rate: int, bottleneck: bool = True):
    """Returns a layer of DenseNet, to be counted."""
    conv, norm = BLOCK["conv"], BLOCK["norm"]
    drop = partial(nn.Dropout, 0.0, deterministic=True)
    return partial(densenet.DenseLayer, growth_rate, bottleneck, conv, norm, drop)


def concatenated(network: Count, prefix: str = "block") -> int:
    """Returns the bytes, in float32, of the maps that a DenseNet's layers hand on, each stored anew."""
    layer = re.compile(rf"{prefix}\d*/layer\d+")
    return 4 * sum(math.prod(s) for path, s in network.blocks.items() if layer.fullmatch(path))


def dense_and_residual(known: dict[str, dict]) -> str:
    """Returns DenseNets beside ResNets of like error.

    Args:
      known: the networks of tests/counts.json by name.
    """
    rows = [
        [
            "network", "parameters, M", "multiply-adds, G", "memory of outputs, MB",
            "published top-1 error, %",
        ]
    ]  # fmt: skip
    for name in ("ResNet-50 v1.5", "DenseNet-169", "DenseNet-201", "ResNet-101 v1.5"):
        network = known[name]
        rows.append(
            [
                name,
                f"{network['parameters'] / 1e6:.2f}",
                f"{network['multiply_adds'] / 1e9:.2f}",
                f"{4 * network['activations'] / MB:.1f}",
                f"{network['published']['top1']:.2f}",
            ]
        )
    return markdown.table(rows)


def pointwise() -> str:
    """Returns in which convolutions small networks spend their multiply-adds."""
    rows = [["network", "multiply-adds, M", "1x1", "depthwise", "other convolutions", "classifier"]]
    for name, model, fields in (
        ("MobileNet 1.0", "mobilenet", {}),
        ("ShuffleNet 1x, g = 1", "shufflenet", {"groups": 1}),
        ("ShuffleNet 1x, g = 8", "shufflenet", {"groups": 8}),
    ):
        network = analysis.count(models.create(model, num_classes=1000, **fields), (224, 224, 3))
        shares = dict.fromkeys(rows[0][2:], 0)
        for layer in network.products:
            shares[_sort(layer)] += layer.multiply_adds
        cells = (f"{100 * work / network.multiply_adds:.1f} %" for work in shares.values())
        rows.append([name, f"{network.multiply_adds / 1e6:.1f}", *cells])
    return markdown.table(rows)


def _sort(layer: Layer) -> str:
    if layer.kind == "dense":
        return "classifier"
    if layer.kernel == (1, 1):
        return "1x1"
    return "depthwise" if layer.groups == layer.input[-1] else "other convolutions"


def units() -> str:
    """Returns a unit of ResNet, of ResNeXt and of ShuffleNet, with the same channels."""
    rows = [
        [
            "unit on 28 x 28, 384 to 96 to 384", "parameters", "multiply-adds, M", "of these in 1x1",
            "inputs that an output sees", "without shuffle",
        ]
    ]  # fmt: skip
    more = {"last_scale": nn.initializers.ones, "shortcut": None, "stride_in": "3x3"}
    units = {
        "ResNet": partial(resnet.BottleneckBlock, width=96, **BLOCK, **more),
        "ResNeXt, g = 8": partial(resnext.Block, width=96, features=384, cardinality=8, **BLOCK),
    }
    units |= {f"ShuffleNet, g = {g}": shuffle_unit(g) for g in (1, 3, 8)}
    for name, unit in units.items():
        found = counted.cost(28, 384, unit)
        narrow = [layer for layer in found.products if layer.kernel == (1, 1)]
        seen = ["384", ""]  # without groups in its 1x1 convolutions
        if name.startswith("ShuffleNet") and name != "ShuffleNet, g = 1":
            groups = int(name.rpartition(" ")[2])
            seen = [str(dependence(groups, one).sum(0).max()) for one in (True, False)]
        rows.append(
            [
                name,
                f"{found.parameters:,}",
                f"{found.multiply_adds / 1e6:.2f}",
                f"{total(narrow, 'multiply_adds') / 1e6:.2f}",
                *seen,
            ]
        )
    return markdown.table(rows)


def shuffle_unit(groups: int, shuffle: bool = True, **fields):
    """Returns a unit of ShuffleNet with 384 channels and stride 1, to be counted or run."""
    fields = BLOCK | {"first": False, "shuffle": shuffle, "pooled_last": False} | fields
    return partial(shufflenet.Unit, 384, 96, groups=groups, **fields)


@functools.cache
def dependence(groups: int, shuffle: bool) -> np.ndarray:
    """Returns which channels of a unit's output depend on which of its input, as truths [384, 384].

    The unit is run on images of one pixel, each with another channel lit, and with weights of 1: what comes out
    above 0 depends on that channel.
    """
    ones = partial(layers.conv, kernel_init=nn.initializers.ones)
    unit = shuffle_unit(groups, shuffle, conv=ones)()
    lit = jnp.eye(384)[:, None, None, :]

    @jax.jit
    def run(lit):
        with layers.use_stock():  # sooner compiled
            return unit.apply(unit.init(jax.random.key(0), lit[:1]), lit)

    return np.asarray(run(lit) > 0)[:, 0, 0, :]


def groups(known: dict[str, dict]) -> str:
    """Returns ShuffleNets of about equal cost: with more groups, more channels.

    Args:
      known: the networks of tests/counts.json by name.
    """
    rows = [
        [
            "groups", "channels of the stages", "parameters", "multiply-adds, M",
            "top-1 error, %: paper, 1x", "0.5x", "0.25x",
        ]
    ]  # fmt: skip
    for g, channels in shufflenet.CHANNELS.items():
        network = known[f"ShuffleNet 1x, g = {g}"]
        errors = (
            known[f"ShuffleNet {scale}, g = {g}"]["published"]["top1"]
            for scale in ("1x", "0.5x", "0.25x")
        )
        rows.append(
            [
                str(g),
                ", ".join(f"{channels * 2**stage:,}" for stage in range(3)),
                f"{network['parameters']:,}",
                f"{network['multiply_adds'] / 1e6:.1f}",
                *(f"{error:.1f}" for error in errors),
            ]
        )
    return markdown.table(rows, left=2)


def shuffle() -> str:
    """Returns what the paper's networks lose without the shuffle."""
    rows = [["scale, groups", "top-1 error, %: paper, no shuffle", "shuffle", "points gained"]]
    for (scale, groups), (without, shuffled) in SHUFFLE.items():
        gained = f"{without - shuffled:.1f}"
        rows.append([f"{scale}, g = {groups}", f"{without:.1f}", f"{shuffled:.1f}", gained])
    return markdown.table(rows)
