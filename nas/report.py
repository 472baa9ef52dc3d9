"""What the searches found, and whether a method is better than random search."""

import math
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from scipy import stats

from analysis import intervals, markdown
from data.messages import tell
from models.genotypes import as_text
from nas import genotypes, pictures
from nas.finals import Finalist, folder_of
from nas.loop import read_asked, read_children, reward
from nas.sharing import read_found
from sweeps import watch
from training import files

TITLES = {
    "random": "random search",
    "evolution": "regularised evolution",
    "reinforce": "controller, REINFORCE",
    "ppo": "controller, PPO",
    "sharing": "controller with shared weights",
    "drawn": "a cell that nobody chose",
    "nasnet_a": "NASNet-A cells",
    "amoebanet_a": "AmoebaNet-A cells",
    "enas": "ENAS cells",
    "resnet": "ResNet",
}


class Found(NamedTuple):
    """What is in a search's folder."""

    asked: dict[str, dict[int, list[dict]]]  # method -> seed -> lines of asked.jsonl
    children: dict[str, dict]  # genotype as text -> line of children.jsonl
    shared: dict[int, dict]  # seed -> found.json of a search with shared weights

    @property
    def tops(self) -> dict[str, list[dict]]:
        """method -> "genotype" and "reward" of the best of each of its searches, the best first."""
        tops = {
            method: [max(lines, key=_reward) for lines in searches.values()]
            for method, searches in self.asked.items()
        }
        if self.shared:  # what they chose, as it is when it is trained alone
            chosen = [self.children[as_text(one["genotype"])] for one in self.shared.values()]
            tops["sharing"] = [
                {"genotype": child["genotype"], "reward": child.get("accuracy", 0.0)}
                for child in chosen
            ]
        return {method: sorted(found, key=_reward, reverse=True) for method, found in tops.items()}

    @property
    def best(self) -> dict[str, dict]:
        """method -> its best genotype, with its reward and child."""
        return {
            method: tops[0] | self.children[as_text(tops[0]["genotype"])]
            for method, tops in self.tops.items()
        }

    def chosen(self, count: int) -> dict[str, list]:
        """Returns method -> the genotypes of its `count` best searches."""
        return {
            method: [top["genotype"] for top in tops[:count]] for method, tops in self.tops.items()
        }


def _reward(line: dict) -> float:
    return line["reward"]


def read(folder: pathlib.Path, config: ConfigDict) -> Found:
    """Reads a search's folder.

    Raises:
      ValueError: no search in it is at its end.
    """
    lines = read_children(folder / "children.jsonl", config.nas.objective.cost)
    children = {as_text(line["genotype"]): line for line in lines}
    asked = {}
    for name in config.nas.methods:
        for seed in range(config.nas.seeds):
            lines = read_asked(folder / f"{name}-{seed}" / "asked.jsonl")[: config.nas.asks]
            if len(lines) < config.nas.asks:
                continue
            if any(as_text(line["genotype"]) not in children for line in lines):
                tell(f"children.jsonl lacks children of {name}-{seed}, which is left out")
                continue
            asked.setdefault(name, {})[seed] = lines
    if not asked:
        raise ValueError(f"no search in {folder} is at its end yet: let it run longer")
    files = {
        seed: folder / f"sharing-{seed}" / "found.json" for seed in range(config.nas.sharing.seeds)
    }
    shared = {seed: read_found(file) for seed, file in files.items()}
    shared = {s: one for s, one in shared.items() if one and as_text(one["genotype"]) in children}
    return Found(asked, children, shared)


class Final(NamedTuple):
    """A network that was trained from scratch."""

    finalist: Finalist
    errors: list[float]  # of the test images, in per cent; one a seed
    parameters: int
    multiply_adds: int


def trained(folder: pathlib.Path, networks: list[Finalist], seeds: int) -> list[Final]:
    """Returns those of the finalists that have finished trainings."""
    runs = {}  # folder -> name -> run
    for into in {folder_of(folder, one.network) for one in networks}:
        if (into / "sweep.json").exists():
            runs[into] = {run.name: run for run in watch.look(str(into))}
    result = []
    for one in networks:
        known = runs.get(folder_of(folder, one.network), {})
        of_seeds = [known.get(f"{one.name},seed={seed}") for seed in range(seeds)]
        done = [run for run in of_seeds if run and not run.missing]
        if done:
            errors = [100 * (1 - run.latest("eval/top1")) for run in done]
            header = done[0].header
            result.append(Final(one, errors, header["parameters"], header["multiply_adds"]))
    return result


