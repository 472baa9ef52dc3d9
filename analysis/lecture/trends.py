"""Tables of docs/lecture.md on the whole: ILSVRC's winners, the summary's trends, and what was seen here.

Published errors are those of tests/counts.json and the constants below; what was seen here is read from
docs/ablations.md and docs/depth.md, so that it stands in one place.
"""

import re
from typing import NamedTuple

from analysis import ablation, markdown
from analysis.intervals import Interval


class Winner(NamedTuple):
    """An entry of ILSVRC's classification task, by its top-5 error on the test images."""

    year: int
    who: str
    layers: int | None  # of a network; None: no network of layers
    error: float  # percent
    entry: str
    source: str
    network: str = ""  # the same in tests/counts.json


ORGANISERS = "organisers"
WINNERS = (
    Winner(2010, "Lin et al.", None, 28.2, "no network", ORGANISERS),
    Winner(2011, "Sanchez and Perronnin", None, 25.8, "no network", ORGANISERS),
    Winner(2012, "AlexNet", 8, 16.4, "5 networks", ORGANISERS, "AlexNet"),
    Winner(2013, "Zeiler and Fergus (Clarifai)", 8, 11.7, "several", ORGANISERS, "ZFNet"),
    Winner(2014, "VGG, second", 19, 7.3, "7 networks", ORGANISERS, "VGG-19"),
    Winner(2014, "GoogLeNet", 22, 6.7, "7 networks, 144 crops", ORGANISERS, "GoogLeNet"),
    Winner(2015, "ResNet", 152, 3.6, "6 networks", "1512.03385", "ResNet-152 v1.5"),
    Winner(2016, "Shao et al. (Trimps-Soushen)", 152, 3.0, "several", ORGANISERS),
    Winner(2017, "SENet", 152, 2.3, "several", "1709.01507"),
)
HUMAN = 5.1  # top-5 error of one trained person (1409.0575, section 6.4)

BIGGER = ("AlexNet, 227 x 227", "ZFNet", "ZFNet, wide", "VGG-16", "VGG-19")
RESNETS = (
    "ResNet-18",
    "ResNet-34",
    "ResNet-50 v1.5",
    "ResNet-101 v1.5",
    "ResNet-152 v1.5",
    "PreAct ResNet-200",
)
# A network that is more efficient, and the one that it is compared with.
EFFICIENT = (
    ("GoogLeNet", "VGG-16"),
    ("ResNet-50 v1.5", "VGG-16"),
    ("ResNeXt-50 32x4d", "ResNet-101 v1.5"),
    ("DenseNet-201", "ResNet-101 v1.5"),
    ("MobileNet 1.0", "VGG-16"),
    ("ShuffleNet 0.5x, g = 3", "AlexNet, 227 x 227"),
    ("ShuffleNet V2 1x", "ResNet-18"),
    ("NASNet-A mobile (4 @ 1056)", "ShuffleNet 2x, g = 3"),
)


def winners(known: dict[str, dict]) -> str:
    """Returns the winners by year, and what one network of each has in this project.

    Args:
      known: the networks of tests/counts.json by name.
    """
    rows = [
        [
            "year", "who", "layers", "top-5 error, %", "of", "source", "here: one network",
            "parameters, M", "multiply-adds, G", "its published top-5 error, %",
        ]
    ]  # fmt: skip
    for winner in WINNERS:
        row = [
            str(winner.year),
            winner.who,
            str(winner.layers or "shallow"),
            f"{winner.error:.1f}",
            winner.entry,
            winner.source,
        ]
        cells = [""] * 4
        if winner.network:
            network = known[winner.network]
            result = network["published"]
            cells = [
                winner.network,
                *_size(network),
                f"{result['top5']:.1f} ({result['where']})",
            ]
        rows.append(row + cells)
    rows.append(
        ["", "a person", "", f"{HUMAN}", "1,500 images", "1409.0575, section 6.4"] + [""] * 4
    )
    return markdown.table(rows, left=2)


def bigger(known: dict[str, dict]) -> str:
    """Returns the networks up to VGG: ever larger, ever better.

    Args:
      known: the networks of tests/counts.json by name.
    """
    rows = [["network", "parameters, M", "multiply-adds, G", "published top-1 error, %", "top-5"]]
    for name in (*BIGGER, "GoogLeNet"):
        rows.append([name, *_size(known[name]), *_errors(known[name])])
    return markdown.table(rows)


def _size(network: dict) -> tuple[str, str]:
    return f"{network['parameters'] / 1e6:.1f}", f"{network['multiply_adds'] / 1e9:.2f}"


def _errors(network: dict) -> tuple[str, str]:
    return tuple(f"{network['published'][key]:.2f}" for key in ("top1", "top5"))


