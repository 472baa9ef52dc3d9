"""Which network to take: published accuracy beside cost, of the ImageNet networks with published weights.

choice.csv has their multiply-adds, which take a second or more each to count; tests/record_choice.py
makes it.
"""

import csv
import dataclasses
import functools
import importlib.resources
import re
import statistics
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

import models
from analysis import style
from models.torch import published, weights
from models.torch.published import Published

UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}
BUDGET = re.compile(
    r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*(?:([kMG]?)\s*(parameters|multiply-adds)|(ms))\s*"
)
HEADS = [
    "weights", "published top-1, %", "top-5, %", "pixels", "parameters, M", "multiply-adds, G",
    "measured here, ms",
]  # fmt: skip
LIBRARIES = {"torchvision": "C0", "timm": "C1", "pytorchcv": "C2"}  # and their colours
AREA = 8e-6  # of a parameter in the picture
RUNS, SECONDS = 20, 10.0  # a measurement has this many runs, or fewer where they would take longer
PAGE = (  # the weights of docs/choose.md
    "torchvision/alexnet.IMAGENET1K_V1",
    "torchvision/vgg16.IMAGENET1K_V1",
    "torchvision/googlenet.IMAGENET1K_V1",
    "torchvision/resnet18.IMAGENET1K_V1",
    "torchvision/resnet50.IMAGENET1K_V1",
    "torchvision/resnet50.IMAGENET1K_V2",
    "torchvision/resnet101.IMAGENET1K_V1",
    "torchvision/resnet101.IMAGENET1K_V2",
    "torchvision/resnext50_32x4d.IMAGENET1K_V1",
    "torchvision/densenet121.IMAGENET1K_V1",
    "torchvision/shufflenet_v2_x0_5.IMAGENET1K_V1",
    "torchvision/shufflenet_v2_x1_0.IMAGENET1K_V1",
    "pytorchcv/shufflenet_g3_w1",
    "pytorchcv/mobilenet_wd2",
    "pytorchcv/mobilenet_w1",
    "timm/mobilenetv1_100.ra4_e3600_r224_in1k",
)


@dataclasses.dataclass(frozen=True)
class Choice:
    """Published weights, and what an answer of their network costs."""

    weights: Published
    module: nn.Module
    multiply_adds: int  # for one image of weights.image_size

    @property
    def key(self) -> tuple[nn.Module, int]:
        """What is measured: the network, and the pixels a side."""
        return self.module, self.weights.image_size

    @property
    def top1(self) -> float:
        """Percent; 0 where nobody says it."""
        return self.weights.top1 or 0.0

    @property
    def more_images(self) -> bool:
        """Whether the network was trained on others than ImageNet's before: timm's tag says fine-tuned."""
        return "_ft_in1k" in self.weights.name


def choices() -> list[Choice]:
    """Returns all published weights for ImageNet's 1,000 classes, the most accurate first."""
    counted = multiply_adds()
    found = []
    for one in published.networks().values():
        key = one.name.partition(".")[0], one.image_size
        if one.data == "imagenet" and key in counted:
            found.append(Choice(one, network(one.name), counted[key]))
    return sorted(found, key=lambda choice: (-choice.top1, choice.multiply_adds))


def network(name: str) -> nn.Module:
    """Returns the network of LIBRARY/MODEL or LIBRARY/MODEL.TAG, for ImageNet and without auxiliary heads.

    Raises:
      ValueError: the project does not have it.
    """
    ours, fields, _ = weights.describe(name)
    if ours == "googlenet":
        fields["aux_heads"] = False
    return models.create(ours, num_classes=1000, **fields)


@functools.cache
def multiply_adds() -> dict[tuple[str, int], int]:
    """Returns those of one image, by LIBRARY/MODEL and pixels a side."""
    file = importlib.resources.files("analysis") / "choice.csv"
    rows = csv.DictReader(file.read_text("utf-8").splitlines())
    return {(row["network"], int(row["pixels"])): int(row["multiply_adds"]) for row in rows}


def budget(text: str) -> tuple[str, float]:
    """Returns what a budget limits, "parameters", "multiply-adds" or "ms", and to how much.

    Args:
      text: for example "5M parameters", "600M multiply-adds" or "30 ms".

    Raises:
      ValueError: it is no such text.
    """
    match = BUDGET.fullmatch(text)
    if not match:
        raise ValueError(
            f'no budget: {text!r}; write "5M parameters", "600M multiply-adds" or "30 ms" '
            "(k, M and G are 10^3, 10^6 and 10^9)"
        )
    number, prefix, unit, ms = match.groups()
    return ms or unit, float(number) * UNITS[prefix or ""]


