"""What a run is: its folder, what made it, and whether it may go on."""

import datetime
import importlib.metadata
import math
import pathlib
import platform
import subprocess
import sys

import jax
from etils import epath

from data.messages import some, tell
from training import command, distill, files, initial, metrics

# Fields that a resumed run may change. Another length changes the learning rates that are to come.
MAY_DIFFER = {
    "total_steps",
    "total_epochs",
    "log_steps",
    "log_norms",
    "log_images",
    "wandb",
    "eval_steps",
    "eval_epochs",
    "eval_last",
    "stop_after_evals",
    "eval_train",
    "checkpoint_steps",
    "checkpoint_epochs",
    "keep_checkpoints",
    "start_timeout",
    "lost_timeout",
    "distill.teacher",  # its name; its weights are compared, see `distill.make`
    "input.data_dir",
    "input.threads",
    "input.max_broken_images",
}


def writable(workdir: str) -> epath.Path:
    """Makes the folder, and raises ValueError where nothing can be written into it."""
    try:
        files.make(files.absolute(workdir))
        path = epath.Path(workdir).expanduser()
        (path / f".writable-{jax.process_index()}").write_text("")
        (path / f".writable-{jax.process_index()}").unlink()
    except Exception as error:  # clients of buckets raise errors of their own
        reason = getattr(error, "strerror", None) or command.explain(error) or error
        if isinstance(error, FileNotFoundError) and files.in_bucket(workdir):
            reason = "there is no such bucket; make it first"
        raise ValueError(f"cannot write into --workdir={workdir}: {reason}") from error
    return path


def hold(workdir, stack) -> None:
    """Keeps other runs out of the folder until `stack` closes; raises ValueError where one is in it."""
    if jax.process_index() > 0:
        return
    try:
        stack.enter_context(files.lock(workdir / "train.lock", wait=False))
    except BlockingIOError as error:
        raise ValueError(
            f"another run is training in --workdir={workdir}: let it end, stop it, or choose another one"
        ) from error
    except OSError as error:  # a disk without locks
        tell(f"--workdir={workdir} cannot be locked ({error}): start no other run in it")


def before(lines: list[dict], workdir) -> dict:
    """Returns the header of the run that goes on; {} where its metrics.jsonl has lost it, which is told."""
    header = metrics.newest_header(lines)
    if not header:
        tell(f"{workdir} does not say what config its run had; this one is taken on trust")
    return header


def resumes(config, before: dict, lines: list[dict], allow_changes: bool) -> list[str]:
    """Compares a config with that of the run that goes on.

    Args:
      config: of now.
      before: header of the run, {} where there is none.
      lines: of its metrics.jsonl.
      allow_changes: whether fields of the optimizer may differ, as they may after a divergence.

    Returns:
      What has changed and may.

    Raises:
      ValueError: another field differs; the message names it.
    """
    of_optimizer = {f"optimizer.{field}" for field in config.optimizer}
    allowed = allow_changes or any("diverged" in line for line in lines[-1:])
    may_differ = MAY_DIFFER | (of_optimizer if allowed else set())
    return metrics.check_same_config(
        before.get("config"), config.to_dict(), may_differ, of_optimizer
    )


def check_classes(train_source, eval_source, model) -> None:
    """Compares the classes of the data with model.num_classes, a section of a config; 0 becomes their number."""
    num_classes = model.num_classes = model.num_classes or len(train_source.class_names)
    for source in (train_source, eval_source):
        if len(source.class_names) != num_classes:
            raise ValueError(
                f"the data have {len(source.class_names)} classes ({some(source.class_names)}), "
                f"the network {num_classes}: set --config.model.num_classes={len(source.class_names)}"
            )


def check_same_images(before: dict, train_source) -> list[str]:
    """Compares the training images with those of the run that goes on.

    Args:
      before: header of that run, {} where there is none.
      train_source: of `data.open_source`.

    Returns:
      What has changed and may: the number of images, on which their order depends.

    Raises:
      ValueError: labels would now mean other classes.
    """
    if before and "classes" not in before:
        tell("the run has not recorded its classes: that they are still the same is taken on trust")
    names = before.get("classes", train_source.class_names)
    if names != train_source.class_names:
        pairs = zip(names, train_source.class_names, strict=False)
        moved = [f"{old} (now {new})" for old, new in pairs if old != new]
        gone = [name for name in names if name not in train_source.class_names] or moved
        new = [name for name in train_source.class_names if name not in names]
        raise ValueError(
            f"--workdir holds a run with other classes: {some(gone) or 'none'} gone, "
            f"{some(new) or 'none'} new. Choose another --workdir, or rename the classes back"
        )
    number = before.get("images", len(train_source))
    if number == len(train_source):
        return []
    return [f"the training images were {number:,} and are {len(train_source):,}"]


