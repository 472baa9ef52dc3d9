"""The verdict of the depth experiment: what depth does to plain and to residual networks, and how sure it is.

Errors are in percent, differences in points of error, intervals of 95 % by Student's t over the seeds.
"""

import statistics
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis import markdown, style
from analysis.intervals import Interval, interval, spread

MARGIN = 1.0  # points of error; residual networks may lose this by depth and count as not worse

# Published errors in percent, arXiv:1512.03385: (depth, residual) -> top-1.
CIFAR10 = {
    (20, True): 8.75,
    (32, True): 7.51,
    (44, True): 7.17,
    (56, True): 6.97,
    (110, True): 6.61,  # mean of five; table 6 prints the best, 6.43
}
IMAGENET = {(18, False): 27.94, (34, False): 28.54, (18, True): 27.88, (34, True): 25.03}
PUBLISHED = {
    "cifar10": (
        CIFAR10,
        "test error after 64,000 steps of 128 images of 32 x 32, table 6: one run each, but of 110 layers "
        "the mean of five (6.61 ± 0.16; the best has 6.43); of plain networks it prints curves alone",
    ),
    "imagenet": (IMAGENET, "validation error with ten crops, table 2"),
}
CIFAR10_CLASSES = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
]  # fmt: skip


class Run(NamedTuple):
    """A trained network."""

    config: dict
    parameters: int
    train_images: int
    test_images: int
    train: list[tuple[int, float]]  # (step, error on the training images, in evaluation mode)
    test: list[tuple[int, float]]

    @property
    def depth(self) -> int:
        return self.config["model"]["depth"]

    @property
    def residual(self) -> bool:
        return self.config["model"]["residual"]

    @property
    def seed(self) -> int:
        return self.config["seed"]

    def figures(self) -> dict:
        """Returns what is to be written down of it."""
        names = "depth", "residual", "seed", "parameters", "train", "test"
        return {name: getattr(self, name) for name in names}

    def final(self, split: str) -> float:
        return getattr(self, split)[-1][1]


class Claim(NamedTuple):
    """What the paper says, and whether these runs say so."""

    text: str
    found: Interval  # points of training error
    needed: str
    holds: bool | None  # None: one seed has no interval, and says nothing

    @property
    def verdict(self) -> str:
        if self.holds is None:
            return "open: one seed"
        return "**holds**" if self.holds else "**does not hold**"

    def figures(self) -> dict:
        """Returns what is to be written down of it."""
        return self._asdict() | {"found": self.found.figures()}


def ends(runs: list[Run]) -> tuple[int, int]:
    """Returns the least and the greatest depth."""
    return min(run.depth for run in runs), max(run.depth for run in runs)


def depth_effects(runs: list[Run], residual: bool, split: str) -> dict[int, float]:
    """Returns seed -> error of the deepest networks less that of the shallowest.

    Args:
      runs: of the experiment.
      residual: of which kind.
      split: "train" or "test".
    """
    shallow, deep = ends(runs)
    of = {(run.depth, run.seed): run.final(split) for run in runs if run.residual == residual}
    seeds = sorted({seed for _, seed in of})
    return {
        seed: of[deep, seed] - of[shallow, seed]
        for seed in seeds
        if (deep, seed) in of and (shallow, seed) in of
    }


def differences(runs: list[Run], split: str) -> list[float]:
    """Returns, for each seed, how much more the plain networks lose by depth than the residual ones."""
    plain, residual = (depth_effects(runs, kind, split) for kind in (False, True))
    return [plain[seed] - residual[seed] for seed in plain if seed in residual]


def claims(runs: list[Run]) -> list[Claim]:
    """Judges the paper's claims by the training error.

    Raises:
      ValueError: no seed has all four networks that are compared.
    """
    paired = differences(runs, "train") if runs else []
    if not paired:
        raise ValueError("no seed has plain and residual networks of both depths yet")
    plain, residual = (
        interval(list(depth_effects(runs, kind, "train").values())) for kind in (False, True)
    )
    difference = interval(paired)
    shallow, deep = ends(runs)
    return [
        Claim(
            f"Plain networks train worse with {deep} layers than with {shallow}",
            plain,
            "above 0",
            _if_seeds(plain, plain.low > 0),
        ),
        Claim(
            f"Residual networks do not train worse with {deep} layers than with {shallow}",
            residual,
            f"below {MARGIN:g}",
            _if_seeds(residual, residual.high < MARGIN),
        ),
        Claim(
            "Plain networks lose more by depth than residual ones",
            difference,
            "above 0",
            _if_seeds(difference, difference.low > 0),
        ),
    ]


