"""The tables of docs/lecture.md, beside the numbers of the slides.

Numbers of the slides and of papers are constants here; all others are counted in the networks. The page's
prose stands in the page itself.
"""

import math
from functools import partial

import flax.linen as nn

from analysis import markdown
from analysis.count import Count
from analysis.lecture import counted, modules, towers, trends, years
from analysis.lecture.counted import BLOCK, KB, MB, total
from analysis.summary import shape_text
from models import layers, mobilenet, resnet, resnext
from training import command

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
# Of AlexNet, of VGG-16, and their ratio, as on the slide.
SLIDE_ALEXNET_AND_VGG = {
    "memory, MB": ("1.9", "48.6", "25"),
    "parameters, M": ("61", "138", "2.3"),
    "multiply-adds, G": ("0.7", "13.6", "19.4"),
}
SLIDE_VGG = {"stages": (2, 2, 2, 3, 3)}  # the third has three convolutions in the paper
# Layers: multiply-adds in billions, top-5 error in percent, as on the slide.
SLIDE_RESNETS = {
    18: ("1.8", "10.92"),
    34: ("3.6", "8.58"),
    50: ("3.8", "7.13"),
    101: ("7.6", "6.44"),
    152: ("11.3", "5.94"),
}
# Paths: their width, top-1 error of 50 and of 101 layers in percent (arXiv:1611.05431, table 3).
RESNEXTS = {
    1: (64, 23.9, 22.0),
    2: (40, 23.0, 21.7),
    4: (24, 22.6, 21.4),
    8: (14, 22.3, 21.3),
    32: (4, 22.2, 21.2),
}


def make(networks: list[dict], parts: list[towers.Part]) -> dict[str, str]:
    """Returns each table of the page in Markdown, by the name of its markers.

    Args:
      networks: of tests/counts.json.
      parts: of `towers.alexnet`.

    Raises:
      ValueError: a network of the page lacks one of its numbers.
    """
    years.check(networks)
    known = {network["name"]: network for network in networks}
    depth, ablations = (
        (command.PROJECT / "docs" / name).read_text("utf-8")
        for name in ("depth.md", "ablations.md")
    )
    return {
        "slips": slips(),
        "winners": trends.winners(known),
        "alexnet": alexnet(),
        "alexnet_shares": alexnet_shares(),
        "two_gpus": towers.table(parts),
        "zfnet": modules.zfnet(),
        "alexnet_and_vgg": alexnet_and_vgg(),
        "kernels": kernels(),
        "stages": stages(),
        "stem": stem(),
        "stem_ratios": stem_ratios(),
        "head": head(),
        "inception_example": modules.inception_example(),
        "inception": modules.inception(),
        "resnet_stem": modules.resnet_stem(),
        "resnet_stages": modules.resnet_stages(),
        "residual_blocks": residual_blocks(),
        "block_kinds": modules.block_kinds(known),
        "resnets": resnets(known),
        "cardinality": cardinality(),
        "dense_blocks": modules.dense_blocks(),
        "dense_and_residual": modules.dense_and_residual(known),
        "separable": separable(known),
        "pointwise": modules.pointwise(),
        "units": modules.units(),
        "groups": modules.groups(known),
        "shuffle": modules.shuffle(),
        "bigger": trends.bigger(known),
        "returns": trends.returns(known),
        "efficient": trends.efficient(known),
        "seen_of_depth": trends.seen_of_depth(depth),
        "seen_of_parts": trends.seen_of_parts(ablations),
        "years": years.table(networks),
    }


def slips() -> str:
    """Returns where slides and counts differ."""
    conv4 = counted.alexnet().products[3].multiply_adds
    members = _googlenets_stem()
    work = total(members, "multiply_adds")
    vgg = counted.vgg16()
    rows = [
        ["slide", "says", "counted", "why"],
        [
            "AlexNet, conv4, multiply-adds",
            "145 M",
            f"{conv4 / 1e6:.1f} M",
            "a doubt: an error only if the slide is remembered well: 13 x 13 x 256 outputs of 384 x 3 x 3 each",
        ],
        [
            "GoogLeNet's stem, multiply-adds",
            "418 M",
            f"{work / 1e6:.1f} M, with poolings {(work + counted.pooled(members)) / 1e6:.1f} M",
            "481 with two digits swapped, as it seems",
        ],
        [
            "VGG-16, memory and multiply-adds",
            "48.6 MB, 13.6 G",
            f"{total(vgg.products, 'memory') / MB:.1f} MB, {vgg.multiply_adds / 1e9:.1f} G",
            "its third stage has three convolutions, not two; the comparison of stems has the same slip",
        ],
        [
            "CS231n's module with reductions, multiply-adds",
            f"{modules.SLIDE_INCEPTION_WORK['with']} M",
            f"{modules.example()[0].multiply_adds / 1e6:.1f} M",
            "its list of convolutions adds up to our count; with the 3x3 counted twice it is 358",
        ],
    ]
    return markdown.table(rows, left=4)


