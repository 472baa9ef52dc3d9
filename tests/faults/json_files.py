"""Damages the JSON files of runs, sweeps and searches, and counts what their readers answer.

Each file is cut, has bits flipped, a stretch of zeros, two lines or halves joined, or valid JSON of another
shape. An answer is right where the reader goes on or tells one line; a traceback never is.

Example:
  python tests/faults/json_files.py --tries=200
"""

import argparse
import collections
import contextlib
import copy
import io
import json
import pathlib
import sys
import tempfile
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # before what is installed

import numpy as np
import yaml
from ml_collections import ConfigDict

from benchmarks import rounds
from configs import digits, spaces
from models.genotypes import as_text, load
from nas import genotypes, loop, methods, report, sharing
from nas import spaces as genotype_spaces
from sweeps import folder as sweep_folder
from sweeps import local, results, search, watch, worker
from training import command, files, metrics
from training.runs import MAY_DIFFER

OTHER = (
    None, True, -1, 3, 1.5, 1e308, 10**400, float("nan"), "x", "../../x", "\x1b[2J", [], {}, [1], [[]],
    {"a": 1}, {"../../x": {}},
)  # fmt: skip


# How a file is damaged.


def cut(content: bytes, rng) -> bytes:
    return content[: rng.integers(len(content))]


def flipped(content: bytes, rng) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def zeros(content: bytes, rng) -> bytes:
    start, end = sorted(rng.integers(0, len(content) + 1, 2))
    return content[:start] + bytes(int(end - start)) + content[end:]


def joined(content: bytes, rng) -> bytes:
    """Takes a line's end away, or puts half of the file behind half of it."""
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]
    if len(ends) > 1 and rng.random() < 0.5:
        end = rng.choice(ends[:-1]) - rng.integers(0, 3)
        return content[:end] + content[end + 1 :]
    first, second = rng.integers(1, len(content), 2)
    return content[:first] + content[second:]


def other_shape(content: bytes, rng) -> bytes:
    """Replaces, removes or renames one value of one of the objects in the file."""
    text = content.decode()
    lines = text.splitlines()
    try:
        trees, write = [json.loads(text)], json.dumps
    except ValueError:
        try:
            trees, write = [json.loads(line) for line in lines], json.dumps
        except ValueError:
            trees, write = [yaml.safe_load(text)], yaml.safe_dump
    number = rng.integers(len(trees))
    holder = [copy.deepcopy(trees[number])]
    places = list(_places(holder))
    parent, key = places[min(int(rng.exponential(len(places) / 3)), len(places) - 1)]
    what = rng.integers(4)
    if what == 0 and parent is not holder:
        del parent[key]
    elif what == 1 and isinstance(parent, dict):
        parent["../../x"] = parent.pop(key)
    else:
        parent[key] = OTHER[rng.integers(len(OTHER))]
    trees[number] = holder[0]
    return "".join(write(tree) + "\n" for tree in trees).encode()


def _places(parent):
    keys = parent.keys() if isinstance(parent, dict) else range(len(parent))
    for key in keys:
        yield parent, key
        if isinstance(parent[key], (dict, list)):
            yield from _places(parent[key])


DAMAGES = (cut, flipped, zeros, joined, other_shape)


# The files, and what reads them.

CONFIG = digits.get_config()
RUNS = {f"depth={d},seed={s}": {"model.depth": d, "seed": s} for d in (8, 14) for s in (0, 1)}
SWEEP = sweep_folder.describe("configs/digits.py", {}, CONFIG.to_dict(), None)
SPACE = genotype_spaces.CellSpace(1, ("id", "max"), ("add",))
NAS = ConfigDict(
    {
        "methods": ("random",),
        "seeds": 2,
        "asks": 4,
        "sharing": {"seeds": 1},
        "objective": {"cost": "parameters", "target": 1000.0, "exponent": -0.1},
    }
)
HEADER = {"config": CONFIG.to_dict(), "command": "x", "git": None, "cores": 2, "parallel": 2}
HEADER |= {"date": "2026-11-27", "jax": "0.10.1"}


def make_sweep(folder: pathlib.Path) -> None:
    jobs = {name: {"engine": "local", "id": "1"} for name in RUNS}
    sweep_folder.record(str(folder), SWEEP | {"runs": RUNS, "jobs": jobs})
    header = {"config": CONFIG.to_dict(), "total_steps": 20, "parameters": 7, "multiply_adds": 9}
    for name, state in zip(RUNS, ("finished", "finished", "running", "failed"), strict=True):
        (folder / name).mkdir()
        speed = {"train/images_per_second": 4.0}
        lines = [header, {"step": 10, "train/loss": 1.0, **speed}, {"step": 10, "resumed": header}]
        lines += [{"step": 20, "eval/loss": 0.5, "eval/top1": 0.75, "eval/images": 9} | speed]
        files.append_jsonl(folder / name / "metrics.jsonl", lines)
        sweep_folder.write_state(str(folder), name, state, host="here", share={}, last="error: x")


