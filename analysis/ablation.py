"""What came of configs/ablations.py and configs/gains.py: what each part is worth, and how sure that is.

Errors are in percent of the test images, differences in points of error, intervals of 95 % by Student's t
over differences within a seed.
"""

import json
import statistics
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis import markdown, style
from analysis.intervals import CONFIDENCE, Interval, holm, interval, spread
from configs import ablations, gains

SEEN, OPPOSITE, OPEN = "**seen**", "**the opposite is seen**", "not told apart"


class Run(NamedTuple):
    """A trained network."""

    variant: str  # a label of its ablation
    seed: int
    error: float  # on the test images, at the end
    parameters: int
    multiply_adds: int
    seconds: float | None  # of its training steps; None: it did not log them


class Question(NamedTuple):
    """An ablation, with what the paper found."""

    asks: str
    claims: tuple[tuple[str, str], ...]  # (variant that is better, variant that is worse)
    published: dict[str, float]  # variant -> top-1 error
    source: str  # of the published figures


QUESTIONS = {
    "googlenet": Question(
        "Do GoogLeNet's auxiliary classifiers help, and does BatchNorm?",
        (
            ("auxiliary heads (the paper's)", "neither"),
            ("BatchNorm", "neither"),
            ("BatchNorm and auxiliary heads", "BatchNorm"),
        ),
        {},
        "The paper (arXiv:1409.4842) has no table of this; BatchNorm came a year later, and the lecture "
        "argues that it made the auxiliary classifiers dispensable. With it, response normalisation and biases go; the low learning rate "
        "stays.",
    ),
    "response_norm": Question(
        "Does local response normalisation help AlexNet?",
        (("response normalisation", "without"),),
        {},
        "The paper (section 3.3) reports 1.4 points less top-1 error on ImageNet; cited from memory.",
    ),
    "preactivation": Question(
        "Which order of BatchNorm, ReLU and convolution suits a residual unit?",
        (
            ("full pre-activation", "original"),
            ("full pre-activation", "BN after addition"),
            ("full pre-activation", "ReLU before addition"),
            ("full pre-activation", "ReLU-only pre-activation"),
        ),
        {
            "original": 6.61,
            "BN after addition": 8.17,
            "ReLU before addition": 7.84,
            "ReLU-only pre-activation": 6.71,
            "full pre-activation": 6.37,
        },
        "Paper: 110 layers, CIFAR-10, 64,000 steps of 128 images (arXiv:1603.05027, table 2), cited from memory.",
    ),
    "cardinality": Question(
        "Are more paths better at about equal cost?",
        tuple((paths, "1 x 64d") for paths in ("2 x 40d", "4 x 24d", "8 x 14d", "32 x 4d")),
        {"1 x 64d": 23.9, "2 x 40d": 23.0, "4 x 24d": 22.6, "8 x 14d": 22.3, "32 x 4d": 22.2},
        "Paper: 50 layers, ImageNet, one crop (arXiv:1611.05431, table 3); the three in the middle were not read again.",
    ),
    "shuffle": Question(
        "Does ShuffleNet need its channel shuffle?",
        tuple((f"g = {g}, shuffle", f"g = {g}, no shuffle") for g in (3, 8)),
        {
            "g = 3, no shuffle": 45.7,
            "g = 3, shuffle": 43.2,
            "g = 8, no shuffle": 48.1,
            "g = 8, shuffle": 42.3,
        },
        "Paper: 0.5x, ImageNet, one crop (arXiv:1707.01083, table 3).",
    ),
    "width": Question(
        "What does a thinner MobileNet lose?",
        (("0.5", "0.25"), ("0.75", "0.5"), ("1", "0.75")),
        {"0.25": 49.4, "0.5": 36.3, "0.75": 31.6, "1": 29.4},
        "Paper: ImageNet, 224 x 224 (arXiv:1704.04861, table 6), cited from memory.",
    ),
    "gains": Question(
        "What do the parts of today's recipes gain?",
        tuple((part, gains.BASELINE) for part in gains.variants() if part != gains.BASELINE),
        {},
        "No figures are published for this. The values of the parts are those of recipes for ImageNet, none was "
        "tuned. All have as many steps, but those with progressive resizing 1.4 times as many, on smaller images.",
    ),
}