def _if_seeds(found: Interval, holds: bool) -> bool | None:
    return holds if found.n > 1 else None


def check_control(runs: list[Run]) -> None:
    """Raises ValueError where a plain network and its residual twin differ in more than `residual`."""
    twins = {}
    for run in runs:
        model = {k: v for k, v in run.config["model"].items() if k != "residual"}
        same = run.config | {"model": model, "parameters": run.parameters}
        twin = twins.setdefault((run.depth, run.seed), same)
        differing = [field for field in same if same[field] != twin[field]]
        if differing:
            raise ValueError(
                f"plain and residual network of {run.depth} layers, seed {run.seed}, differ in "
                f"{', '.join(differing)}: they cannot be compared"
            )


def table(runs: list[Run], published: str | None) -> str:
    """Returns the final errors as a table in Markdown: mean, standard deviation over seeds, n.

    Args:
      runs: of the experiment.
      published: a key of PUBLISHED, whose figures stand beside ours.
    """
    heads = ["network", "parameters", "training error, %", "test error, %", "n"]
    figures = PUBLISHED[published][0] if published else {}
    rows = [[*heads, *(["paper, %"] if published else [])]]
    for residual in (False, True):
        for depth in sorted({run.depth for run in runs}):
            alike = [run for run in runs if (run.depth, run.residual) == (depth, residual)]
            if not alike:
                continue
            cells = [
                label(depth, residual),
                f"{alike[0].parameters:,}",
                *(spread([run.final(split) for run in alike]) for split in ("train", "test")),
                str(len(alike)),
            ]
            if published:
                cells.append(
                    f"{figures[depth, residual]:.2f}" if (depth, residual) in figures else ""
                )
            rows.append(cells)
    return markdown.table(rows)


def effects(runs: list[Run]) -> str:
    """Returns what depth does to training and test error, as a table in Markdown."""
    shallow, deep = ends(runs)
    rows = [[f"{deep} layers less {shallow}, points of error", "training", "test"]]
    for kind, values in (
        ("plain", lambda split: list(depth_effects(runs, False, split).values())),
        ("residual", lambda split: list(depth_effects(runs, True, split).values())),
        ("plain less residual", lambda split: differences(runs, split)),
    ):
        rows.append([kind, *(str(interval(values(split))) for split in ("train", "test"))])
    return markdown.table(rows)


def claimed(claims: list[Claim]) -> str:
    """Returns the claims with what was found, as a table in Markdown."""
    rows = [["claim, by training error", "found, points", "needed", "verdict"]]
    for claim in claims:
        rows.append([claim.text, str(claim.found), claim.needed, claim.verdict])
    return markdown.table(rows, left=4)