def read_sweep(folder: pathlib.Path) -> None:
    """Does what launchers, status and results do, and what a resumed run does first."""
    local.orphans(str(folder))
    standings = watch.look(str(folder))
    print(watch.table(standings, "eval/top1"), watch.Pace(str(folder), dict.fromkeys(RUNS)).text())
    print([(one.missing, one.to_do) for one in standings])
    groups = results.collect(str(folder), "eval/top1")
    print(results.as_markdown(results.rows(groups, "eval/top1")), groups[0].curves("eval/loss"))
    sweep = sweep_folder.read(str(folder))
    for name in RUNS:
        sweep_folder.command(sweep, "x", sweep["runs"].get(name, {}))
        lines = metrics.read_lines(folder / name)
        metrics.check_same_config(
            metrics.newest_header(lines).get("config"), CONFIG.to_dict(), MAY_DIFFER
        )
    with contextlib.redirect_stderr(io.StringIO()):
        worker.main(str(folder), "depth=8,seed=0")  # which is finished
    sweep_folder.record(str(folder), SWEEP | {"runs": RUNS})


def make_search(folder: pathlib.Path) -> None:
    files.write_json(folder / "search.json", HEADER)
    search_here(folder)
    children = files.read_jsonl(folder / "children.jsonl")
    (folder / "sharing-0").mkdir()
    found = {"genotype": children[0]["genotype"], "reward": 0.5, "seconds": 1.0}
    found |= {"shared": [0.1, 0.2, 0.3], "alone": [0.2, 0.1, 0.3]}
    files.write_json(folder / "sharing-0" / "found.json", found)
    files.append_jsonl(folder / "sharing-0" / "rounds.jsonl", [{"reward": 0.5, "seconds": 1.0}] * 3)


def search_here(folder: pathlib.Path) -> list:
    def trained(genotypes):
        for i, one in enumerate(genotypes):
            found = {"accuracy": sum(map(ord, as_text(one))) % 100 / 100, "parameters": 1000}
            yield i, found | {"multiply_adds": 5000, "seconds": 1.0}

    known = loop.Children(folder / "children.jsonl", trained, NAS.objective.cost)
    asked = []
    for seed in range(NAS.seeds):
        one = loop.Search(folder / f"random-{seed}", SPACE, methods.make("random", SPACE, seed))
        one.run(NAS.asks, 2, known, NAS.objective)
        known([line["genotype"] for line in one.asked])
        asked.append(one.asked)
    return asked


def read_search(folder: pathlib.Path) -> None:
    """Reports as --report does, goes on with the search, and reports again."""
    config = ConfigDict({"nas": NAS})
    header = loop.read_header(folder)
    metrics.check_same_config(header["config"], CONFIG.to_dict(), set())
    for first in (True, False):
        try:
            found = report.read(folder, config)
        except ValueError:
            if not first:  # going on must have mended it
                raise
            found = None
        if found:
            print(report.search_table(config, header, found), report.verdict(found), found.best)
            print(report.sharing_text(found, header), found.chosen(1))
            children = list(found.children.values())
            print(report.pareto_table(report.front(children, "parameters")))
        if first:
            search_here(folder)
    files.read_jsonl(folder / "sharing-0" / "rounds.jsonl", sharing._is_round)


def make_study(folder: pathlib.Path) -> None:
    searched = open_study(folder)
    for number, name in zip(range(3), searched.names(), strict=False):
        if number < 2:
            searched.study.tell(searched._running.pop(name), 0.5 + number / 10)


def open_study(folder: pathlib.Path):
    space = {"model.depth": [8, 14], "optimizer.learning_rate": spaces.Range(0.01, 1.0, log=True)}
    return search.Search(str(folder), SWEEP, CONFIG, space, "eval/top1", 4)


def read_study(folder: pathlib.Path) -> None:
    searched = open_study(folder)
    print(list(searched.names()), searched.summary())


CELL = [[[["sep3", 0, "id", 1], ["max", 2, "avg", 0, "concat"]], [2, 3]]] * 2
LAYERS = [[3, 3, 24, 1, [0]], [5, 5, 36, 2, [0, 1]]]