def asked(config: str) -> tuple[str, dict[str, dict]]:
    """Returns (name in QUESTIONS, label -> fields that differ of each variant) of the config of a sweep.

    Raises:
      ValueError: it is another config.
    """
    path, _, argument = config.partition(":")
    arguments = [argument] if argument else []
    if path.endswith("configs/gains.py"):
        return "gains", gains.variants(*arguments)
    if path.endswith("configs/ablations.py"):
        return argument or "shuffle", ablations.variants(*arguments)
    raise ValueError(f"a sweep of {config}, not of configs/ablations.py or configs/gains.py")


def variant_of(variants: dict[str, dict], overrides: dict) -> str:
    """Returns the label of a run.

    Args:
      variants: what `asked` returned.
      overrides: of the run, as sweep.json has them.

    Raises:
      ValueError: it is none of the variants.
    """
    differing = {field: value for field, value in overrides.items() if field != "seed"}
    for label, fields in variants.items():
        if differing == json.loads(json.dumps(fields)):  # which has no tuples
            return label
    raise ValueError(f"{overrides} is none of the variants {', '.join(variants)}")


def gain(runs: list[Run], better: str, worse: str) -> Interval | None:
    """Returns how much less error `better` has, paired by seed; None where no seed has both."""
    errors = {(run.variant, run.seed): run.error for run in runs}
    seeds = [run.seed for run in runs if run.variant == better and (worse, run.seed) in errors]
    if not seeds:
        return None
    return interval([errors[worse, seed] - errors[better, seed] for seed in sorted(seeds)])


def verdict(found: Interval) -> str:
    """Returns what an interval says of the claim that a gain is above 0; one seed says nothing."""
    if found.low > 0:
        return SEEN
    return OPPOSITE if found.high < 0 else OPEN


def table(name: str, runs: list[Run]) -> str:
    """Returns a row a variant: what it costs, its error, the paper's."""
    published = QUESTIONS[name].published
    heads = ["variant", "parameters", "multiply-adds", "training, s", "test error, %", "n"]
    rows = [[*heads, *(["paper, %"] if published else [])]]
    for label in dict.fromkeys(run.variant for run in runs):
        alike = [run for run in runs if run.variant == label]
        seconds = [run.seconds for run in alike if run.seconds is not None]
        time = f"{statistics.mean(seconds):,.0f}" if seconds else ""
        costs = f"{alike[0].parameters:,}", f"{alike[0].multiply_adds:,}", time
        cells = [label, *costs, spread([run.error for run in alike]), str(len(alike))]
        rows.append([*cells, *([f"{published[label]:.2f}"] if published else [])])
    return markdown.table(rows)


def claims(name: str, runs: list[Run]) -> str:
    """Returns a row a claim: the paper's gain, the one found, the verdict."""
    question = QUESTIONS[name]
    rows = [["claim", "gain found, points (95 % interval)", "paper", "verdict"]]
    for better, worse in question.claims:
        found = gain(runs, better, worse)
        if found is None:
            continue
        paper = ""
        if question.published:
            paper = f"{question.published[worse] - question.published[better]:+.2f}"
        rows.append([f"{better} better than {worse}", str(found), paper, verdict(found)])
    return markdown.table(rows, left=1)


def together(found: dict[str, list[Run]]) -> str:
    """Returns a row a claim of all ablations: whether it stands among all that were looked at, by Holm's method."""
    gains = {
        f"{name}: {better} better than {worse}": gain(runs, better, worse)
        for name, runs in found.items()
        for better, worse in QUESTIONS[name].claims
    }
    gains = {claim: one for claim, one in gains.items() if one and one.n > 1}
    rows = [["claim", "gain, points", "p by Holm's method", "stands"]]
    for (claim, one), p in zip(gains.items(), holm(list(gains.values())), strict=True):
        stands = "**yes**" if p < 1 - CONFIDENCE else "no"
        rows.append([claim, f"{one.mean:+.2f}", f"{p:.2g}", stands])
    return markdown.table(rows, left=1)