def best_of(lines: list[dict]) -> float:
    """Returns the highest reward of a search."""
    return max(line["reward"] for line in lines)


def distinct(lines: list[dict]) -> list[str]:
    return list(dict.fromkeys(as_text(line["genotype"]) for line in lines))


def write(
    folder: pathlib.Path, config: ConfigDict, header: dict, found: Found, networks: list[Finalist]
) -> str:
    """Writes report.md, report.json and the pictures; returns the tables as text."""
    finals = trained(folder, networks, config.nas.final.seeds)
    (folder / "rewards.png").write_bytes(
        pictures.rewards(found.asked, TITLES, tenth(config.nas.asks))
    )
    for method, top in found.best.items():
        (folder / f"{method}.png").write_bytes(genotypes.draw(top["genotype"]))
    sections = [search_table(config, header, found), verdict(found)]
    if found.shared:
        (folder / "sharing.png").write_bytes(pictures.sharing(found.shared))
        sections.append(sharing_text(found, header))
    cost, children = config.nas.objective.cost, list(found.children.values())
    if cost:
        best = front(children, cost)
        (folder / "pareto.png").write_bytes(pictures.pareto(children, best, cost))
        sections.append(pareto_table(best))
    if finals:
        sections.append(final_table(finals, config))
    text = "\n\n".join(filter(None, sections))
    write_page(folder, header, config, text, found)
    figures = {
        "header": header,
        "searches": {
            method: {seed: [line["reward"] for line in lines] for seed, lines in searches.items()}
            for method, searches in found.asked.items()
        },
        "sharing": {seed: correlation(one) for seed, one in found.shared.items()},
        "best": found.best,
        "final": [
            {
                "group": one.finalist.group,
                "genotype": one.finalist.genotype,
                "errors": one.errors,
                "parameters": one.parameters,
                "multiply_adds": one.multiply_adds,
            }
            for one in finals
        ],
    }
    files.write_json(folder / "report.json", figures)
    return text


def search_table(config: ConfigDict, header: dict, found: Found) -> str:
    """Returns for each method what its searches came to, and what they cost."""
    rows = [
        ("method", "n", "best reward", "mean of the last tenth", "children", "failed", "core-hours")
    ]
    for method, searches in found.asked.items():
        children = [found.children[name] for s in searches.values() for name in distinct(s)]
        best, last = ([100 * of(s) for s in searches.values()] for of in (best_of, last_tenth))
        rows.append(
            (
                TITLES[method],
                str(len(searches)),
                intervals.spread(best),
                intervals.spread(last),
                f"{len(children) / len(searches):.0f}",
                str(sum("error" in child for child in children)),
                f"{core_hours(children, header) / len(searches):.2f}",
            )
        )
    return markdown.table(rows) + (
        f"\n\nRewards times 100, mean ± standard deviation over the seeds; {config.nas.asks} genotypes asked for "
        "by each search. Children and core-hours are of one search, as if it had been alone, failed children of all; "
        f"{len(found.children)} were trained in all, since searches share what they have trained."
    )


def core_hours(children: list[dict], header: dict) -> float:
    cores = header["cores"] / header["parallel"]
    return sum(child.get("seconds", 0.0) for child in children) * cores / 3600


def tenth(asks: int) -> int:
    return math.ceil(asks / 10)


def last_tenth(lines: list[dict]) -> float:
    """Returns the mean reward of the last tenth of what a search asked for."""
    return float(np.mean([line["reward"] for line in lines[-tenth(len(lines)) :]]))


def gain(found: Found, method: str, of: Callable[[list[dict]], float]) -> intervals.Interval:
    """Returns `of` a method's searches above that of random search with the same seed, times 100."""
    other = found.asked["random"]
    seeds = [seed for seed in found.asked[method] if seed in other]
    return intervals.interval(
        [100 * (of(found.asked[method][seed]) - of(other[seed])) for seed in seeds]
    )


def verdict(found: Found) -> str:
    """Says of each method whether it is better than random search: its best, and what it asks for at the end."""
    lines = []
    for method in found.asked:
        if method == "random" or "random" not in found.asked:
            continue
        best, asks = gain(found, method, best_of), gain(found, method, last_tenth)
        lines.append(
            f"- {TITLES[method]}: its best is {_told(best)}; what it asks for at the end is {_told(asks)}"
        )
    if not lines:
        return ""
    head = "Reward times 100 above random search's of the same seed, with 95 % intervals, each by itself:"
    return "\n".join([head, "", *lines])


def _told(one: intervals.Interval) -> str:
    if one.n < 2:
        return "known of one seed alone, which tells nothing"
    if one.low > 0:
        return f"better than random search's, {one}"
    if one.high < 0:
        return f"worse than random search's, {one}"
    return f"no better than random search's that one could tell, {one}"


