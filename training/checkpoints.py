"""Checkpoints through Orbax: asynchronous, verified, the latest few and the best one are kept."""

import contextlib
import dataclasses
import errno
import json
import logging
import math
import os
import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from zlib import crc32

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from data.messages import plain, tell
from training import files, old_names
from training.state import TrainState

DIGESTS = "digests.json"
PIECE = 2**23  # bytes of a file that have a CRC-32 of their own


def _is_news(record: logging.LogRecord) -> bool:
    """Orbax also raises what it logs of a save in the background, and warns of a file that it does not need."""
    known = record.exc_info or "Metadata file does not exist" in str(record.msg)
    return not ("orbax" in record.pathname and known)


logging.getLogger("absl").addFilter(_is_news)


class Checkpoints:
    """The checkpoints of one run, in WORKDIR/checkpoints, named by their step.

    Each is a folder that appears once it is whole. Beside Orbax's arrays, `default`, and, after an
    evaluation, `metrics` it has digests.json: size and CRC-32s of each file, with which every restore
    compares them before Orbax reads them, and shape and type of each array. Orbax reaches some buckets
    and not others, so the checkpoints of all are written to a temporary folder first, and read from one.

    Each process has a whole copy of the state, so the first one saves alone: what ends another one
    cannot spoil a save, and no disk has to be shared. All have to call `save` and `wait`.
    """

    def __init__(self, workdir, keep: int = 3, read_only: bool = False):
        """`keep` latest checkpoints stay, and the one with the highest top-1."""
        self._folder = files.absolute(workdir) / "checkpoints"
        self._keep = keep
        self._saves = not read_only and jax.process_index() == 0
        self._unpruned = False
        self._without_metrics = set()  # steps whose metrics cannot be read
        self.network = None  # (model, input shape): what checkpoints with old names are read by
        self.raw = False  # whether `restore` leaves an average of the weights aside
        self.log = None  # a metrics.Writer, whose figures are in the bucket before a checkpoint is
        self._open = contextlib.ExitStack()
        self._local, self._uploads, self._upload = self._folder, None, None
        if files.in_bucket(self._folder):
            self._local = epath.Path(self._open.enter_context(tempfile.TemporaryDirectory()))
            self._uploads = self._open.enter_context(ThreadPoolExecutor(1))
        if not self._saves:
            return
        files.make(self._folder)
        self._remove_unfinished()
        alone = {
            "multiprocessing_options": ocp.options.MultiprocessingOptions(active_processes={0})
        }
        self._writer = ocp.AsyncCheckpointer(
            ocp.CompositeCheckpointHandler(
                composite_options=ocp.CompositeOptions(**alone),
                default=ocp.StandardCheckpointHandler(**alone),
                metrics=ocp.JsonCheckpointHandler("metrics", **alone),
            ),
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._write_digests),
            **alone,
        )
        self._open.callback(self._writer.close)

    def save(self, step: int, state: TrainState, metrics: dict[str, float] | None) -> None:
        """Starts to save `state`; `metrics` are those of an evaluation at this very step, if any.

        Raises:
          OSError: the disk has no room for it.
          Exception: what went wrong in the save before, in the background.
        """
        self.wait()
        self._unpruned = True
        if not self._saves:
            return
        self._check_room(state)
        self._saving = {"step": step, "arrays": _describe(state)}
        items = {"default": ocp.args.StandardSave(_own_copy(_tree(state)))}
        if metrics is not None:
            items["metrics"] = ocp.args.JsonSave(metrics)
        self._writer.save(self._local / _name(step), args=ocp.args.Composite(**items))
        if self._uploads:
            self._upload = self._uploads.submit(self._send, step)

    def _write_digests(self) -> None:
        """Adds digests.json; Orbax calls it in the background, before the folder gets its name."""
        (folder,) = self._local.glob(f"{_name(self._saving['step'])}.orbax-checkpoint-tmp*")
        content = self._saving | {"files": _files(folder)}
        text = json.dumps({"content": content, "crc32": crc32(json.dumps(content).encode())})
        (folder / DIGESTS).write_text(text)
        if self._uploads is None:  # a power loss leaves it whole, and the figures up to it
            _sync_all(folder)
            figures = self._folder.parent / "metrics.jsonl"
            if figures.exists():
                files.sync(figures)

    def _send(self, step: int) -> None:
        """Moves a checkpoint into the bucket once it is whole."""
        self._writer.wait_until_finished()
        local, remote = self._local / _name(step), self._folder / _name(step)
        digests = (local / DIGESTS).read_bytes()
        (local / DIGESTS).unlink()
        files.copy(local, remote)
        if self.log is not None:
            self.log.send()
        files.write_bytes(remote / DIGESTS, digests)  # the last
        local.rmtree()

    def _check_room(self, state: TrainState) -> None:
        """Stops before a save that would leave half a checkpoint and Orbax's threads in trouble."""
        free = shutil.disk_usage(self._local).free
        needed = 2**20 + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        if free < needed:
            text = f"a checkpoint needs {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
            raise OSError(errno.ENOSPC, f"No space left on device: {text}", str(self._local))

    def wait(self) -> None:
        """Waits for the save in the background, and raises what went wrong in it."""
        if self._upload:
            upload, self._upload = self._upload, None
            upload.result()
        elif self._saves:
            self._writer.wait_until_finished()
        if self._unpruned:
            self._unpruned = False
            if self._saves:
                files.sync(self._folder)  # the new name is there before the old ones go
                self._prune()
            multihost_utils.sync_global_devices("the checkpoint is saved")

    def _prune(self) -> None:
        """Removes all checkpoints but the latest few and the best one, and those of which it is not known."""
        steps, best = self.steps(), self.best_step()
        for step in set(steps[: -self._keep]) - {best} - self._without_metrics:
            self._remove(self._folder / _name(step))

    def _remove(self, folder: epath.Path) -> None:
        (folder / DIGESTS).unlink(missing_ok=True)  # a part of it is none
        folder.rmtree()

    def _remove_unfinished(self) -> None:
        """Removes what a killed run was about to save."""
        for path in self._entries():
            if ".orbax-checkpoint-tmp" in path.name:
                path.rmtree()
            elif self._uploads and _is_name(path.name) and not self._is_there(path):
                tell(f"removing what was sent of the checkpoint of step {int(path.name)}")
                path.rmtree()

    def _is_there(self, folder: epath.Path) -> bool:
        """Whether a folder is a checkpoint: in a bucket, where folders do not appear as a whole, by its last file."""
        return (folder / DIGESTS).exists() if self._uploads else folder.is_dir()

    def _entries(self) -> list[epath.Path]:
        return list(self._folder.iterdir()) if self._folder.is_dir() else []

    def close(self) -> None:
        """Waits for the save in the background."""
        self._open.close()

    def steps(self) -> list[int]:
        """Returns the steps of which there are checkpoints, in order."""
        there = [path for path in self._entries() if _is_name(path.name) and self._is_there(path)]
        return sorted(int(path.name) for path in there)

    def latest_step(self) -> int | None:
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """Returns the step with the highest top-1, of several the latest; None: none was evaluated."""
        return next(iter(self._best_first()), None)

    def _best_first(self) -> list[int]:
        found = {}
        for step in self.steps():
            try:
                metrics = _metrics(self._folder / _name(step))
            except DamagedError as error:
                if step not in self._without_metrics:
                    tell(f"cannot read the metrics of the checkpoint of step {step}: {error}")
                self._without_metrics.add(step)
            else:
                if metrics is not None:
                    found[step] = metrics["top1"]
        return sorted(found, key=lambda step: (found[step], step), reverse=True)

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """Returns the newest whole checkpoint, with the shapes and shardings of `like`.

        What is damaged is named on stderr, and put aside in WORKDIR/unreadable once an older checkpoint
        has been read. None: there is no checkpoint.

        Raises:
          ValueError: there are checkpoints, but all are damaged, or the newest is of another network.
        """
        state, damaged = self._first_whole(self.steps()[::-1], like)
        if state is None and damaged:
            raise ValueError(
                f"no checkpoint in {self._folder} can be read; start in another --workdir"
            )
        if damaged:
            self.put_aside(damaged, "unreadable")
        return state

    def restore(self, which: str, like: TrainState) -> TrainState:
        """Returns the checkpoint "latest", "best" (by top-1), or that of a step.

        Where `like` has no optimizer state, the checkpoint's is left in the file, of whichever
        optimizer it is; parameters and statistics must be the very ones of `like`. They are those of the
        average, where the checkpoint has one, unless `raw` is set. In place of a latest or best checkpoint
        that is damaged comes the next one, and stderr says so.

        Raises:
          FileNotFoundError: there is none, or not that one.
          ValueError: `which` is none of the three, the network is another, or what it names is damaged.
        """
        steps = self.steps()
        if not steps:
            raise FileNotFoundError(f"no checkpoint in {self._folder}: train first")
        if which == "latest":
            candidates = steps[::-1]
        elif which == "best":
            candidates = self._best_first()
            if not candidates:
                tell("no checkpoint was evaluated: the latest is taken for the best")
                candidates = steps[::-1]
        elif re.fullmatch(r"\d+", which, re.ASCII):
            candidates = [int(which)]
        else:
            raise ValueError(f"checkpoint {which!r}: choose best, latest or a step of {steps}")
        if not set(candidates) <= set(steps):
            raise FileNotFoundError(f"no checkpoint of step {which}; there are {steps}")
        state, damaged = self._first_whole(candidates, like)
        if state is None:
            raise ValueError(
                f"the checkpoint of step {', '.join(map(str, damaged))} is damaged; there are {steps}"
            )
        return state

    def _first_whole(self, steps: list[int], like: TrainState):
        """Returns (the state of the first of these that is whole, or None; those before it)."""
        damaged = []
        for step in steps:
            try:
                state = self._restore(step, like)
            except DamagedError as error:
                tell(f"cannot read the checkpoint of step {step}: {plain(error, 300)}")
                damaged.append(step)
                continue
            if damaged:
                tell(f"going back to the checkpoint of step {step}")
            return state, damaged
        return None, damaged

    def put_aside(self, steps: list[int], folder: str) -> None:
        """Moves checkpoints to WORKDIR/`folder`, and says so; all processes have to call it."""
        multihost_utils.sync_global_devices("all have seen these checkpoints")
        aside = self._folder.parent / folder
        for step in steps:
            tell(f"the checkpoint of step {step} is now in {aside}")
            if jax.process_index() == 0:
                source = self._folder / _name(step)
                target = aside / f"{_name(step)}-{time.time_ns()}"
                if self._uploads:
                    files.copy(source, target)
                    self._remove(source)
                else:
                    files.make(aside)
                    source.rename(target)
        multihost_utils.sync_global_devices("checkpoints are aside")

    def _restore(self, step: int, like: TrainState) -> TrainState:
        """Reads a checkpoint that is whole by its digests.

        Raises:
          DamagedError: it is not.
          OtherNetworkError: it is of another network, or of another optimizer.
        """
        partial = not jax.tree.leaves(like.opt_state)
        with contextlib.ExitStack() as stack:
            folder = self._folder / _name(step)
            if self._uploads:
                local = epath.Path(stack.enter_context(tempfile.TemporaryDirectory()))
                files.copy(folder, local)
                folder = local
            saved = _all_verify(step, folder)
            if saved is not None:
                names = self._old_names(saved["arrays"], like)
                like = old_names.rename(like, names)
                _check_same_network(step, saved["arrays"], like)
                restored = _read(folder / "default", like, partial, self.raw)
                return old_names.rename_back(restored, names)
            try:  # by a run of before there were digests
                names = self._old_names(_saved_names(folder / "default"), like)
                like = old_names.rename(like, names)
                restored = _read(folder / "default", like, partial, self.raw)
                state = old_names.rename_back(restored, names)
            except Exception as error:  # whatever a damaged file makes Orbax raise
                raise DamagedError(
                    next(iter(str(error).splitlines()), type(error).__name__)
                ) from error
        if int(state.step) != step:
            raise DamagedError(f"it is that of step {int(state.step)}")
        tell(f"the checkpoint of step {step} has no digests, it is not verified")
        return state

    def _old_names(self, saved, like: TrainState) -> old_names.Names:
        """Returns the names of the layers in a checkpoint of arrays of these names, where they are old ones."""
        if self.network is None or not old_names.are_old(saved):
            return {}
        variables = {"params": like.params, "batch_stats": like.batch_stats}
        return old_names.find(*self.network, variables, saved)