def section(name: str, runs: list[Run], header: dict, missing: list[str]) -> str:
    """Returns the report on one ablation, in Markdown.

    Args:
      name: in QUESTIONS.
      runs: the finished ones.
      header: the first line of a run's metrics.jsonl.
      missing: names of runs that are not finished.
    """
    question, config = QUESTIONS[name], header["config"]
    depth = f", {config['model']['depth']} layers" if "depth" in config["model"] else ""
    parts = [
        f"## {question.asks}",
        table(name, runs),
        claims(name, runs),
        question.source,
        f"`configs/{'gains.py' if name == 'gains' else f'ablations.py:{name}'}`{depth}, {_budget(header)}",
        f"Preliminary: not all runs are finished, {len(missing)} missing." if missing else "",
    ]
    return "\n\n".join(filter(None, parts))


def _budget(header: dict) -> str:
    config = header["config"]
    inputs, batch, steps = config["input"], config["batch_size"], header["total_steps"]
    kind, _, name = inputs["source"].partition(":")
    source = "a folder of images" if kind == "folder" else name or kind
    versions = ", ".join(f"{k} {header['versions'][k]}" for k in ("python", "jax", "flax"))
    return (
        f"{source}, {inputs['image_size']} x {inputs['image_size']}, "
        f"{steps:,} steps of {batch}: {steps * batch:,} images. Each run on {header['devices']['count']} x "
        f"{header['devices']['kind']}, first begun {header['date'][:10]}, revision {header['git']}, {versions}."
    )


def report(found: dict[str, tuple[list[Run], dict, list[str]]], command: str) -> str:
    """Returns the report in Markdown, beside ablations.png.

    Args:
      found: name -> arguments of `section`.
      command: that made the report.
    """
    how = (
        f"Mean ± standard deviation over n seeds. A gain is the mean difference between networks of one seed; "
        f"{SEEN} where its interval is above 0, {OPPOSITE} where it is below, else {OPEN}: then the budget or the "
        "number of seeds is too small to see it. Each interval is for one claim by itself; the last table judges all of "
        "them together. Variants differ in what they are called, all else of their recipe is alike, and it is not the "
        "papers'. The seconds are those of the training steps by the clock, a mean over the seeds, without compilation "
        f"and evaluation; other programs on the machine make them longer. `{command}`"
    )
    sections = [section(name, *arguments) for name, arguments in found.items()]
    picture = "![test error of each variant](ablations.png)"
    all_claims = together({name: runs for name, (runs, *_) in found.items()})
    end = ["## All claims together", all_claims]
    return "\n\n".join(["# Ablations", picture, how, *sections, *end]) + "\n"


def figures(found: dict[str, tuple[list[Run], dict, list[str]]]) -> dict:
    """Returns what report.json holds."""
    return {
        name: {
            "runs": [run._asdict() for run in runs],
            "gains": [
                {"better": better, "worse": worse, "verdict": verdict(found_gain).strip("*")}
                | found_gain.figures()
                for better, worse in QUESTIONS[name].claims
                if (found_gain := gain(runs, better, worse))
            ],
            "missing": missing,
            "header": header,
        }
        for name, (runs, header, missing) in found.items()
    }


def picture(found: dict[str, list]) -> bytes:
    """Draws the test error of each variant: a dot a seed, a bar at their mean; a panel an ablation.

    Args:
      found: name -> runs, in the order of the variants.

    Returns:
      The picture, as a PNG.
    """
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    most = max(len({run.variant for run in runs}) for runs in found.values())
    height = max(2.1, 0.8 + 0.22 * most)  # so that labels stand apart
    figure = Figure(figsize=(5.5 * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(found) :]:
        axes.axis("off")
    for axes, (name, runs) in zip(panels.flat, found.items(), strict=False):
        labels = list(dict.fromkeys(run.variant for run in runs))
        for y, label in enumerate(labels):
            errors = [run.error for run in runs if run.variant == label]
            mean = sum(errors) / len(errors)
            axes.plot([mean, mean], [y - 0.3, y + 0.3], color="C0", linewidth=3)
            axes.plot(errors, [y] * len(errors), "o", color="black", markersize=4, alpha=0.6)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.invert_yaxis()
        axes.set_title(name, fontsize=10, loc="left")
        axes.margins(y=0.2)
        axes.locator_params(axis="x", nbins=6)
        style.clean(axes)
    for axes in panels[-1]:
        axes.set_xlabel("test error (%)")
    return style.png(figure)
