"""The tables of the lecture "CNN Architectures" (EECS 498, lecture 8), counted in the networks themselves.

Each function returns a section of docs/lecture.md, which scripts/lecture.py writes. Numbers of the slides
are constants here; all others come from `analysis.count`.
"""

import functools
import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn

import analysis
import models
from analysis import markdown
from analysis.count import Count, Layer
from analysis.summary import shape_text
from models import layers, mobilenet, resnet, resnext

KB, MB = 1024, 2**20

# Layer: output in KB, parameters in thousands, multiply-adds in millions, as on the slide.
SLIDE_ALEXNET = {
    "conv1": (784, 23, 73),
    "pool1": (182, 0, 0),
    "conv2": (547, 307, 224),
    "pool2": (127, 0, 0),
    "conv3": (254, 664, 112),
    "conv4": (169, 885, 145),
    "conv5": (169, 590, 100),
    "pool5": (36, 0, 0),
    "fc6": (16, 37_749, 38),
    "fc7": (16, 16_777, 17),
    "fc8": (4, 4_096, 4),
}
# Layers: multiply-adds in billions (VGG-16: 13.6), top-5 error in percent (VGG-16: 9.62).
SLIDE_RESNETS = {
    18: ("1.8", "10.92"),
    34: ("3.6", "8.58"),
    50: ("3.8", "7.13"),
    101: ("7.6", "6.44"),
    152: ("11.3", "5.94"),
}


# What the blocks of all papers here take.
BLOCK = {"stride": 1, "conv": layers.conv, "norm": layers.batch_norm(False, dtype="float32")}


class Chain(nn.Module):
    """Modules one after the other, such as the layers or the block that a section compares."""

    parts: tuple[Callable, ...]  # that return a module

    @nn.compact
    def __call__(self, x, train: bool = False):
        for part in self.parts:
            x = part()(x)
        return x


def cost(side: int, channels: int, *parts: Callable) -> Count:
    """Counts modules on a map of side x side with `channels` channels."""
    return analysis.count(Chain(parts), (side, side, channels))


def conv(features: int, kernel: int) -> Callable:
    return partial(layers.conv, features, kernel)


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


def total(members: list[Layer], figure: str) -> int:
    """Returns the sum of a figure of `analysis.count.Layer` over layers."""
    return sum(getattr(layer, figure) for layer in members)


def introduction() -> str:
    conv4 = alexnet().products[3].multiply_adds
    stem = _until(googlenet(), "max pool", 2)
    work = total(stem, "multiply_adds")
    vgg = vgg16()
    return f"""\
# The lecture's tables, counted in the networks

The lecture "CNN Architectures" (EECS 498, University of Michigan, lecture 8) teaches with tables of memory, parameters and
operations. Here each is computed from this project's modules, beside the slide's numbers. `python
scripts/lecture.py` writes this page and its pictures, a test compares it with the modules, and
[`scripts/summarize.py`](../scripts/summarize.py) asks the same of any network. Does a part earn its cost? That is
trained in [ablations.md](ablations.md) and [depth.md](depth.md).

Two slips of the slides came to light, and one doubt; each is marked in bold where it stands:

| slide | says | counted | why |
| --- | ---: | ---: | --- |
| AlexNet, conv4, multiply-adds | 145 M | {conv4 / 1e6:.1f} M | a doubt: an error only if the slide is remembered well: 13 x 13 x 256 outputs of 384 x 3 x 3 each |
| GoogLeNet's stem, multiply-adds | 418 M | {work / 1e6:.1f} M, with poolings {(work + _pooling(stem)) / 1e6:.1f} M | 481 with two digits swapped, as it seems |
| VGG-16, memory and multiply-adds | 48.6 MB, 13.6 G | {total(vgg.products, "memory") / MB:.1f} MB, {vgg.multiply_adds / 1e9:.1f} G | its third stage has three convolutions, not two; the comparison of stems has the same slip |

The slides themselves could not be read here: their numbers are as given or remembered. Three sets of notes on the lecture confirm those of
VGG and of the stem; conv4's 145 rests on memory alone.
"""