def check_finite(values: list[dict], step: int, schedule, saved) -> None:
    """Raises FloatingPointError that names the first of these steps with a non-finite loss.

    The checkpoint that has this loss on its first batch is put aside.
    """
    for number, value in enumerate(values, step - len(values) + 1):
        if not math.isfinite(value["loss"]):
            saved.wait()
            if saved.latest_step() == number - 1:  # finite weights, but of no use
                saved.put_aside([number - 1], "diverged")
            raise not_finite(f"the loss is {value['loss']}", number, schedule, saved)


def check_evaluation(name: str, found: dict, step: int, schedule, saved) -> None:
    """Raises FloatingPointError where the loss of an evaluation is not finite."""
    if not math.isfinite(found["loss"]):
        what = f"the loss of the {metrics.EVALUATES[name]} is {found['loss']}"
        raise not_finite(what, step, schedule, saved)


def not_finite(what: str, step: int, schedule, saved) -> FloatingPointError:
    saved.wait()
    good = saved.latest_step()
    return FloatingPointError(
        f"{what} at step {step}, learning rate {float(schedule(step - 1)):.4g}. "
        + (f"The last good checkpoint is that of step {good}" if good else "There is no checkpoint")
        + ": try the same command with a lower --config.optimizer.learning_rate, or another --workdir "
        "with a longer warm-up or clip_norm"
    )


def last_evaluation(lines: list[dict], step: int) -> dict[str, float]:
    """Returns the figures of the newest evaluation up to `step`, for a run that is complete."""
    found = {}
    for line in lines:
        if line.get("step", 0) <= step and "eval/top1" in line:
            found = {k.removeprefix("eval/"): v for k, v in line.items() if k != "step"}
    return found


def evaluations(lines: list[dict], step: int) -> list[float]:
    """Returns the top-1 of each evaluation up to `step`, in order."""
    return [
        line["eval/top1"] for line in lines if line.get("step", 0) <= step and "eval/top1" in line
    ]


def stalled(top1s: list[float], evals: int) -> bool:
    """Whether the last `evals` evaluations were no better than the best before them; never where it is 0."""
    return 0 < evals < len(top1s) and max(top1s[-evals:]) <= max(top1s[:-evals])


def ended(step: int, total_steps: int, result: dict, evals: int) -> str:
    """Returns what the terminal shows of a run at its end; `evals` is its `stop_after_evals`."""
    early = f" of {total_steps}: {evals} evaluation(s) brought no better top-1"
    found = f"evaluation top-1 {result['top1']:.2%}" if result else "not evaluated,"
    return f"done: {found} at step {step}" + early * (step < total_steps)


def to_do_next(workdir) -> str:
    """Returns what the terminal says last of a run."""
    return (
        f"Results are in {workdir}. Next: python scripts/predict.py --workdir={workdir} photo.jpg, or "
        "scripts/look.py"
    )


def header(
    config,
    count,
    total_steps: int,
    train_source,
    changes: list[str],
    started: dict | None,
    teacher: distill.Teacher | None,
) -> dict:
    """Returns what made this run: the first line of metrics.jsonl; `started` is what `initial.take` says."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    return {
        "config": config.to_dict(),
        "changes": changes,
        "started": started,
        "teacher": teacher and teacher.record,
        "classes": train_source.class_names,
        "images": len(train_source),
        "command": " ".join(sys.argv),
        "git": git_revision(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "devices": {"kind": jax.devices()[0].device_kind, "count": jax.device_count()},
        "processes": jax.process_count(),
        "total_steps": total_steps,
        "parameters": count.parameters,
        "multiply_adds": count.multiply_adds,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def banner(made: dict, train_source, eval_source, workdir, step: int, sizes: str = "") -> str:
    """Returns what the terminal shows of a run before its first step; `made` is its header.

    `sizes` is the line on the sizes of images, "" where they have one.
    """
    fields = dict(made["config"]["model"])
    name = fields.pop("name")
    changes = f" with changes: {'; '.join(made['changes'])}" if made["changes"] else ""
    return (
        f"model: {name}, {', '.join(f'{k}={v}' for k, v in fields.items())}\n"
        f"{made['parameters']:,} parameters, {made['multiply_adds']:,} multiply-adds\n"
        f"data: {made['config']['input']['source']}, {len(train_source):,} images to train, "
        f"{len(eval_source):,} to evaluate, {len(train_source.class_names)} classes\n"
        f"devices: {made['devices']['count']} x {made['devices']['kind']}, "
        f"{made['processes']} process(es)\n"
        + (f"{initial.told(made['started'])}\n" if made["started"] else "")
        + (f"{distill.told(made['teacher'])}\n" if made["teacher"] else "")
        + (f"{sizes}\n" if sizes else "")
        + f"results: {workdir}"
        + (f", resumed at step {step}{changes}" if step else "")
    )


def git_revision() -> str | None:
    """Returns the revision of this project's checkout, with "-dirty" where files were changed."""
    git = ["git", "-C", str(pathlib.Path(__file__).parents[1]), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