def alexnet() -> str:
    """Returns AlexNet layer by layer; what differs by more than the slide's rounding is bold."""
    network = counted.alexnet()
    shown = [layer for layer in network.layers if layer.memory]
    heads = ["layer", "input", "kernel, stride, padding", "output"]
    for figure in ("memory, KB", "parameters, k", "multiply-adds, M"):
        heads += [f"{figure}: slide", "here"]
    rows = [[*heads, ""]]
    for (name, slide), layer in zip(SLIDE_ALEXNET.items(), shown, strict=True):
        ours = layer.memory / KB, layer.parameters / 1e3, layer.multiply_adds / 1e6
        dense = layer.kind == "dense"
        pooling = layer.kind == "max pool"
        notes = ["slide without biases"] if dense else []
        notes += [f"{counted.pooled([layer]) / 1e6:.1f} M comparisons"] if pooling else []
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
    return markdown.table(rows, left=4)


def alexnet_shares() -> str:
    """Returns where memory, parameters and multiply-adds of AlexNet sit."""
    network = counted.alexnet()
    groups = {
        "convolutions": [x for x in network.layers if x.kind == "conv"],
        "poolings": [x for x in network.layers if x.kind == "max pool"],
        "fully connected": [x for x in network.layers if x.kind == "dense"],
        "all before the third convolution": counted.until(network, "max pool", 2),
    }
    rows = [["part", "memory", "parameters", "multiply-adds"]]
    for name, members in groups.items():
        shares = (
            total(members, figure) / getattr(network, figure)
            for figure in ("memory", "parameters", "multiply_adds")
        )
        rows.append([name, *(f"{100 * share:.1f} %" for share in shares)])
    return markdown.table(rows)


def alexnet_and_vgg() -> str:
    """Returns the sums of both; what the slide's VGG-16 has by its slip is bold."""
    columns = (
        _sums(network)
        for network in (counted.alexnet(), counted.vgg16(), counted.vgg16(**SLIDE_VGG))
    )
    rows = [
        ["", "AlexNet: slide", "here", "VGG-16: slide", "here", "with 2, 2, 2, 3, 3", "ratio: slide", "here"]
    ]  # fmt: skip
    for (name, (small, large, ratio)), a, v, slide in zip(
        SLIDE_ALEXNET_AND_VGG.items(), *columns, strict=True
    ):
        digits = len(large.partition(".")[2])
        wrong = abs(float(large) - v) > 0.5 * 10**-digits
        large = f"**{large}**" if wrong else large
        rows.append(
            [name, small, f"{a:.2f}", large, f"{v:.2f}", f"{slide:.2f}", ratio, f"{v / a:.1f}"]
        )
    return markdown.table(rows)


def _sums(network: Count) -> tuple[float, float, float]:
    """Returns MB of the convolutions' and matrix products' outputs, millions of parameters, billions of multiply-adds."""
    memory = total(network.products, "memory")
    return memory / MB, network.parameters / 1e6, network.multiply_adds / 1e9


def kernels() -> str:
    """Returns one 5x5 convolution beside two of 3x3."""
    rows = [["64 to 64 channels on 56 x 56", "parameters", "multiply-adds, M", "receptive field"]]
    for name, sides in (("one 5x5", [5]), ("two 3x3", [3, 3])):
        found = counted.cost(56, 64, *(partial(layers.conv, 64, side) for side in sides))
        field = found.layers[-1].receptive_field[0]
        rows.append([name, f"{found.parameters:,}", f"{found.multiply_adds / 1e6:.1f}", str(field)])
    return markdown.table(rows)


def stages() -> str:
    """Returns a 3x3 convolution of each stage of VGG."""
    rows = [["map", "channels", "memory, KB", "parameters, k", "multiply-adds, M"]]
    for side, channels in ((224, 64), (112, 128), (56, 256), (28, 512), (14, 512)):
        found = counted.cost(side, channels, partial(layers.conv, channels, 3))
        rows.append(
            [
                f"{side} x {side}",
                str(channels),
                f"{found.memory / KB:,.0f}",
                f"{found.parameters / 1e3:,.1f}",
                f"{found.multiply_adds / 1e6:,.1f}",
            ]
        )
    return markdown.table(rows, left=2)


def _googlenets_stem() -> list:
    return counted.until(counted.googlenet(), "max pool", 2)


def _vggs_stem(**fields) -> list:
    """Returns VGG-16's convolutions down to a map of 28 x 28."""
    layers_ = counted.until(counted.vgg16(**fields), "max pool", 3)
    return [layer for layer in layers_ if layer.multiply_adds]


def stem() -> str:
    """Returns what leads from 224 x 224 to 28 x 28."""
    ours = _googlenets_stem()
    alone = [layer for layer in ours if layer.multiply_adds]

    def figures(members, more=0):
        return (
            f"{total(members, 'memory') / MB:.2f}",
            f"{total(members, 'parameters'):,}",
            f"{(total(members, 'multiply_adds') + more) / 1e6:,.1f}",
        )

    rows = [
        ["from 224 to 28", "memory, MB", "parameters", "multiply-adds, M"],
        ["GoogLeNet: slide", "7.5", "124 K", "**418**"],
        ["GoogLeNet: here", *figures(ours)],
        ["its convolutions alone: here", *figures(alone)],
        [
            "an operation for each element of a pooling's window: here",
            *figures(ours, counted.pooled(ours)),
        ],
        ["VGG-16: slide", "**42.9**", "**1.1 M**", "**7,485**"],
        ["VGG-16: here", *figures(_vggs_stem())],
        ["with 2, 2, 2, 3, 3: here", *figures(_vggs_stem(**SLIDE_VGG))],
    ]
    return markdown.table(rows)