def returns(known: dict[str, dict]) -> str:
    """Returns what each deeper ResNet gains, and what it costs.

    Args:
      known: the networks of tests/counts.json by name.
    """
    rows = [
        [
            "network", "parameters, M", "multiply-adds, G", "published top-1 error, %",
            "points gained", "multiply-adds added, G", "points for each G added",
        ]
    ]  # fmt: skip
    before = None
    for name in RESNETS:
        network = known[name]
        cells = ["", "", ""]
        if before:
            gained = before["published"]["top1"] - network["published"]["top1"]
            added = (network["multiply_adds"] - before["multiply_adds"]) / 1e9
            cells = [f"{gained:.2f}", f"{added:.2f}", f"{gained / added:.2f}"]
        rows.append([name, *_size(network), _errors(network)[0], *cells])
        before = network
    return markdown.table(rows)


def efficient(known: dict[str, dict]) -> str:
    """Returns networks beside larger ones that are about as good.

    Args:
      known: the networks of tests/counts.json by name.
    """
    rows = [
        [
            "network", "beside", "times fewer parameters", "times fewer multiply-adds",
            "published top-1 error, %", "of the other", "points gained",
        ]
    ]  # fmt: skip
    for name, other in EFFICIENT:
        one, two = known[name], known[other]
        ratios = (f"{two[key] / one[key]:.1f}" for key in ("parameters", "multiply_adds"))
        errors = [n["published"]["top1"] for n in (one, two)]
        rows.append(
            [name, other, *ratios, *(f"{e:.2f}" for e in errors), f"{errors[1] - errors[0]:+.2f}"]
        )
    return markdown.table(rows, left=2)


# What the lecture says of depth, and the row of docs/depth.md that answers.
DEPTH = {
    "a deeper plain network is worse, on its training images, too": (
        "Plain networks train worse with 56 layers than with 20"
    ),
    "with shortcuts it is not": "Residual networks do not train worse with 56 layers than with 20",
    "shortcuts are what makes the difference": (
        "Plain networks lose more by depth than residual ones"
    ),
    "deeper networks do better": "residual",
}
DATA = {"the digits": "The digits", "CIFAR-10 at 8 x 8": "CIFAR-10's thumbnails"}  # its sections
# The claim of docs/ablations.md, and what the lecture says.
PARTS = {
    "response_norm: response normalisation better than without": (
        "response normalisation is not used any more"
    ),
    "googlenet: auxiliary heads (the paper's) better than neither": (
        "auxiliary classifiers help a network without BatchNorm"
    ),
    "googlenet: BatchNorm and auxiliary heads better than BatchNorm": (
        "with BatchNorm they are not needed"
    ),
    "googlenet: BatchNorm better than neither": "BatchNorm lets deeper networks train",
    "preactivation: full pre-activation better than original": "pre-activation is a little better",
    "cardinality: 32 x 4d better than 1 x 64d": "more paths are better at equal cost",
    "shuffle: g = 3, shuffle better than g = 3, no shuffle": "groups need the shuffle",
    "shuffle: g = 8, shuffle better than g = 8, no shuffle": "the same, 8 groups",
    "width: 0.5 better than 0.25": "bigger works better: a wider MobileNet",
    "width: 0.75 better than 0.5": "the same, with less to gain",
    "width: 1 better than 0.75": "the same, with less still",
}
INTERVAL = re.compile(r"(\S+) \((\S+) to (\S+), n = (\d+)\)")  # as `Interval` writes itself


def seen_of_depth(page: str) -> str:
    """Returns what the runs of docs/depth.md, whose text `page` is, say of the lecture.

    Raises:
      ValueError: the page lacks one of the rows.
    """
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    rows = [["the lecture says", "measured", "data", "found, points (95 % interval)", "verdict"]]
    for says, name in DEPTH.items():
        for data, heading in DATA.items():
            cells = _rows(sections.get(heading, ""), name)[0]
            if name == "residual":  # of the training error, and of the test error
                found = cells[1]
                error, low, high, n = map(float, INTERVAL.search(found).groups())
                verdict = ablation.verdict(Interval(-error, -high, -low, int(n)))
                measured = "test error of ResNet-56 less that of ResNet-20"
            else:
                found, needed, verdict = cells
                measured, verdict = name, f"{verdict} (needed: {needed})"
            rows.append([says, measured, data, found, verdict])
            says = ""
    return markdown.table(rows, left=5)


def seen_of_parts(page: str) -> str:
    """Returns what the runs of docs/ablations.md, whose text `page` is, say of the lecture.

    Raises:
      ValueError: the page lacks one of the rows.
    """
    rows = [
        [
            "the lecture says", "claim", "paper, points", "H100, four epochs",
            "stands among thirteen", "two cores, an epoch or less",
        ]
    ]  # fmt: skip
    for claim, says in PARTS.items():
        (paper, gpu, cpu), *together = _rows(page, claim)[:2]
        stands = together[0][-1] if gpu and together else ""
        rows.append([says, claim, paper, gpu, stands, cpu])
    return markdown.table(rows, left=6)


def _rows(page: str, name: str) -> list[list[str]]:
    """Returns the cells behind the first one, `name`, of each row of a page that begins so."""
    found = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", page, re.M)
    if not found:
        raise ValueError(
            f'no row begins with "{name}": analysis/lecture/trends.py reads it in docs/depth.md '
            "or docs/ablations.md; where that page calls it otherwise now, say so there"
        )
    return [[cell.strip() for cell in row.split("|")] for row in found]