def alexnet_table() -> str:
    network = alexnet()
    shown = [layer for layer in network.layers if layer.memory]
    heads = ["layer", "input", "kernel, stride, padding", "output"]
    for figure in ("memory, KB", "parameters, k", "multiply-adds, M"):
        heads += [f"{figure}: slide", "here"]
    rows = [[*heads, ""]]
    for (name, slide), layer in zip(SLIDE_ALEXNET.items(), shown, strict=True):
        ours = layer.memory / KB, layer.parameters / 1e3, layer.multiply_adds / 1e6
        dense = layer.kind == "dense"
        notes = ["slide without biases"] if dense else []
        cells = []
        for i, (theirs, value) in enumerate(zip(slide, ours, strict=True)):
            as_slide = layer.multiply_adds / 1e3 if dense and i == 1 else value  # without biases
            differs = abs(theirs - as_slide) > 0.5
            notes += [f"**differs: {theirs:,} for {value:,.0f}**"] if differs else []
            cells += [f"**{theirs:,}**" if differs else f"{theirs:,}", f"{value:,.1f}"]
        window = ""
        if layer.kernel:
            padding = layer.padding[0][0] if layer.kind == "conv" else 0
            window = f"{layer.kernel[0]}, {layer.stride[0]}, {padding}"
        ends = shape_text(layer.input), window, shape_text(layer.output)
        rows.append([name, *ends, *cells, ", ".join(notes)])
    ours = network.memory / KB, network.parameters / 1e3, network.multiply_adds / 1e6
    sums = [sum(column) for column in zip(*SLIDE_ALEXNET.values(), strict=True)]
    cells = [cell for s, o in zip(sums, ours, strict=True) for cell in (f"{s:,}", f"{o:,.1f}")]
    rows.append(["sum", "", "", "", *cells, "of the slide: its cells added up"])
    early = total(shown[:4], "memory") / network.memory
    return f"""\
## AlexNet, layer by layer

`python scripts/summarize.py --config=configs/alexnet.py --config.model.form=single_tower --input_size=227`
prints this for any network. The lecture's AlexNet is the one with a single tower, on 227 x 227.

{markdown.table(rows, left=4)}

Memory is that of the outputs in float32, 1 KB = 1,024 bytes. A multiply-add counts once. The slide
rounds; where it and the count differ by more than that, the cell is bold. A convolution's parameters on the
slide include the biases, a fully connected layer's do not. Flattening before fc6 moves no number: 9,216 of them, 36 KB.
Pooling has no multiply-adds (its comparisons would be {_pooling(shown) / 1e6:.1f} M).

![where memory, parameters and multiply-adds of AlexNet sit](lecture_alexnet.png)

Most memory ({early:.0%}) is that of the maps before the third convolution, nearly all parameters are in the
fully connected layers, nearly all multiply-adds in the convolutions:

{_shares(network)}
"""


def _pooling(layers_: list[Layer]) -> int:
    """Returns how many elements the windows of poolings hold, all together."""
    return sum(
        math.prod(x.output) * math.prod(x.kernel) for x in layers_ if x.kind.endswith("pool")
    )


def _shares(count: Count) -> str:
    rows = [["part", "memory", "parameters", "multiply-adds"]]
    groups = {
        "convolutions": [x for x in count.layers if x.kind == "conv"],
        "poolings": [x for x in count.layers if x.kind.endswith("pool")],
        "fully connected": [x for x in count.layers if x.kind == "dense"],
    }
    for name, members in groups.items():
        shares = (
            total(members, figure) / getattr(count, figure)
            for figure in ("memory", "parameters", "multiply_adds")
        )
        rows.append([name, *(f"{100 * share:.1f} %" for share in shares)])
    return markdown.table(rows)


def alexnet_and_vgg() -> str:
    small, large, slide = alexnet(), vgg16(), vgg16(stages=(2, 2, 2, 3, 3))

    def figures(count):
        return (
            total(count.products, "memory") / MB,
            count.parameters / 1e6,
            count.multiply_adds / 1e9,
        )

    rows = [
        [
            "",
            "AlexNet: slide",
            "here",
            "VGG-16: slide",
            "here",
            "with 2, 2, 2, 3, 3",
            "ratio: slide",
            "here",
        ]
    ]
    names = ("memory, MB", "parameters, M", "multiply-adds, G")
    slides = (("1.9", "48.6", "25"), ("61", "138", "2.3"), ("0.7", "13.6", "19.4"))
    for name, (s_small, s_large, s_ratio), a, v, two in zip(
        names, slides, figures(small), figures(large), figures(slide), strict=True
    ):
        digits = len(s_large.partition(".")[2])
        wrong = abs(float(s_large) - v) > 0.5 * 10**-digits
        shown = f"**{s_large}**" if wrong else s_large
        rows.append(
            [name, s_small, f"{a:.2f}", shown, f"{v:.2f}", f"{two:.2f}", s_ratio, f"{v / a:.1f}"]
        )
    return f"""\
## AlexNet beside VGG-16

{markdown.table(rows)}

Memory here is that of convolutions and fully connected layers alone, as on this slide. The slide's VGG-16 has
two convolutions in the third stage; the paper's has 2, 2, 3, 3, 3 (table 1, column D). With
`--config.model.stages="(2,2,2,3,3)"` the slide's numbers come out.

![memory, parameters and multiply-adds of AlexNet and VGG-16 by layer](lecture_vgg.png)
"""


