"""Damages checkpoints, and lets a run go back to the newest one that is whole.

Each try copies a workdir with checkpoints of the steps 1 to 3 and damages one file of the newest: cut, one bit
flipped, zeroed, deleted, or replaced, by the same file of step 2 or by what is no file. The run must end at step 3 or, which it must
say, at step 2, with each bit as it was saved there; nothing else may happen.

Example:
  python tests/faults/checkpoints.py --tries=500
"""

import argparse
import collections
import contextlib
import io
import os
import pathlib
import shutil
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from training import checkpoints, sharding  # noqa: E402 - of this checkout
from training.state import TrainState  # noqa: E402

DAMAGES = {
    "cut": lambda file, rng: file.write_bytes(
        file.read_bytes()[: rng.integers(file.stat().st_size)]
    ),
    "one bit flipped": lambda file, rng: flip(file, int(rng.integers(8 * file.stat().st_size))),
    "zeroed": lambda file, rng: file.write_bytes(bytes(file.stat().st_size)),
    "deleted": lambda file, rng: file.unlink(),
    "of another step": lambda file, rng: shutil.copyfile(sibling(file), file),
    "a link to nowhere": lambda file, rng: (file.unlink(), file.symlink_to("nowhere")),
    "a folder": lambda file, rng: (file.unlink(), file.mkdir()),
    "a pipe": lambda file, rng: (file.unlink(), os.mkfifo(file)),
}


def flip(file: pathlib.Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def sibling(file: pathlib.Path) -> pathlib.Path:
    """Returns a file of step 2 that corresponds to one of step 3: data files have random names."""
    folder = pathlib.Path(str(file.parent).replace("00000003", "00000002"))
    return folder / file.name if (folder / file.name).exists() else sorted(folder.iterdir())[0]


def some_state(step: int, seed: int = 0, width: int = 5) -> TrainState:
    """Returns a state as of a small network, with arrays of all shapes and types that there are."""
    keys = jax.random.split(jax.random.key(seed + step), 3)
    params = {
        "conv": {"kernel": jax.random.normal(keys[0], (3, 3, 4, width))},
        "dense": {"kernel": jax.random.normal(keys[1], (40, 50)), "bias": jnp.arange(50.0)},
    }
    opt_state = ({"trace": jax.random.normal(keys[2], (7,))}, {"count": jnp.array(step)})
    stats = {"mean": jnp.linspace(0, 1, 9, dtype=jnp.bfloat16)}
    state = TrainState(jnp.array(step, jnp.int32), params, stats, opt_state)
    return jax.device_put(state, sharding.replicated(sharding.make_mesh()))


def save(workdir: pathlib.Path, metrics: dict[int, float]) -> None:
    """Writes a checkpoint for each step, with this top-1."""
    saved = checkpoints.Checkpoints(workdir)
    for step, top1 in metrics.items():
        saved.save(step, some_state(step), {"top1": top1, "loss": 1.0})
    saved.wait()
    saved.close()


def restore(workdir: pathlib.Path, like: TrainState | None = None) -> tuple[int | None, str]:
    """Returns the step to which a run goes back, and what it tells; raises AssertionError for other bits."""
    with contextlib.redirect_stderr(io.StringIO()) as told:
        saved = checkpoints.Checkpoints(workdir)
        try:
            state = saved.restore_latest(some_state(0) if like is None else like)
        finally:
            saved.close()
    if state is None:
        return None, told.getvalue()
    step = int(state.step)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(some_state(step)), strict=True):
        np.testing.assert_array_equal(a, b)
    return step, told.getvalue()


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]


def campaign(whole: pathlib.Path, damage: str, tries: int, seed: int = 0) -> collections.Counter:
    """Returns how often what happened.

    Args:
      whole: a workdir of `save`, with the steps 1 to 3.
      damage: one of DAMAGES.
      tries: how many, of the files in turn.
      seed: of the damage.
    """
    rng, counts = np.random.default_rng(seed), collections.Counter()
    for number in range(tries):
        with tempfile.TemporaryDirectory() as folder:
            workdir = pathlib.Path(shutil.copytree(whole, f"{folder}/run"))
            files = files_of(workdir / "checkpoints" / "00000003")
            file = files[number % len(files)]
            DAMAGES[damage](file, rng)
            try:
                step, told = restore(workdir)
            except Exception as error:
                counts["something else"] += 1
                print(f"  {file.relative_to(workdir)}: {type(error).__name__}: {error}"[:200])
                continue
        if step == 2 and "going back to the checkpoint of step 2" in told:
            counts["seen"] += 1
        elif step == 3 and (not told or "it is not verified" in told):
            counts["harmless" if not told else "without digests, told"] += 1
        else:
            counts["something else"] += 1
            print(f"  {file.relative_to(workdir)}: step {step}, {told!r}"[:200])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=500, help="of all damages (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began, bad = time.monotonic(), 0
    outcomes = ("seen", "harmless", "without digests, told", "something else")
    print(f"{'damage':16} {'tries':>6} " + " ".join(f"{name:>22}" for name in outcomes))
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder, "whole")
        save(whole, {1: 0.5, 2: 0.9, 3: 0.7})
        for damage in DAMAGES:
            tries = args.tries // len(DAMAGES)
            counts = campaign(whole, damage, tries, args.seed)
            bad += counts["something else"]
            cells = " ".join(f"{counts[name]:>22}" for name in outcomes)
            print(f"{damage:16} {tries:>6} {cells}", flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
