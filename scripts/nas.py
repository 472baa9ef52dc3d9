"""Searches for an architecture by several methods at equal budget, and reports which of them was worth it.

A search asks for genotypes; each is trained for a short time, and rewarded by its accuracy on images that are
held out from the training images. The best of each method are then trained from scratch by train.py and tested,
beside networks made by hand of the same size. WORKDIR gets report.md, report.json, pictures, and for each
method the best genotype as METHOD.json. The same command goes on where it was stopped; --report only reports.

Examples:
  python scripts/nas.py --config=configs/nas/digits.py --workdir=runs/nas
  python scripts/nas.py --config=configs/nas/digits.py --config.nas.methods="('random','ppo')" --config.nas.seeds=2
  python scripts/nas.py --config=configs/nas/cifar10.py --workdir=runs/nas-cifar --parallel=2
  python train.py --config=configs/nas/digits.py --config.model.genotype=runs/nas/ppo.json --workdir=runs/found
"""

import contextlib
import datetime
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

import jax
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

import configs
import data
import models
from data.messages import plain
from models.genotypes import as_text
from nas import children, finals, loop, methods, ranges, report, spaces
from nas.sharing import read_found
from sweeps import folder as sweep_folder
from sweeps import local, slurm, watch
from training import command, files, metrics
from training.ranges import check as check_numbers
from training.runs import git_revision, writable

flags.adopt_module_key_flags(command)  # --config and --workdir
PARALLEL = flags.DEFINE_integer(
    "parallel", 0, "Children at a time (a GPU each, else a core each).", lower_bound=0
)
LAUNCHER = flags.DEFINE_enum("launcher", "local", ["local", "slurm"], "Of runs of train.py.")
ENGINE = flags.DEFINE_string("engine", None, "YAML of settings for Slurm; see sweeps/engines/.")
REPORT = flags.DEFINE_bool("report", False, "Only report on what is there.")

# Fields that may change when a search goes on: more of the same, and what comes after it.
MAY_DIFFER = {"nas.methods", "nas.seeds", "nas.asks", "nas.sharing.seeds"} | {
    f"nas.final.{field}" for field in ("seeds", "searches", "drawn", "cells", "networks")
}


def main() -> None:
    config = command.CONFIG.value
    models.resolve(config.model)
    if files.in_bucket(command.workdir()):
        raise ValueError(
            "a search locks and appends to its files: let --workdir be a folder on a disk"
        )
    folder = pathlib.Path(files.absolute(command.workdir()))
    if REPORT.value and not (folder / "search.json").exists():
        raise FileNotFoundError(f"{folder} holds no search: no search.json in it")
    if not REPORT.value and command.given(sys.argv, "config") is None:
        raise ValueError(
            "--config: which of configs/nas/? A search goes on with that it began with"
        )
    space = check(config)
    writable(str(folder))
    with contextlib.ExitStack() as stack:
        if not REPORT.value:
            try:
                stack.enter_context(files.lock(folder / "lock", wait=False))
            except BlockingIOError as error:
                raise ValueError(f"another search is running in {folder}") from error
        header = begin(folder, config)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            run(config, folder, space, header)
        except KeyboardInterrupt:
            print("stopped; the same command goes on", file=sys.stderr, flush=True)
            os._exit(130)  # the processes that train children end with this one


def check(config):
    """Returns the space; raises ValueError or FileNotFoundError for what would be a mistake hours later."""
    if "nas" not in config:
        raise ValueError("this config has no search: choose one of configs/nas/")
    nas = config.nas
    ranges.check(nas)
    space = spaces.make(**nas.space)
    if max(space.sizes) == 1:
        raise ValueError("nas.space has one genotype alone: there is nothing to search for")
    for name in nas.methods:
        methods.check(name)
    for network in nas.final.networks:
        finals.folder_of(pathlib.Path(), network)
    loop.check_objective(nas.objective)
    if nas.children not in ("compiled", "runs"):
        raise ValueError(f"nas.children {nas.children!r}: choose compiled or runs")
    child = children.config_of_child(config)
    check_numbers(child)
    if nas.children == "compiled":
        children.check_compiled(config)
    if nas.sharing.seeds:
        children.check_sharing(config)
    if not REPORT.value:
        for trains in (True, False):
            data.open_source(child.input, trains)
        if LAUNCHER.value == "slurm":
            slurm.check(command.workdir())
            sweep_folder.engine_settings(ENGINE.value)
    return space


def run(config, folder: pathlib.Path, space, header: dict) -> None:
    """Searches, trains what was found, and reports."""
    if not REPORT.value:
        trained = trainer(config, folder)
        known = loop.Children(folder / "children.jsonl", trained, config.nas.objective.cost)
        asked = searches(config, folder, space, known)
        if config.nas.sharing.seeds:
            sharing(config, folder, known, trained, asked)
        trained.close()
    found = report.read(folder, config)
    for name, best in found.best.items():
        files.write_json(folder / f"{name}.json", best)
    chosen = found.chosen(config.nas.final.searches)
    networks = finals.finalists(config, space, chosen, finals.known(folder))
    if not REPORT.value:
        train_finalists(config, folder, networks)
    print(report.write(folder, config, header, found, networks))
    print(f"report: {folder / 'report.md'}")


