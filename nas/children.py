"""Trains children: in one compiled network, several processes side by side, or as runs of train.py."""

import datetime
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import jax
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

import analysis
import data
import models
from models.genotypes import as_text
from nas import methods, sharing, spaces, supernet
from nas.proxy import Proxy
from sweeps import folder as sweep_folder
from sweeps import local, watch, worker
from training import files


def config_of_child(config: ConfigDict) -> ConfigDict:
    """Returns the config by which children are trained: nas.proxy, and a validation split of the training one."""
    child = config.copy_and_resolve_references()
    child.update(config.nas.proxy)
    split, kept = config.input.train_split, 100 - config.nas.validation
    child.input.train_split, child.input.eval_split = f"{split}[:{kept}%]", f"{split}[{kept}%:]"
    return child


def costs(config: ConfigDict, genotype, **fields) -> dict:
    """Returns "parameters" and "multiply_adds" of a genotype in the network of a config."""
    model = models.create(**{**config.model, **fields, "genotype": as_text(genotype)})
    count = analysis.count(model, data.input_shape(config.input))
    return {"parameters": count.parameters, "multiply_adds": count.multiply_adds}


class Compiled:
    """Trains cells in processes that each compile one network for all of them."""

    def __init__(self, config: ConfigDict, parallel: int):
        """Starts `parallel` processes, each with its share of the machine; `check_compiled` comes first.

        Args:
          config: of a search; `config_of_child` makes that of its children.
          parallel: children at a time.
        """
        context = multiprocessing.get_context("spawn")
        shares = context.SimpleQueue()
        for share in local.shares(parallel):
            shares.put(share)
        cache = jax.config.jax_compilation_cache_dir
        first = context.Lock()  # one process compiles, the others take that from the cache
        self._pool = ProcessPoolExecutor(parallel, context, _start, (shares, config, cache, first))

    def __call__(self, genotypes: list) -> Iterator[tuple[int, dict]]:
        """Trains them; yields (position, what came out) as they end."""
        futures = {self._pool.submit(_train, one): i for i, one in enumerate(genotypes)}
        for future in as_completed(futures):
            yield futures[future], _result(future)

    def share(self, searches: list[tuple[pathlib.Path, int, list[dict]]]) -> Iterator[int]:
        """Runs searches with shared weights, each a (folder, seed, children to rank); yields seeds as they end."""
        futures = [self._pool.submit(_share, *one) for one in searches]
        for future in as_completed(futures):
            yield _result(future)

    def close(self) -> None:
        """Ends the processes, after the children that they train."""
        self._pool.shutdown(cancel_futures=True)


def _result(future):
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise ValueError(
            "a process that trains children has died, perhaps for want of memory: lower --parallel; "
            "the same command goes on"
        ) from error


def check_compiled(config: ConfigDict) -> None:
    """Raises ValueError where children cannot be trained in one compiled network."""
    space, child = config.nas.space, config_of_child(config)
    if space.kind != "cells" or tuple(space.combiners) != ("add",):
        raise ValueError(
            "one compiled network has cells whose nodes add, alone: set nas.space.combiners=('add',), "
            "or nas.children=runs"
        )
    supernet.of_config(child.model, space.nodes, space.operations)
    if child.optimizer.weight_decay:  # which would shrink the operations that a cell leaves out
        raise ValueError(
            "one compiled network has no optimizer.weight_decay: set it to 0.0 in nas.proxy"
        )
    if child.accumulate_steps > 1:
        raise ValueError("one compiled network computes whole batches: set accumulate_steps=1")


def check_sharing(config: ConfigDict) -> None:
    """Raises ValueError where cells cannot share weights."""
    nas, rate = config.nas, config_of_child(config).optimizer
    if nas.children != "compiled":
        raise ValueError("weight sharing needs nas.children=compiled")
    if nas.sharing.method not in ("reinforce", "ppo"):
        raise ValueError(f"nas.sharing.method {nas.sharing.method!r}: choose reinforce or ppo")
    if nas.objective.exponent:
        raise ValueError("weight sharing knows no cost: set nas.objective.exponent=0.0")
    if rate.schedule != "constant" or rate.warmup_epochs:
        raise ValueError(
            "weight sharing needs a constant learning rate, since a schedule is made for the length of a "
            "child: set optimizer.schedule=constant and optimizer.warmup_epochs=0.0 in nas.proxy"
        )


_config: ConfigDict  # of a process of the pool, which `_start` sets
_proxy: Proxy