def within(found: list[Choice], what: str, limit: float) -> list[Choice]:
    """Returns those that cost at most `limit` "parameters" or "multiply-adds".

    Raises:
      ValueError: there are none.
    """
    cost = {
        "parameters": lambda choice: choice.weights.parameters,
        "multiply-adds": lambda choice: choice.multiply_adds,
    }[what]
    kept = [choice for choice in found if cost(choice) <= limit]
    if found and not kept:
        least = min(found, key=cost)
        raise ValueError(
            f"no network has at most {limit:,.0f} {what}: {least.weights.name} has {cost(least):,}"
        )
    return kept


def best(found: list[Choice]) -> list[Choice]:
    """Returns one choice a network: its most accurate weights, of those of ImageNet alone if it has such."""
    first = {}
    for choice in sorted(found, key=lambda choice: (choice.more_images, -choice.top1)):
        first.setdefault(choice.module, choice)
    return [choice for choice in found if first[choice.module] is choice]


def answers(module: nn.Module, size: int):
    """Compiles a network for one image on the default device, in float32.

    Args:
      module: from `network`.
      size: pixels a side.

    Returns:
      A function that answers once and returns the ms from the call to the logits. Weights and image are
      zeros; they lie on the device.
    """
    image = jnp.zeros((1, size, size, 3))
    shapes = models.shapes(module, (size, size, 3))
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    apply = jax.jit(lambda v, x: module.apply(v, x, train=False))
    compiled = apply.lower(variables, image).compile()

    def answer() -> float:
        start = time.perf_counter()
        jax.block_until_ready(compiled(variables, image))
        return 1000 * (time.perf_counter() - start)

    return answer


def repeat(answer) -> list[float]:
    """Returns the ms of RUNS answers after a warm one, or of at least 3 in about SECONDS."""
    times = [answer()]
    while len(times) <= 3 or len(times) <= RUNS and sum(times) < 1000 * SECONDS:
        times.append(answer())
    return times[1:]


def table(found: list[Choice], ms: dict) -> list[list[str]]:
    """Returns the cells of a table, heads first.

    Args:
      found: its rows.
      ms: what was measured, by the `key` of a choice; some may lack. Empty: there is no such column.
    """
    rows = [HEADS]
    for choice in found:
        one, took = choice.weights, ms.get(choice.key)
        rows.append(
            [
                one.name + "*" * choice.more_images,
                "unknown" if one.top1 is None else f"{one.top1:.1f}",
                "unknown" if one.top5 is None else f"{one.top5:.1f}",
                str(one.image_size),
                f"{one.parameters / 1e6:.2f}",
                f"{choice.multiply_adds / 1e9:.3f}",
                f"{statistics.median(took):.1f} ({min(took):.1f} to {max(took):.1f})"
                if took
                else "",
            ]
        )
    return rows if ms else [row[:-1] for row in rows]


def measured(page: str) -> dict:
    """Returns the lowest, middle and highest ms that a page shows, by the `key` of a choice."""
    known = {choice.weights.name: choice.key for choice in choices()}
    rows = re.findall(r"^\| ([\w/.]+) \|.*\| ([\d.]+) \(([\d.]+) to ([\d.]+)\) \|$", page, re.M)
    return {known[name]: sorted(map(float, values)) for name, *values in rows}


def picture(found: list[Choice], ms: dict) -> bytes:
    """Draws published top-1 over what was measured, with the parameters as area.

    Args:
      found: what is drawn.
      ms: as of `table`, of all of them.

    Returns:
      The picture, as a PNG.
    """
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots()
    points = []
    for choice in found:
        name, x = choice.weights.name, statistics.median(ms[choice.key])
        points.append((x, choice.top1, name.replace("IMAGENET1K_", "")))
        color = LIBRARIES[name.partition("/")[0]]
        area = AREA * choice.weights.parameters
        axes.scatter(x, choice.top1, s=area, color=color, alpha=0.6, edgecolor="white")
    for library, color in LIBRARIES.items():
        axes.scatter([], [], s=60, color=color, alpha=0.6, label=f"weights of {library}")
    for size in (5, 25, 140):
        label = f"{size} million parameters"
        axes.scatter([], [], s=AREA * size * 1e6, facecolor="none", edgecolor="black", label=label)
    axes.set(
        xscale="log",
        xlabel="an answer to one image, measured here (ms)",
        ylabel="published top-1 accuracy on ImageNet, one crop (%)",
    )
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.12)
    axes.legend(
        frameon=False, loc="lower right", fontsize=8, labelspacing=1.6, handletextpad=2, borderpad=2
    )
    style.clean(axes)
    style.label(axes, [(x, y, name.partition("/")[2]) for x, y, name in points])
    return style.png(figure)