def design_rules() -> str:
    one = cost(56, 64, conv(64, 5))
    two = cost(56, 64, conv(64, 3), conv(64, 3))
    rows = [["64 to 64 channels on 56 x 56", "parameters", "multiply-adds, M", "receptive field"]]
    for name, found in (("one 5x5", one), ("two 3x3", two)):
        field = found.layers[-1].receptive_field[0]
        rows.append([name, f"{found.parameters:,}", f"{found.multiply_adds / 1e6:.1f}", str(field)])
    stages = [["map", "channels", "memory, KB", "parameters, k", "multiply-adds, M"]]
    for side, channels in ((224, 64), (112, 128), (56, 256), (28, 512), (14, 512)):
        found = cost(side, channels, conv(channels, 3))
        stages.append(
            [
                f"{side} x {side}",
                str(channels),
                f"{found.memory / KB:,.0f}",
                f"{found.parameters / 1e3:,.1f}",
                f"{found.multiply_adds / 1e6:,.1f}",
            ]
        )
    return f"""\
## VGG's design rules

**Only 3x3 convolutions.** Two see as much as one 5x5, with {two.parameters / one.parameters:.0%} of its
parameters and work, and a ReLU more between them.

{markdown.table(rows)}

**Halve the map, double the channels.** Then each 3x3 convolution costs the same multiply-adds, half of the memory
and four times the parameters of one a stage before. VGG's own maps; its fifth stage keeps 512 channels, so that its
convolutions cost a quarter. Parameters in this section are without biases.

{markdown.table(stages, left=2)}
"""


def googlenet_ends() -> str:
    stem = _until(googlenet(), "max pool", 2)
    true, two = (_until(c, "max pool", 3) for c in (vgg16(), vgg16(stages=(2, 2, 2, 3, 3))))
    work = total(stem, "multiply_adds")

    def figures(members, pools):
        kept = [x for x in members if pools or x.multiply_adds]
        return (
            f"{total(kept, 'memory') / MB:.2f}",
            f"{total(kept, 'parameters'):,}",
            f"{total(kept, 'multiply_adds') / 1e6:,.1f}",
        )

    rows = [["from 224 to 28", "memory, MB", "parameters", "multiply-adds, M"]]
    rows.append(["GoogLeNet: slide", "7.5", "124 K", "**418**"])
    rows.append(["GoogLeNet: here", *figures(stem, pools=True)])
    rows.append(["VGG-16: slide", "**42.9**", "**1.1 M**", "**7,485**"])
    rows.append(["VGG-16: here", *figures(true, pools=False)])
    rows.append(["with 2, 2, 2, 3, 3: here", *figures(two, pools=False)])
    head = [x for x in googlenet().layers if x.kind == "dense"]
    full = [x for x in vgg16().layers if x.kind == "dense"]
    ends = [["from the last map to 1,000 classes", "parameters", "multiply-adds, M"]]
    for name, members in (
        ("GoogLeNet: global average, one layer", head),
        ("VGG-16: three layers", full),
    ):
        work_of = total(members, "multiply_adds") / 1e6
        ends.append([name, f"{total(members, 'parameters'):,}", f"{work_of:,.1f}"])
    conv_memory = _without_pooling(stem)
    times = [["VGG-16 over GoogLeNet, to 28", "memory", "parameters", "multiply-adds"]]
    times.append(["slide", "5.7", "8.9", "17.8"])
    for name, members in (("here", true), ("with 2, 2, 2, 3, 3: here", two)):
        ratios = (
            _without_pooling(members) / conv_memory,
            *(total(members, f) / total(stem, f) for f in ("parameters", "multiply_adds")),
        )
        times.append([name, *(f"{ratio:.1f}" for ratio in ratios)])
    return f"""\
## GoogLeNet's two ends

**An aggressive stem** takes the map from 224 to 28 before the costly part begins.

{markdown.table(rows)}

{markdown.table(times)}

The slide's 418 looks like 481 with two digits swapped: the convolutions have
{work / 1e6:.1f} M, with an operation for each element of a pooling's window
{(work + _pooling(stem)) / 1e6:.1f} M. Its memory includes GoogLeNet's poolings but not VGG's; our ratios leave both out
({conv_memory / MB:.2f} MB for GoogLeNet). Its VGG has two convolutions in the third stage, once more.

**No large fully connected layers:**

{markdown.table(ends)}
"""