def _start(shares, config: ConfigDict, cache: str, first) -> None:
    """Prepares a process of the pool: its share, its end with that of the search, its network."""
    global _config, _proxy
    share = shares.get()
    os.environ.update(share)
    if worker.CORES in share and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in share[worker.CORES].split(",")})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the search
    parent = multiprocessing.parent_process().sentinel
    threading.Thread(
        target=lambda: (multiprocessing.connection.wait([parent]), os._exit(1)), daemon=True
    ).start()
    jax.config.update("jax_compilation_cache_dir", cache)
    _config = config_of_child(config)
    _proxy = Proxy(_config, config.nas.space.nodes, tuple(config.nas.space.operations))
    with first:
        _proxy.compile(shares=bool(config.nas.sharing.seeds))


def _train(genotype) -> dict:
    began = time.monotonic()
    try:
        found = costs(_config, genotype) if _config.nas.objective.cost else {}
        found |= _proxy.train(genotype)
    except Exception as error:  # a child that fails must not end the search
        found = failure(error)
    return found | {"seconds": time.monotonic() - began}


def _share(folder: pathlib.Path, seed: int, ranked: list[dict]) -> int:
    """Searches with shared weights; FOLDER/found.json has what it found, and how it ranks `ranked`."""
    nas = _config.nas
    space = spaces.make(**nas.space)
    method = methods.make(nas.sharing.method, space, seed, **nas[nas.sharing.method])
    searched = sharing.Sharing(folder, space, method, _proxy, seed)
    shared = nas.sharing
    searched.run(shared.rounds, shared.steps, shared.clip_norm, shared.batches, nas.batch)
    found = searched.best(nas.sharing.final)
    found["seconds"] = sum(line["seconds"] for line in searched.rounds)
    found["shared"] = searched.rank([child["genotype"] for child in ranked])
    found["alone"] = [child["accuracy"] for child in ranked]
    files.write_json(folder / "found.json", found)
    return seed


def failure(error: Exception | str) -> dict:
    """Returns what is noted of a child that failed."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return {"error": " ".join(text.split())[:300]}


class Runs:
    """Trains any genotype as a run of a sweep: train.py in a process, on this machine or by Slurm."""

    def __init__(
        self,
        config: ConfigDict,
        path: str,
        arguments: dict,
        folder: str,
        launch: Callable[[str, list[str]], None],
    ):
        """Notes the sweep of the children.

        Args:
          config: of a search.
          path: of its file, as the runs find it.
          arguments: fields that the command line changed -> values.
          folder: of the sweep.
          launch: trains the runs of a folder that have these names, to their ends.
        """
        self._config, self._folder, self._launch = config_of_child(config), folder, launch
        self._sweep = sweep_folder.describe(path, arguments, config.to_dict(), None)
        child = self._config.input
        splits = {"input.train_split": child.train_split, "input.eval_split": child.eval_split}
        self._overrides = flatten_dict(config.nas.proxy.to_dict(), sep=".") | splits

    def __call__(self, genotypes: list) -> Iterator[tuple[int, dict]]:
        """Trains them; yields (position, what came out) as they end."""
        names = [name_of(one) for one in genotypes]
        runs = {
            name: self._overrides | {"model.genotype": as_text(genotype)}
            for name, genotype in zip(names, genotypes, strict=True)
        }
        sweep_folder.record(self._folder, self._sweep | {"runs": runs})
        self._launch(self._folder, names)
        for position, standing in enumerate(watch.look(self._folder, names)):
            yield position, self._found(standing)

    def _found(self, standing) -> dict:
        if standing.state == "failed":
            return failure(standing.last.splitlines()[-1] if standing.last else "no message")
        if standing.state != "finished":
            raise ValueError(
                f"the child {self._folder}/{standing.name} is {standing.state}: the same command goes on"
            )
        if standing.missing:
            raise ValueError(
                f"the child {self._folder}/{standing.name} is {standing.missing}: remove its folder, "
                "and the same command trains it again"
            )
        header, state = standing.header, sweep_folder.state(self._folder, standing.name)
        return {
            "accuracy": standing.latest("eval/top1"),
            "parameters": header["parameters"],
            "multiply_adds": header["multiply_adds"],
            "seconds": state["time"] - header_time(header),
        }

    def close(self) -> None:
        """There is nothing to end: each run is a process of its own."""


def header_time(header: dict) -> float:
    return datetime.datetime.fromisoformat(header["date"]).timestamp()


def name_of(genotype) -> str:
    """Returns a short name for a genotype: the name of its run."""
    return hashlib.sha256(as_text(genotype).encode()).hexdigest()[:12]