def correlation(one: dict) -> dict:
    """Returns how alike shared weights and training alone rank the same children."""
    shared, alone = one["shared"], one["alone"]
    if len(alone) < 3:
        return {"spearman": None, "kendall": None, "n": len(alone)}
    return {
        "spearman": _number(stats.spearmanr(shared, alone).statistic),
        "kendall": _number(stats.kendalltau(shared, alone).statistic),
        "n": len(alone),
    }


def _number(value) -> float | None:
    """Returns None for nan, that of ranks that are all alike: JSON has no nan."""
    return None if math.isnan(value) else float(value)


def sharing_text(found: Found, header: dict) -> str:
    """Returns what weight sharing found, and how its ranking compares with that of children alone."""
    rows = [
        ("shared weights, seed", "its choice, shared", "trained alone", "Spearman", "Kendall", "core-hours")
    ]  # fmt: skip
    for seed, one in found.shared.items():
        alike = correlation(one)
        alone = found.children[as_text(one["genotype"])].get("accuracy", math.nan)
        hours = core_hours([one], header)
        ranks = ["" if alike[k] is None else f"{alike[k]:+.2f}" for k in ("spearman", "kendall")]
        rows.append(
            (str(seed), f"{100 * one['reward']:.2f}", f"{100 * alone:.2f}", *ranks, f"{hours:.2f}")
        )
    numbers = sorted({len(one["alone"]) for one in found.shared.values()})
    return markdown.table(rows) + (
        "\n\nRank correlations of validation accuracy with shared weights and trained alone, over "
        f"{' or '.join(map(str, numbers))} genotypes, of the first that the searches asked for."
    )


def front(children: list[dict], cost: str) -> list[dict]:
    """Returns the children that no other beats in accuracy at the same cost or less: the Pareto front."""
    best, result = -1.0, []
    for child in sorted(
        (c for c in children if "error" not in c), key=lambda c: (c[cost], -c["accuracy"])
    ):
        if child["accuracy"] > best:
            best = child["accuracy"]
            result.append(child)
    return result


def pareto_table(best: list[dict]) -> str:
    """Returns the children on the front of accuracy and cost."""
    rows = [("Pareto front: validation top-1 (%)", "parameters", "multiply-adds")]
    for child in best:
        rows.append(
            (
                f"{100 * child['accuracy']:.2f}",
                f"{child['parameters']:,}",
                f"{child['multiply_adds']:,}",
            )
        )
    return markdown.table(rows, left=0)


def final_table(finals: list[Final], config: ConfigDict) -> str:
    """Returns the test errors of the networks trained from scratch."""
    rows = [
        (
            "trained from scratch",
            "genotypes",
            "trainings each",
            "test error (%)",
            "parameters",
            "multiply-adds",
        )
    ]
    for group in dict.fromkeys(one.finalist.group for one in finals):
        of_group = [one for one in finals if one.finalist.group == group]
        errors = [sum(one.errors) / len(one.errors) for one in of_group]
        if len(of_group) == 1:
            errors = of_group[0].errors
        rows.append(
            (
                TITLES.get(group, group),
                str(len(of_group)),
                str(len(of_group[0].errors)),
                intervals.spread(errors),
                _range([one.parameters for one in of_group]),
                _range([one.multiply_adds for one in of_group]),
            )
        )
    return markdown.table(rows) + (
        "\n\nMean ± standard deviation over genotypes, each the mean of its trainings; where there is one genotype, "
        "over its trainings. All with the same optimizer, steps and batch size; the test images were never seen "
        "by a search."
    )


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def write_page(folder, header: dict, config: ConfigDict, text: str, found: Found) -> None:
    """Writes report.md."""
    pictures_of = [
        name for name in ("rewards", "sharing", "pareto") if (folder / f"{name}.png").exists()
    ]
    best = max(found.best, key=lambda method: reward(found.best[method], config.nas.objective))
    page = [
        f"# A search on {config.input.source}",
        f"`{header['command']}`, revision {header['git']}, {header['date']}, {header['cores']} cores, "
        f"{header['parallel']} children at a time, JAX {header['jax']}.",
        *(f"![{name}]({name}.png)" for name in pictures_of),
        text,
        f"## The best genotype, of {TITLES[best]}",
        f"```\n{genotypes.text(found.best[best]['genotype'])}\n```",
        f"![best genotype]({best}.png)",
    ]
    (folder / "report.md").write_text("\n\n".join(page) + "\n")