def begin(folder: pathlib.Path, config) -> dict:
    """Returns what made this search, and notes it; raises ValueError where the folder holds another one."""
    before = loop.read_header(folder)
    metrics.check_same_config((before or {}).get("config"), config.to_dict(), MAY_DIFFER)
    if REPORT.value:
        return before | {"config": config.to_dict()}
    header = {
        "config": config.to_dict(),
        "command": " ".join(["python", *sys.argv]),
        "git": git_revision(),
        "cores": len(local.worker.cores()),
        "parallel": parallel(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "jax": jax.__version__,
    }
    files.write_json(folder / "search.json", header)
    return header


def parallel() -> int:
    return PARALLEL.value or len(local.accelerators()) or min(4, len(local.worker.cores()))


def trainer(config, folder: pathlib.Path):
    """Returns what trains children."""
    if config.nas.children == "compiled":
        return children.Compiled(config, parallel())
    path, changes = here()
    return children.Runs(config, path, changes, str(folder / "children"), launch)


def launch(folder: str, names: list[str]) -> None:
    """Trains runs of a sweep to their ends, here or by Slurm."""
    todo = [one.name for one in watch.look(folder, names) if one.to_do]
    if LAUNCHER.value == "local":
        if not local.launch(folder, todo, parallel(), lambda name, status: None):
            raise KeyboardInterrupt
        return
    if todo:
        settings = sweep_folder.engine_settings(ENGINE.value)
        jobs = slurm.launch(folder, todo, PARALLEL.value, settings)
        noted = {name: {"engine": "slurm", "id": job} for name, job in jobs}
        sweep_folder.record(folder, sweep_folder.read(folder) | {"jobs": noted})
    watch.wait(folder, names)


def here(network: str = "") -> tuple[str, dict]:
    """Returns the config's path for a run, with another network of it, and what the command line changes.

    A run does not search, and another network has other fields.
    """
    path = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[0]
    changes = config_flags.get_override_values(flags.FLAGS["config"])
    left_out = ("nas.", "model.") if network else ("nas.",)
    changes = {field: value for field, value in changes.items() if not field.startswith(left_out)}
    return sweep_folder.relative(f"{path}:{network}" if network else path), changes


def searches(config, folder: pathlib.Path, space, known: loop.Children) -> list:
    """Runs each method with each seed; returns the genotypes, those that the first method asked for first."""
    nas = config.nas
    runs = [(name, seed) for seed in range(nas.seeds) for name in nas.methods]
    started = [
        loop.Search(
            folder / f"{name}-{seed}",
            space,
            methods.make(name, space, seed, **nas.get(name, {})),
        )
        for name, seed in runs
    ]
    todo = sum(max(0, nas.asks - len(one.asked)) for one in started)  # genotypes
    began, done = None, 0
    if todo:
        print(f"{len(runs)} searches, {todo} genotypes to ask for, {parallel()} children at a time")
        if nas.children == "compiled":
            print("compiling the network of all children, or taking it from the cache", flush=True)

    def say(one, rewards):
        nonlocal began, done
        told = (
            f"{one.name}: {len(one.asked)} of {nas.asks} asked, mean of the last "
            f"{sum(rewards) / len(rewards):.4f}, best {one.best['reward']:.4f}; "
            f"{len(known.known)} children trained"
        )
        if began is None:  # the first batch waits for the compilation
            began = time.monotonic()
        else:
            done += len(rewards)
            left = (time.monotonic() - began) / done * (todo - done)
            told += f", ETA {tqdm.format_interval(left)}"
        print(told, flush=True)

    for one in started:
        one.run(nas.asks, nas.batch, known, nas.objective, say)
        known([line["genotype"] for line in one.asked])  # those that a damaged file has lost
    by_method = sorted(zip(runs, started, strict=True), key=lambda x: nas.methods.index(x[0][0]))
    return [line["genotype"] for _, one in by_method for line in one.asked]


def sharing(config, folder: pathlib.Path, known: loop.Children, pool, asked: list) -> None:
    """Searches with shared weights, which also rank what was asked for first, and trains alone what they chose."""
    nas = config.nas
    trained = {as_text(child["genotype"]): child for child in known(asked)}.values()
    ranked = [child for child in trained if "error" not in child][: nas.sharing.ranked]
    files = {s: folder / f"sharing-{s}" / "found.json" for s in range(nas.sharing.seeds)}
    todo = [seed for seed, file in files.items() if read_found(file) is None]
    if todo:
        print(
            f"{len(todo)} searches with shared weights, {nas.sharing.rounds} rounds each",
            flush=True,
        )
    for seed in pool.share([(files[seed].parent, seed, ranked) for seed in todo]):
        found = read_found(files[seed])
        print(f"sharing-{seed}: best {found['reward']:.4f} with shared weights", flush=True)
    known([read_found(file)["genotype"] for file in files.values()])


def train_finalists(config, folder: pathlib.Path, networks: list[finals.Finalist]) -> None:
    """Trains the networks that the searches chose, and those that they are compared with."""
    for network in dict.fromkeys(one.network for one in networks):
        path, changes = here(network)
        sweep = sweep_folder.describe(path, changes, config.to_dict(), git_revision())
        runs = {
            f"{one.name},seed={seed}": one.overrides | {"seed": seed}
            for one in networks
            if one.network == network
            for seed in range(config.nas.final.seeds)
        }
        into = str(finals.folder_of(folder, network))
        sweep_folder.record(into, sweep | {"runs": runs})
        todo = sum(one.to_do for one in watch.look(into, list(runs)))
        if todo:
            print(f"training {todo} of {len(runs)} networks from scratch", flush=True)
        launch(into, list(runs))
        for one in watch.look(into, list(runs)):
            if one.missing:
                print(f"missing: {one.name}, {one.missing}: {plain(one.last)}", flush=True)


if __name__ == "__main__":
    command.run(main, configs, trains=False)
