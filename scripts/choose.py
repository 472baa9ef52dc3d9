"""Lists networks within a budget: published accuracy, cost, and how long an answer takes here.

All published weights for ImageNet's 1,000 classes are compared, the most accurate first; of a network
with several, the most accurate ones are shown, --all shows all. Accuracies are what the publishers say,
of one centre crop of so many pixels; each had a recipe of its own, which the tag behind the dot names,
and recipes of one network differ by points. Weights with a * saw other images than ImageNet's before.

With a --budget, what is left is timed: one image, float32, on this machine, the median of up to 20
answers after a warm one. To compile a network takes seconds to half a minute; small ones come first, so
the time left that is shown grows, and Ctrl-C prints what was measured so far. A budget of milliseconds
times every network at every size of image.

Examples:
  python scripts/choose.py
  python scripts/choose.py --budget="5M parameters"
  python scripts/choose.py --budget="600M multiply-adds" --budget="30 ms" --json=choice.json
  python scripts/choose.py --weights="torchvision/*_V1" --measure
  python scripts/choose.py --write    # measures the table and the picture of docs/choose.md
"""

import fnmatch
import json
import math
import os
import pathlib
import statistics
import sys
import textwrap

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

import jax
from absl import flags
from tqdm import tqdm

from analysis import choice, markdown
from benchmarks import report
from training import command

BUDGET = flags.DEFINE_multi_string(
    "budget", [], 'The most that a network may cost: "5M parameters", "4G multiply-adds", "30 ms".'
)
WEIGHTS = flags.DEFINE_string("weights", "*", "Only weights of this name; * stands for any text.")
ALL = flags.DEFINE_bool("all", False, "All weights, not only the best ones of each network.")
MEASURE = flags.DEFINE_bool("measure", None, "Time the networks; default: where there is a budget.")
JSON = flags.DEFINE_string("json", None, "File for the table as JSON, with all times.")
WRITE = flags.DEFINE_bool("write", False, "Measure docs/choose.md's table and picture again.")
ROUNDS = 5  # of docs/choose.md, in each of which all networks are measured


def main() -> None:
    if WRITE.value:
        write()
        return
    budgets = dict(choice.budget(text) for text in BUDGET.value)
    found = [
        one for one in choice.choices() if fnmatch.fnmatchcase(one.weights.name, WEIGHTS.value)
    ]
    if not found:
        raise ValueError(
            f"--weights={WEIGHTS.value}: there are none; python scripts/choose.py --all lists all"
        )
    most = budgets.pop("ms", math.inf)
    for what, limit in budgets.items():
        found = choice.within(found, what, limit)
    shown = found if ALL.value else choice.best(found)

    ms = {}
    if MEASURE.value or MEASURE.value is None and BUDGET.value:
        ms = measure(found if most < math.inf else shown)
    elif most < math.inf:
        raise ValueError("a budget of ms needs to measure: leave out --nomeasure")
    if most < math.inf:
        medians = {key: statistics.median(times) for key, times in ms.items()}
        found = [one for one in found if medians.get(one.key, math.inf) <= most]
        if medians and not found:
            raise ValueError(
                f"no network answers within {most:g} ms; the least was {min(medians.values()):.1f}"
            )
        shown = found if ALL.value else choice.best(found)
    print(markdown.columns(choice.table(shown, ms)))
    print("\nAccuracies are those of the publishers. * saw other images than ImageNet's before.")
    if ms:
        print(f"ms of an answer to one image on {device()}: median (lowest to highest).")
    if JSON.value:
        rows = [row(one, ms.get(one.key)) for one in shown]
        facts = {**report.facts("jax", "jaxlib", "flax"), "device": device(), "networks": rows}
        pathlib.Path(JSON.value).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def measure(found: list[choice.Choice]) -> dict:
    """Returns ms of answers by `key`, the networks of few multiply-adds first, until Ctrl-C."""
    keys = list(dict.fromkeys(one.key for one in sorted(found, key=lambda one: one.multiply_adds)))
    ms = {}
    with command.StopSignal() as stop:
        for key in tqdm(keys, "measuring", unit=" networks", leave=False, disable=None):
            if stop.received(0):
                break
            ms[key] = choice.repeat(choice.answers(*key))
    if len(ms) < len(keys):
        print(f"stopped by Ctrl-C: {len(ms)} of {len(keys)} networks are measured", file=sys.stderr)
    return ms


def write() -> None:
    """Measures the networks of docs/choose.md, in rounds that take turns, and fills the page."""
    found = [one for one in choice.choices() if one.weights.name in choice.PAGE]
    facts, load = report.facts("jax", "flax"), os.getloadavg()[0]
    keys = dict.fromkeys(one.key for one in found)
    answers = {key: choice.answers(*key) for key in tqdm(keys, "compiling", leave=False)}
    ms = {key: [] for key in keys}
    for _ in tqdm(range(ROUNDS), "measuring", unit=" rounds", leave=False):
        for key, answer in answers.items():
            ms[key].append(statistics.median(choice.repeat(answer)))
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    told = (
        f"`{facts['command']}` on {facts['date'][:10]}: {facts['machine']}, {device()}; {versions}; load "
        f"average before: {load:.2f}. Medians of {ROUNDS} rounds in which all networks took turns, lowest and "
        f"highest beside them; a round is the median of {choice.RUNS} answers to one image. In the picture "
        "the area of a disc is the number of parameters."
    )
    told = f"{textwrap.fill(told, 100)}\n\n![accuracy over the time of an answer](choose.png)"
    page = command.PROJECT / "docs" / "choose.md"
    text = markdown.fill(page.read_text("utf-8"), "choose", markdown.table(choice.table(found, ms)))
    page.write_text(markdown.fill(text, "measured", told), "utf-8")
    page.with_suffix(".png").write_bytes(choice.picture(found, ms))
    print(f"wrote {page} and its picture")


def device() -> str:
    return jax.devices()[0].device_kind


def row(one: choice.Choice, ms: list[float] | None) -> dict:
    """Returns an object of --json."""
    weights = one.weights
    said = {name: getattr(weights, name) for name in ("name", "top1", "top5", "image_size")}
    cost = {"parameters": weights.parameters, "multiply_adds": one.multiply_adds}
    return said | cost | {"ms": ms and [round(value, 3) for value in ms]}


if __name__ == "__main__":
    command.run(main)