def make_genotype(content):
    return lambda folder: files.write_json(folder / "genotype.json", {"genotype": content})


def read_genotype(folder: pathlib.Path) -> None:
    print(genotypes.text(load(str(folder / "genotype.json"))))


def make_engine(folder: pathlib.Path) -> None:
    source = sweep_folder.PROJECT / "sweeps" / "engines" / "sky_spot.yaml"
    settings = yaml.safe_load(source.read_text())
    (folder / "engine.yaml").write_text(yaml.safe_dump(settings))


def read_engine(folder: pathlib.Path) -> None:
    print(sweep_folder.engine_settings(str(folder / "engine.yaml")))


def make_benchmark(folder: pathlib.Path) -> None:
    network = {"network": "x", "batch": 8, "size": 32, rounds.OURS: {"images_per_second": [1.0]}}
    found = {"task": "train", "dtype": "float32", "devices": 1, "measured": [network]}
    files.write_json(folder / "old.json", found)


def read_benchmark(folder: pathlib.Path) -> None:
    old = rounds.read(str(folder / "old.json"), "train", "float32")["measured"]
    network = {"network": "x", "batch": 8, "size": 32, rounds.OURS: {"images_per_second": [2.0]}}
    print(rounds.compare([network], old))


FILES = {  # kind: (makes the files, the one that is damaged, reads them)
    "metrics.jsonl": (make_sweep, "depth=8,seed=0/metrics.jsonl", read_sweep),
    "state.json": (make_sweep, "depth=14,seed=0/state.json", read_sweep),
    "sweep.json": (make_sweep, "sweep.json", read_sweep),
    "study.log": (make_study, "study.log", read_study),
    "search.json": (make_search, "search.json", read_search),
    "children.jsonl": (make_search, "children.jsonl", read_search),
    "asked.jsonl": (make_search, "random-1/asked.jsonl", read_search),
    "rounds.jsonl": (make_search, "sharing-0/rounds.jsonl", read_search),
    "found.json": (make_search, "sharing-0/found.json", read_search),
    "genotype of a cell": (make_genotype(CELL), "genotype.json", read_genotype),
    "genotype of layers": (make_genotype(LAYERS), "genotype.json", read_genotype),
    "engine.yaml": (make_engine, "engine.yaml", read_engine),
    "old.json of a benchmark": (make_benchmark, "old.json", read_benchmark),
}


def campaign(kind: str, tries: int, seed: int = 0) -> tuple[collections.Counter, list[str]]:
    """Returns how often the reader of a kind of file went on, told one line, or had a traceback; and the latter."""
    make, name, read = FILES[kind]
    counts, tracebacks = collections.Counter(), []
    with tempfile.TemporaryDirectory() as temporary:
        whole = pathlib.Path(temporary, "whole")
        whole.mkdir()
        make(whole)
        files = {
            file.relative_to(whole): file.read_bytes()
            for file in whole.rglob("*")
            if file.is_file()
        }
        answer, error = answer_of(read, whole)
        assert answer == "went on", error  # undamaged
        for number in range(tries):
            damage = DAMAGES[number % len(DAMAGES)]
            rng = np.random.default_rng([seed, number])
            folder = pathlib.Path(temporary, str(number))
            for relative, content in files.items():
                (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                (folder / relative).write_bytes(content)
            damaged = damage(files[pathlib.Path(name)], rng)
            (folder / name).write_bytes(damaged)
            answer, error = answer_of(read, folder)
            counts[answer] += 1
            if answer == "traceback":
                tracebacks.append(
                    f"{kind}, try {number}, {damage.__name__}: {error!r}: {damaged[:300]}"
                )
    return counts, tracebacks


def answer_of(read, folder: pathlib.Path) -> tuple[str, Exception | None]:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            read(folder)
        return "went on", None
    except Exception as error:
        line = command.explain(error)
        return ("one line" if line and "\n" not in line else "traceback"), error


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", default=list(FILES), metavar="KIND")
    parser.add_argument("--tries", type=int, default=200, help="of each kind of file (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    began, bad = time.monotonic(), 0
    print(f"{'file':26} {'tries':>6} {'went on':>8} {'one line':>9} {'traceback':>10}")
    for kind in args.kinds:
        counts, tracebacks = campaign(kind, args.tries, args.seed)
        cells = (counts[answer] for answer in ("went on", "one line", "traceback"))
        print(f"{kind:26} {args.tries:>6} {next(cells):>8} {next(cells):>9} {next(cells):>10}")
        print("".join(f"  {one}\n" for one in tracebacks[:10]), end="", flush=True)
        bad += len(tracebacks)
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