def report(
    runs: list[Run],
    claims: list[Claim],
    networks: dict,
    header: dict,
    missing: list[str],
    published: str | None,
    command: str,
) -> str:
    """Returns the report in Markdown, beside depth.png and why.png.

    Args:
      runs: the finished ones.
      claims: of `claims`.
      networks: name -> what `analysis.signals.look_inside` measured, and "depth".
      header: the first line of a run's metrics.jsonl.
      missing: names of runs that are not finished.
      published: of `published_for`.
      command: that made the report.
    """
    config = header["config"]
    source, size = config["input"]["source"], config["input"]["image_size"]
    layers = sorted({run.depth for run in runs})
    seeds = len({run.seed for run in runs})
    steps, images = runs[0].train[-1][0], runs[0].train_images
    epochs = steps * config["batch_size"] / images
    versions = ", ".join(f"{name} {header['versions'][name]}" for name in ("python", "jax", "flax"))
    parts = [
        f"# Plain against residual networks of {', '.join(map(str, layers[:-1]))} and {layers[-1]} layers",
        claimed(claims),
        f"Preliminary: {len(missing)} runs are missing." if missing else "",
        "![error over the steps](depth.png)",
        "*As figure 6 of [1512.03385](https://arxiv.org/abs/1512.03385). Training error is that of the "
        "training images in evaluation mode, without augmentation. Lines are means over "
        f"{seeds} seed{'s' * (seeds > 1)}, bands reach from the lowest to the highest.*",
        "## Final errors",
        table(runs, published),
        "Mean ± standard deviation over seeds, at the last step."
        + (f" Paper: {PUBLISHED[published][1]}." if published else ""),
        "## What depth does",
        effects(runs),
        "Mean over seeds and its 95 % interval. Differences are taken within a seed: both kinds begin with the "
        "same weights and see the same images in the same order.",
        "## Why",
        "![gradients, responses, blocks](why.png)",
        reasons(networks),
        "## How",
        f"- Data: {source.partition(':')[0] if source.startswith('folder') else source}, "
        f"{config['model']['num_classes']} classes, images of {size} x {size}, {images:,} to train and "
        f"{runs[0].test_images:,} to test.\n"
        f"- {steps:,} steps of {config['batch_size']} images ({epochs:.1f} epochs); learning rate "
        f"{config['optimizer']['learning_rate']:g} per 256 images, {config['optimizer']['schedule']} schedule, "
        f"warm-up {config['optimizer']['warmup_epochs']:.2g} epochs, weight decay "
        f"{config['optimizer']['weight_decay']:g}.\n"
        "- Plain and residual networks of one depth and seed differ in `model.residual` alone, in the records "
        "of the runs themselves; they have the same number of parameters.\n"
        f"- {len(runs)} runs, each on {header['devices']['count']} x {header['devices']['kind']}; first "
        f"begun {header['date'][:10]}, revision {header['git']}, {versions}.\n"
        f"- Command: `{command}`",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def published_for(source: str, class_names: list[str]) -> str | None:
    """Returns the key of PUBLISHED whose figures may stand beside runs on these data."""
    if sorted(class_names) == CIFAR10_CLASSES:  # a folder of its images, too
        return "cifar10"
    return "imagenet" if source.startswith("tfds:imagenet2012") else None


def reasons(networks: dict) -> str:
    """Returns what the measurements say, a line a network."""
    rows = [
        [
            "network",
            "gradient of the first layer / of the last, at the start",
            "at the end",
            "branch / shortcut, median",
            "top-1, %",
            "without one block, median",
            "worst",
        ]
    ]
    for name, found in networks.items():
        moments = list(found["gradients"].values())
        without = sorted(100 * top1 for top1 in found["without"])
        branches = found["branches"]
        rows.append(
            [
                name,
                *(f"{norms[0] / norms[-1]:.2g}" for norms in (moments[0], moments[-1])),
                f"{statistics.median(branches):.2f}" if branches else "",
                f"{100 * found['top1']:.1f}",
                f"{statistics.median(without):.1f}",
                f"{without[0]:.1f}",
            ]
        )
    images = next(iter(networks.values()))["images"]
    return markdown.table(rows) + (
        "\n\nOne seed. Top row of the picture: norm of the gradient of each layer's kernel for 128 training "
        "images. Bottom: standard deviation of the layers' responses after BatchNorm (the paper's figure 7); "
        "size (root mean square) of what a block adds, relative to what its shortcut carries; and what top-1 "
        f"on {images:,} test images loses where one block is replaced by a shortcut without parameters "
        "([1605.06431](https://arxiv.org/abs/1605.06431), section 4.1)."
    )


def label(depth: int, residual: bool) -> str:
    return f"{'ResNet' if residual else 'plain'}-{depth}"


def picture(runs: list) -> bytes:
    """Draws error over the steps as figure 6 of arXiv:1512.03385: plain on the left, residual on the right.

    Training error is dashed, test error solid; a colour a depth; the line is the mean over seeds, the band
    reaches from the lowest to the highest seed.

    Args:
      runs: of the experiment.

    Returns:
      The picture, as a PNG.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    layers = sorted({run.depth for run in runs})
    for axes, residual in zip(panels, (False, True), strict=True):
        for depth, color in zip(layers, style.colors(len(layers)), strict=True):
            alike = [run for run in runs if (run.depth, run.residual) == (depth, residual)]
            for split, dashes in (("train", "--"), ("test", "-")):
                curves = [dict(getattr(run, split)) for run in alike]
                steps = sorted(set.intersection(*map(set, curves))) if curves else []
                values = [[curve[step] for curve in curves] for step in steps]
                mean = [sum(v) / len(v) for v in values]
                label = f"{depth} layers" if split == "test" else None
                axes.plot(steps, mean, dashes, color=color, label=label)
                if len(curves) > 1:
                    low, high = map(min, values), map(max, values)
                    axes.fill_between(steps, [*low], [*high], color=color, alpha=0.15, linewidth=0)
        axes.set(title="residual" if residual else "plain", xlabel="step", ylim=(0, None))
        style.clean(axes)
    seeds = len({run.seed for run in runs})
    legend = f"dashed: training\nsolid: test\nn = {seeds} seed{'s' * (seeds > 1)}"
    panels[1].legend(frameon=False, title=legend, alignment="left")
    panels[0].set_ylabel("error (%)")
    return style.png(figure)