class DamagedError(ValueError):
    """A checkpoint is not what was saved."""


class OtherNetworkError(ValueError):
    """A checkpoint is whole, but not of this network or optimizer."""


def _name(step: int) -> str:
    return f"{step:08d}"


def _is_name(text: str) -> bool:
    return re.fullmatch(r"\d+", text, re.ASCII) is not None and _name(int(text)) == text


def _read(folder: epath.Path, like: TrainState, partial: bool, raw: bool) -> TrainState:
    """Returns Orbax's arrays as those of `like`.

    Where that is `partial`, the optimizer's state stays `like`'s, and parameters and statistics are those of
    the average, if there is one and not the `raw` ones are wanted.
    """
    wanted = _tree(jax.tree.map(ocp.utils.to_shape_dtype_struct, like))
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        if partial:  # Orbax's own `partial_restore` would also pass over parameters that do not fit
            saved = reader.metadata(folder).item_metadata.tree
            averaged = "ema" in saved and not raw
            weights = {name: wanted[name] for name in ("params", "batch_stats")}
            taken = {"step": wanted["step"]} | ({"ema": weights} if averaged else weights)
            wanted = jax.tree.map(lambda _: ocp.PLACEHOLDER, saved) | taken
        each = ocp.checkpoint_utils.construct_restore_args(wanted)
        restored = reader.restore(folder, args=ocp.args.PyTreeRestore(wanted, restore_args=each))
    if partial:
        weights = restored["ema"] if averaged else {name: restored[name] for name in weights}
        return like.replace(step=restored["step"], **weights)
    return TrainState(**restored)