def stem_ratios() -> str:
    """Returns VGG-16's stem over GoogLeNet's; memory is that of convolutions."""
    ours = [layer for layer in _googlenets_stem() if layer.multiply_adds]
    rows = [["VGG-16 over GoogLeNet, to 28", "memory", "parameters", "multiply-adds"]]
    rows.append(["slide", "5.7", "8.9", "17.8"])
    for name, members in (
        ("here", _vggs_stem()),
        ("with 2, 2, 2, 3, 3: here", _vggs_stem(**SLIDE_VGG)),
    ):
        figures = ("memory", "parameters", "multiply_adds")
        rows.append([name, *(f"{total(members, f) / total(ours, f):.1f}" for f in figures)])
    return markdown.table(rows)


def head() -> str:
    """Returns what leads from the last map to the classes."""
    rows = [["from the last map to 1,000 classes", "parameters", "multiply-adds, M"]]
    for name, network in (
        ("GoogLeNet: global average, one layer", counted.googlenet()),
        ("VGG-16: three layers", counted.vgg16()),
    ):
        members = [layer for layer in network.layers if layer.kind == "dense"]
        work = total(members, "multiply_adds") / 1e6
        rows.append([name, f"{total(members, 'parameters'):,}", f"{work:,.1f}"])
    return markdown.table(rows)


def residual_blocks() -> str:
    """Returns the basic beside the bottleneck block, for C = 64."""
    more = {"last_scale": nn.initializers.ones, "shortcut": None}
    basic = partial(resnet.BasicBlock, width=64, **BLOCK, **more)
    bottleneck = partial(resnet.BottleneckBlock, width=64, stride_in="3x3", **BLOCK, **more)
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
    for name, channels, block in (("basic", 64, basic), ("bottleneck", 256, bottleneck)):
        found = counted.cost(56, channels, block)
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
    return markdown.table(rows)


def resnets(known: dict[str, dict]) -> str:
    """Returns the slide of the ResNets beside both forms of each.

    Args:
      known: the networks of tests/counts.json by name.
    """
    rows = [
        [
            "layers",
            "GFLOP: slide",
            "the paper's form",
            "torchvision's form",
            "top-5 error, %: slide",
            "torchvision's weights",
        ]
    ]
    for depth, (work, error) in SLIDE_RESNETS.items():
        paper = known[f"ResNet-{depth}" + ", shortcut A" * (depth < 50)]
        other = known[f"ResNet-{depth}" + " v1.5" * (depth >= 50)]
        works = (f"{n['multiply_adds'] / 1e9:.2f}" for n in (paper, other))
        rows.append([str(depth), work, *works, error, f"{other['published']['top5']:.2f}"])
    return markdown.table(rows)


def cardinality() -> str:
    """Returns ResNeXt's blocks of more and narrower paths, for C = 64."""
    rows = [
        [
            "paths x width", "width for equal cost", "parameters", "multiply-adds a position", "relative",
            "top-1 error, %: paper, 50 layers", "101 layers",
        ]
    ]  # fmt: skip
    reference = None
    for paths, (width, *errors) in RESNEXTS.items():
        block = partial(
            resnext.Block, width=paths * width, features=256, cardinality=paths, **BLOCK
        )
        found = counted.cost(56, 256, block)
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
                *(f"{error:.1f}" for error in errors),
            ]
        )
    return markdown.table(rows)


def separable(known: dict[str, dict]) -> str:
    """Returns 3x3 convolutions beside depthwise separable ones, and MobileNet of either.

    Args:
      known: the networks of tests/counts.json by name.
    """
    rows = [
        ["channels", "3x3 convolution, M", "depthwise separable, M", "times fewer", "9C / (9 + C)"]
    ]
    for channels in (64, 128, 512, 1024):
        block = partial(mobilenet.SeparableConv, features=channels, activation=layers.relu, **BLOCK)
        full, part = (
            counted.cost(14, channels, one).multiply_adds
            for one in (partial(layers.conv, channels, 3), block)
        )
        limit = f"{9 * channels / (9 + channels):.2f}"
        rows.append([f"{channels:,}", *_fewer(full, part), limit])
    full, part = (
        known[name]["multiply_adds"] for name in ("MobileNet, full convolutions", "MobileNet 1.0")
    )
    whole = _fewer(full, part)
    rows.append(["the whole MobileNet", *whole, ""])
    return markdown.table(rows, left=0)


def _fewer(full: int, part: int) -> tuple[str, str, str]:
    return f"{full / 1e6:,.2f}", f"{part / 1e6:,.2f}", f"{full / part:.2f}"
