"""`start` and `save`: what a run costs before its first step, and around a checkpoint."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from absl import logging

from benchmarks import networks, start_round
from benchmarks.report import describe, facts, output

PROJECT = Path(__file__).parents[1]
STARTS = (
    "configs/digits.py@64x8",
    "torchvision/resnet50@8x224",
    "torchvision/googlenet@8x224",
    "akamaster/resnet110@8x32",
    "akamaster/resnet110+scan@8x32",
)
SAVES = ("akamaster/resnet20@128x32", "torchvision/resnet50@8x224")


def measure_start(args):
    texts = args.networks or STARTS
    for text in texts:  # a mistake is told before anything is measured
        load(text)
    describe(facts("jax", "jaxlib", "flax", "orbax-checkpoint", "grain"))
    show_help = partial(
        subprocess.run, [sys.executable, PROJECT / "train.py", "--help"], capture_output=True
    )
    seconds = statistics.median(timed(show_help) for _ in range(args.rounds))
    print(f"train.py --help: {seconds:.1f} s (median of {args.rounds})")
    width = max(map(len, texts))
    phases = ("import", "count", "initialise", "trace", "compile", "step", "total")
    print("seconds".ljust(width), "cache ", *(phase.rjust(10) for phase in phases))
    for text in texts:
        found = {"empty": [], "filled": []}
        for _ in range(args.rounds):
            with tempfile.TemporaryDirectory() as cache:
                for state in found.values():
                    line = output(sys.executable, start_round.__file__, text, cache)
                    seconds = json.loads(line.splitlines()[-1])
                    state.append(seconds | {"total": sum(seconds.values())})
        for state, rounds in found.items():
            medians = (statistics.median(x[phase] for x in rounds) for phase in phases)
            cells = (f"{x:10.1f}" for x in medians)
            print(text.ljust(width), state.ljust(6), *cells, flush=True)


def measure_save(args):
    from training import command

    logging.set_verbosity(logging.ERROR)  # this and the next as train.py does
    command.keep_memory()
    configs = {text: load(text) for text in args.networks or SAVES}
    describe(facts("jax", "jaxlib", "orbax-checkpoint"))
    width = max(map(len, configs))
    head = ("state, MB", "step, ms", "save() takes, ms", "slowest step after, ms", "all in all, ms")
    print(" " * width, *head, sep="  ")
    for text, config in configs.items():
        cells = (f"{x:,.0f}" for x in save_rounds(config, args.rounds, args.steps))
        padded = (cell.rjust(len(name)) for cell, name in zip(cells, head, strict=True))
        print(text.ljust(width), *padded, sep="  ", flush=True)


def save_rounds(config, rounds: int, count: int) -> tuple[float, ...]:
    """Returns MB of the state, and medians over rounds of `count` steps without and with a save, in ms.

    These are a step without, the call of save(), the slowest step after it, and what the steps with
    it, the call, and the wait for its end took more than the steps without.
    """
    import jax

    from training import checkpoints, sharding

    state, step, arguments = networks.training(config, sharding.make_mesh(jax.devices()[:1]))

    def one_step():
        nonlocal state
        state, metrics = step(state, *arguments)
        jax.block_until_ready((state, metrics))

    one_step()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        saved = checkpoints.Checkpoints(folder, keep=1)
        for number in range(1, rounds + 1):
            without = [timed(one_step) for _ in range(count)]
            call = timed(partial(saved.save, number, state, None))
            after = [timed(one_step) for _ in range(count)]
            extra = call + sum(after) + timed(saved.wait) - sum(without)
            figures.append((statistics.median(without), call, max(after), extra))
        saved.close()
    megabytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6
    return megabytes, *(1000 * statistics.median(each) for each in zip(*figures, strict=True))


def load(text: str):
    """Returns the config of NETWORK or NETWORK@BATCHxSIZE."""
    return networks.load(*networks.parse(text, 8, None), "float32")


def timed(call) -> float:
    """Returns the seconds that `call()` takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