def _without_pooling(members: list[Layer]) -> int:
    """Returns the bytes of the outputs of convolutions."""
    return total([x for x in members if x.multiply_adds], "memory")


def _until(count: Count, kind: str, number: int) -> list[Layer]:
    """Returns the layers up to the `number`-th of a kind."""
    found = []
    for layer in count.layers:
        found.append(layer)
        number -= layer.kind == kind
        if not number:
            return found
    raise ValueError(f"the network has too few layers of kind {kind}")


def residual_blocks(networks: list[dict]) -> str:
    more = {"last_scale": nn.initializers.ones, "shortcut": None}
    basic = cost(56, 64, partial(resnet.BasicBlock, width=64, **BLOCK, **more))
    bottleneck = cost(
        56, 256, partial(resnet.BottleneckBlock, width=64, stride_in="3x3", **BLOCK, **more)
    )
    rows = [
        [
            "block on 56 x 56",
            "channels",
            "layers",
            "multiply-adds a position",
            "in units of C x C",
            "in all, M",
        ]
    ]
    for name, channels, found in (("basic", 64, basic), ("bottleneck", 256, bottleneck)):
        position = found.multiply_adds // 56**2
        rows.append(
            [
                name,
                str(channels),
                str(len(found.products)),
                f"{position:,}",
                f"{position / 64**2:g}",
                f"{found.multiply_adds / 1e6:.1f}",
            ]
        )
    known = {network["name"]: network for network in networks}
    heads = [
        "layers",
        "GFLOP: slide",
        "the paper's form",
        "torchvision's form",
        "top-5 error, %: slide",
    ]
    table = [[*heads, "torchvision's weights"]]
    for depth, (work, error) in SLIDE_RESNETS.items():
        paper = known[f"ResNet-{depth}" + ", shortcut A" * (depth < 50)]
        other = known[f"ResNet-{depth}" + " v1.5" * (depth >= 50)]
        works = (f"{n['multiply_adds'] / 1e9:.2f}" for n in (paper, other))
        table.append([str(depth), work, *works, error, f"{other['published']['top5']:.2f}"])
    return f"""\
## Basic and bottleneck block

For C = 64. The bottleneck has one layer more and four times the channels outside, for less work: 4 + 9 + 4 = 17
products of C x C instead of 9 + 9 = 18.

{markdown.table(rows)}

**The slide of the ResNets** lists the paper's costs beside the errors of torchvision's weights, which are of another form: shortcut
B in 18 and 34 layers, and the stride of a bottleneck in its 3x3 instead of its first 1x1 convolution.

{markdown.table(table)}
"""


def cardinality() -> str:
    published = {
        1: (64, 23.9, 22.0),
        2: (40, 23.0, 21.7),
        4: (24, 22.6, 21.4),
        8: (14, 22.3, 21.3),
        32: (4, 22.2, 21.2),
    }
    rows = [
        [
            "paths x width", "width for equal cost", "parameters", "multiply-adds a position", "relative",
            "top-1 error, %: paper, 50 layers", "101 layers",
        ]
    ]  # fmt: skip
    reference = None
    for paths, (width, error_50, error_101) in published.items():
        block = partial(
            resnext.Block, width=paths * width, features=256, cardinality=paths, **BLOCK
        )
        found = cost(56, 256, block)
        position = found.multiply_adds // 56**2
        reference = reference or position
        # 9 G c^2 + 8 G c C = 17 C^2 of the bottleneck block, with C = 64
        exact = (-8 * paths + math.sqrt(64 * paths**2 + 4 * 9 * paths * 17)) / (18 * paths) * 64
        rows.append(
            [
                f"{paths} x {width}d",
                f"{exact:.2f}",
                f"{found.parameters:,}",
                f"{position:,}",
                f"{position / reference:.3f}",
                f"{error_50:.1f}",
                f"{error_101:.1f}",
            ]
        )
    return f"""\
## ResNeXt: more paths at equal cost

A block of G paths of width c on 4C channels does G (8Cc + 9c^2) multiply-adds a position: equal to the bottleneck's
17 C^2 for the widths in the second column, rounded in the paper. C = 64; parameters with BatchNorm's.

{markdown.table(rows)}

Errors: ImageNet, one crop, arXiv:1611.05431, table 3, as on the slide; the first and the last of each column are confirmed by the
authors' code, those between were not read again. [ablations.md](ablations.md) trains all five on CIFAR-10.
"""


