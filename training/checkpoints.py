"""Checkpoints through Orbax: asynchronous, the latest few and the best one are kept."""

import errno
import json
import shutil
import sys
import time

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

from training.state import TrainState


class Checkpoints:
    """The checkpoints of one run, in WORKDIR/checkpoints, named by their step."""

    def __init__(self, workdir, keep: int = 3, read_only: bool = False):
        """`keep` latest checkpoints stay, and the one with the highest top-1."""
        best = policies.BestN(get_metric_fn=_top1, n=1, keep_checkpoints_without_metrics=False)
        self._folder = epath.Path(workdir).expanduser().absolute() / "checkpoints"
        if not read_only:
            self._put_aside([step for step in self._steps_on_disk() if not self._has_metrics(step)])
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
                best_fn=_top1,
                step_format_fixed_length=8,
                create=not read_only,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            ),
        )

    def save(self, step: int, state: TrainState, metrics: dict[str, float] | None) -> None:
        """Starts to save `state`; `metrics` are those of an evaluation at this very step, if any.

        Raises:
          OSError: the disk has no room for it.
          Exception: what went wrong in the save before, in the background.
        """
        self._check_room(state)
        self._manager.save(step, args=ocp.args.StandardSave(state), metrics=metrics)

    def _check_room(self, state: TrainState) -> None:
        """Stops before a save that would leave half a checkpoint and Orbax's threads in trouble."""
        if "://" in str(self._folder):
            return
        free = shutil.disk_usage(self._folder).free
        needed = 2**20 + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        if free < needed:
            text = f"a checkpoint needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
            raise OSError(errno.ENOSPC, f"No space left on device: {text}", str(self._folder))

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """Returns the newest readable checkpoint, with the shapes and shardings of `like`.

        What cannot be read is named on stderr, and put aside in WORKDIR/unreadable once an older
        checkpoint has been read. None: there is no checkpoint.

        Raises:
          ValueError: there are checkpoints, but none can be read.
        """
        unreadable = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._restore(step, like)
            except Exception as error:  # whatever a damaged file makes Orbax raise
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                print(f"cannot read the checkpoint of step {step}: {reason}", file=sys.stderr)
                unreadable.append(step)
                continue
            if unreadable:
                self._put_aside(unreadable)
                self._manager.reload()
                print(f"going back to the checkpoint of step {step}", file=sys.stderr)
            return state
        if unreadable:
            raise ValueError(
                f"no checkpoint in {self._folder} can be read; start in another --workdir"
            )
        return None

    def _steps_on_disk(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdigit())

    def _has_metrics(self, step: int) -> bool:
        """Whether the metrics can be read, if there are any: the manager reads those of all steps."""
        file = self._folder / f"{step:08d}" / "metrics" / "metrics"
        try:
            return not file.exists() or bool(json.loads(file.read_text()))
        except (OSError, ValueError):
            return False

    def _put_aside(self, steps: list[int]) -> None:
        aside = self._folder.parent / "unreadable"
        for step in steps:
            print(f"the checkpoint of step {step} is now in {aside}", file=sys.stderr)
            if jax.process_index() == 0:
                aside.mkdir(exist_ok=True)
                (self._folder / f"{step:08d}").rename(aside / f"{step:08d}-{time.time_ns()}")
        multihost_utils.sync_global_devices("unreadable checkpoints are aside")

    def restore(self, which: str, like: TrainState) -> TrainState:
        """Returns the checkpoint "latest", "best" (by top-1), or that of a step.

        Where `like` has no optimizer state, the checkpoint's is left in the file, of whichever
        optimizer it is; parameters and statistics must be the very ones of `like`.

        Raises:
          FileNotFoundError: there is none, or not that one.
          ValueError: `which` is none of the three, or the network has another shape.
        """
        steps = self.steps()
        if not steps:
            raise FileNotFoundError(f"no checkpoint in {self._folder}: train first")
        if which == "latest":
            step = steps[-1]
        elif which == "best":
            step = self._manager.best_step()
            step = steps[-1] if step is None else step
        elif which.isdigit():
            step = int(which)
        else:
            raise ValueError(f"checkpoint {which!r}: choose best, latest or a step of {steps}")
        if step not in steps:
            raise FileNotFoundError(f"no checkpoint of step {step}; there are {steps}")
        try:
            return self._restore(step, like)
        except Exception as error:  # whatever a damaged file or another network makes Orbax raise
            raise ValueError(
                f"the checkpoint of step {step} is damaged or of another network: "
                f"{str(error)[:300]}"
            ) from error

    def _restore(self, step: int, like: TrainState) -> TrainState:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        if jax.tree.leaves(like.opt_state):
            return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        file = self._folder / f"{step:08d}" / "default"
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            # Orbax's own `partial_restore` would also pass over parameters that do not fit.
            saved = reader.metadata(file).item_metadata.tree
            skipped = jax.tree.map(lambda _: ocp.PLACEHOLDER, saved["opt_state"])
            wanted = abstract.replace(opt_state=skipped)
            each = ocp.checkpoint_utils.construct_restore_args(wanted)
            restored = reader.restore(file, args=ocp.args.PyTreeRestore(wanted, restore_args=each))
        return restored.replace(opt_state=like.opt_state)

    def steps(self) -> list[int]:
        """Returns the steps whose checkpoints are kept."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        return self._manager.best_step()

    def wait(self) -> None:
        """Waits for the save in the background, and raises what went wrong in it."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def _top1(metrics: dict[str, float]) -> float:
    return metrics["top1"]