def _tree(state: TrainState) -> dict:
    """Returns a state as Orbax gets it: without what it does not have, as before there was any."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in fields.items() if value is not None}


def _saved_names(folder: epath.Path) -> list[str]:
    """Returns the names of Orbax's arrays, those of `_leaves`."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        return list(_leaves(reader.metadata(folder).item_metadata.tree))


def _leaves(state) -> dict[str, jax.Array]:
    """Returns the arrays of a state by name, such as "params/conv1/kernel"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(k, simple=True, separator="/"): leaf for k, leaf in leaves}


def _own_copy(state: TrainState) -> TrainState:
    """Returns the state as arrays of this process alone, where it is one of several."""

    def of_array(leaf):
        if getattr(leaf, "is_fully_addressable", True):  # as NumPy's are
            return leaf
        copy = np.empty(leaf.shape, leaf.dtype)
        for shard in leaf.addressable_shards[: 1 if leaf.is_fully_replicated else None]:
            copy[shard.index] = shard.data
        return copy

    return jax.tree.map(of_array, state)


def _describe(state: TrainState) -> dict[str, list]:
    """Returns shape and type of each array of a state, by its name."""
    return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in _leaves(state).items()}


def _files(folder: epath.Path) -> dict[str, list]:
    """Returns size and CRC-32s, a piece each, of the files in the folders of a checkpoint, by their paths in it.

    Beside the folders lies what Orbax has not finished, and this does not read.
    """
    found = {}
    with ThreadPoolExecutor() as pool:  # reading and zlib release the GIL
        for parent, _, names in os.walk(folder):
            for name in names if parent != os.fspath(folder) else ():
                path = os.path.join(parent, name)
                if os.path.isfile(path):  # no pipe, no dead link
                    size = os.path.getsize(path)
                    sums = pool.map(lambda at, path=path: _piece(path, at), range(0, size, PIECE))
                    found[os.path.relpath(path, folder)] = [size, sums]
        return {name: [size, list(sums)] for name, (size, sums) in found.items()}


def _piece(path: str, start: int) -> int:
    buffer = memoryview(bytearray(min(PIECE, 2**18)))  # which stays in the processor's cache
    digest, left = 0, PIECE
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while left and (count := file.readinto(buffer[:left])):
            digest, left = crc32(buffer[:count], digest), left - count
    return digest


def _sync_all(folder: epath.Path) -> None:
    """Returns once all files of a folder, and their names, would survive a power loss."""
    with ThreadPoolExecutor() as pool:  # the disk takes them together
        for parent, _, names in os.walk(folder):
            list(pool.map(files.sync, [os.path.join(parent, name) for name in names]))
            files.sync(parent)


def _digests(folder: epath.Path) -> dict | None:
    """Returns what digests.json says, None where there is none.

    Raises:
      DamagedError: it is not what was written.
    """
    file = folder / DIGESTS
    if not files.is_file(file):
        if os.path.lexists(file):
            raise DamagedError(f"{DIGESTS} is no file")
        return None
    try:
        about = json.loads(file.read_bytes())
        right = about["crc32"] == crc32(json.dumps(about["content"]).encode())
    except (ValueError, TypeError, KeyError):
        right = False
    if not right:
        raise DamagedError(f"{DIGESTS} is damaged")
    return about["content"]


def _verify(step: int, folder: epath.Path) -> dict | None:
    """Returns what digests.json says, None where there is none.

    Raises:
      DamagedError: a file is not what was saved, or it was saved as another step.
    """
    content = _digests(folder)
    if content is None:
        _metrics(folder)
        return None
    if content["step"] != step:
        raise DamagedError(f"it is that of step {content['step']}")
    try:
        there = _files(folder)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise DamagedError(f"the disk cannot read it: {error}") from error
    for name, digest in content["files"].items():
        if there.get(name) != digest:
            raise DamagedError(f"{name} is {'damaged' if name in there else 'missing'}")
    return content


def _all_verify(step: int, folder: epath.Path) -> dict | None:
    """Returns what `_verify` does once all processes have found the checkpoint whole; they read it together.

    Raises:
      DamagedError: one of them has not.
    """
    found, problem = None, None
    try:
        found = _verify(step, folder)
    except DamagedError as error:
        problem = error
    if multihost_utils.process_allgather(np.array(problem is not None)).any() and problem is None:
        problem = DamagedError("another process cannot read it")
    if problem is not None:
        raise problem
    return found


def _metrics(folder: epath.Path) -> dict[str, float] | None:
    """Returns the metrics of a checkpoint that was evaluated, else None.

    Raises:
      DamagedError: they cannot be read, are none, or not those that were saved.
    """
    name, file = "metrics/metrics", folder / "metrics" / "metrics"
    digests = _digests(folder)
    saved = digests and digests["files"].get(name)
    if not files.is_file(file):
        if saved:
            raise DamagedError(f"{name} is missing")
        return None
    content = file.read_bytes()
    try:
        metrics = json.loads(content)
    except ValueError:
        metrics = None
    top1 = metrics.get("top1") if isinstance(metrics, dict) else None
    if saved and saved != [len(content), [crc32(content)]]:
        raise DamagedError(f"{name} is damaged")
    if type(top1) not in (int, float) or not math.isfinite(top1):
        raise DamagedError(f"{name} has no top1")
    return metrics


def _check_same_network(step: int, saved: dict[str, list], like: TrainState) -> None:
    """Raises OtherNetworkError that names the first array that differs from those of `like`."""
    wanted, there = _describe(like), saved
    if not jax.tree.leaves(like.opt_state):
        left = ("opt_state/", "ema/")
        there = {name: about for name, about in saved.items() if not name.startswith(left)}
    elif (like.ema is None) == any(name.startswith("ema/") for name in saved):
        has, wants = ("no", "wants one") if like.ema else ("an", "wants none")
        raise OtherNetworkError(
            f"the checkpoint of step {step} has {has} average of the weights, and the config {wants}: set "
            "ema_decay as it was, or choose another --workdir"
        )
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            before, now = (
                f"{tuple(about[0])} {about[1]}" if about else "missing"
                for about in (there.get(name), wanted.get(name))
            )
            what = "optimizer" if name.startswith("opt_state") else "network"
            raise OtherNetworkError(
                f"the checkpoint of step {step} is of another {what}: {name} is {before} in it, and {now} "
                "by the config. Take the config of before, or another --workdir"
            )