def separable(networks: list[dict]) -> str:
    rows = [
        ["channels", "3x3 convolution, M", "depthwise separable, M", "times fewer", "9C / (9 + C)"]
    ]
    for channels in (64, 128, 512, 1024):
        full = cost(14, channels, conv(channels, 3)).multiply_adds
        part = cost(
            14,
            channels,
            partial(
                mobilenet.SeparableConv,
                features=channels,
                activation=layers.relu,
                **BLOCK,
            ),
        ).multiply_adds
        rows.append(
            [
                f"{channels:,}",
                f"{full / 1e6:,.2f}",
                f"{part / 1e6:,.2f}",
                f"{full / part:.2f}",
                f"{9 * channels / (9 + channels):.2f}",
            ]
        )
    thin, full = (
        next(n["multiply_adds"] for n in networks if n["name"] == name)
        for name in ("MobileNet 1.0", "MobileNet, full convolutions")
    )
    return f"""\
## MobileNet: depthwise separable convolutions

C to C channels on a map of 14 x 14; the limit is 9.

{markdown.table(rows, left=0)}

The whole MobileNet has {thin / 1e6:,.0f} M multiply-adds, with full convolutions in their place {full / 1e6:,.0f} M, {full / thin:.1f}
times as many, as in the paper's table 4.
"""


def networks_table(networks: list[dict]) -> str:
    """Returns the section of all networks by year.

    Args:
      networks: of tests/counts.json.
    """
    rows = [
        [
            "year", "network", "size", "parameters, M", "multiply-adds, G", "activations, M", "MB",
            "top-1 error, %", "top-5", "of",
        ]
    ]  # fmt: skip
    for network in by_year(networks):
        known = network["published"] or {"top1": None, "top5": None}
        of = f"{known['where']}, {known['source']}" if network["published"] else ""
        activations = network["activations"]
        rows.append(
            [
                str(year(network)),
                network["name"],
                str(network["image_size"]),
                f"{network['parameters'] / 1e6:.2f}",
                f"{network['multiply_adds'] / 1e9:.3f}",
                f"{activations / 1e6:.2f}",
                f"{4 * activations / MB:.1f}",
                *(f"{known[k]:.2f}" if known[k] is not None else "" for k in ("top1", "top5")),
                of,
            ]
        )
    return f"""\
## All networks by year

{markdown.table(rows, left=2)}

Activations are the outputs of convolutions and fully connected layers for one image, MB their size in float32; training keeps more,
such as the outputs of BatchNorm. Years are those of the papers' first versions; a later variant (BatchNorm, v1.5) stands in the year of its
network. Errors are published ones on ImageNet's validation set, by whom and how in the last column; nothing was trained on
ImageNet here. Recipes differ: newer ones are longer and augment more, so a row says as much of its recipe as of its network.

![top-1 accuracy against multiply-adds, area by parameters](lecture_bubbles.png)

*Published accuracy of one crop against multiply-adds; the area of a disc is the number of parameters, its colour the year. 224 x 224, NASNet-A large
331 x 331. AlexNet is Caffe's copy of the paper's network (42.9 % error); plain networks have no published error of one crop.*
"""


def check(networks: list[dict]) -> None:
    """Raises ValueError where a network of the page lacks one of its numbers."""
    wanted = {"image_size", "parameters", "multiply_adds", "activations", "published", "paper"}
    for network in networks:
        missing = sorted(wanted - network.keys())
        if network.get("readme") and missing:
            raise ValueError(
                f"tests/counts.json: {network['name']} is a row of docs/networks.md and docs/lecture.md, but has no "
                f"{', '.join(missing)}: scripts/summarize.py counts a network"
            )


def year(network: dict) -> int:
    """Returns the year of the first version of a network's paper."""
    venue, _, number = network["paper"].rpartition(" ")
    return int(number) if venue else 2000 + int(number[:2])  # NIPS 2012, or arXiv's 1512.03385


def by_year(networks: list[dict]) -> list[dict]:
    """Returns the ImageNet networks of docs/networks.md by year, within a year in the order of the file."""
    chosen = [n for n in networks if n.get("readme") and n["image_size"] >= 224]
    return sorted(chosen, key=year)


def document(networks: list[dict], two_devices: str) -> str:
    """Returns docs/lecture.md.

    Args:
      networks: of tests/counts.json.
      two_devices: the section of `analysis.towers`.
    """
    check(networks)
    sections = (
        introduction(),
        alexnet_table(),
        alexnet_and_vgg(),
        design_rules(),
        googlenet_ends(),
        residual_blocks(networks),
        cardinality(),
        separable(networks),
        two_devices,
        networks_table(networks),
    )
    return "\n".join(sections)
