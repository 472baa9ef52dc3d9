"""Metrics as JSON lines and TensorBoard events, and what the terminal shows."""

import contextlib
import json
import sys
import tempfile

import jax
from etils import epath
from flax.traverse_util import flatten_dict
from tqdm import tqdm

from training import files, weights_and_biases

EVALUATES = {"eval": "evaluation", "eval_train": "training images", "eval_raw": "raw weights"}
# Fields that the configs of older runs lack, and what these runs did.
BEFORE_THERE_WAS = {
    "init": "",
    "accumulate_steps": 1,
    "log_norms": False,
    "log_images": 0,
    "wandb": "",
    "eval_last": True,
    "stop_after_evals": 0,
    "start_timeout": 600,
    "lost_timeout": 120,
    "loss": "softmax",
    "bce_threshold": 0.0,
    "bce_sum": False,
    "class_weights": (),
    "ema_decay": 0.0,
    "ema_every": 1,
    "ema_warmup": False,
    "distill.teacher": "",
    "distill.temperature": 4.0,
    "distill.weight": 0.9,
    "input.class_names": "",
    "input.image_column": "",
    "input.label_column": "",
    "input.ground_truth": "",
    "input.eval_size": 0,
    "input.start_size": 0,
    "input.grow_epochs": (0.0, 0.0),
    "input.size_multiple": 32,
    "input.interpolation": "bilinear",
    "input.squash": False,
    "input.exif_orientation": False,
    "input.aspect": "log_uniform",
    "input.auto_augment": "",
    "input.ra_num_ops": 2,
    "input.ra_magnitude": 9,
    "input.ra_magnitude_std": 0.0,
    "input.hue": 0.0,
    "input.random_erase": 0.0,
    "input.random_erase_mode": "const",
    "input.aug_repeats": 1,
    "input.mixup_alpha": 0.0,
    "input.cutmix_alpha": 0.0,
    "input.mixup_prob": 1.0,
    "input.mixup_switch_prob": 0.5,
    "optimizer.trust_coefficient": 1e-3,
    "optimizer.clip_decayed": False,
    "optimizer.sam_rho": 0.0,
    "optimizer.lookahead_steps": 0,
    "optimizer.lookahead_rate": 0.5,
    "optimizer.schedule_free": False,
    "optimizer.freeze": (),
    "optimizer.rates": (),
    "optimizer.decays": (),
    "optimizer.freeze_batch_stats": False,
    "optimizer.layer_decay": 1.0,
    "optimizer.head_factor": 1.0,
}
# The same of fields that not every network has; where none is given, a network takes these itself.
BEFORE_NETWORKS_HAD = {
    "model.response_alpha": 1e-4,
    "model.normalise_first": False,
    "model.ceil_pooling": False,
    "model.conv_bias": True,
    "model.stem_norm": True,
    "model.compression": False,
    "model.pooled_last": False,
    "model.drop_path_rate": 0.0,
    "model.stem": "imagenet",
}

# Fields of the sections input and model on which no evaluation depends.
ONLY_FOR_TRAINING = {
    *(f"input.{name}" for name in ("train_split", "data_dir", "in_memory", "threads")),
    *(f"input.{name}" for name in ("max_broken_images", "crop", "min_area", "aspect", "scales")),
    *(f"input.{name}" for name in ("start_size", "grow_epochs", "size_multiple", "padding")),
    *(f"input.{name}" for name in ("flip", "auto_augment", "ra_num_ops", "ra_magnitude")),
    *(f"input.{name}" for name in ("ra_magnitude_std", "color_jitter", "hue", "pca_lighting")),
    *(f"input.{name}" for name in ("aug_repeats", "random_erase", "random_erase_mode")),
    *(f"input.{name}" for name in ("mixup_alpha", "cutmix_alpha", "mixup_prob")),
    "input.mixup_switch_prob",
    *(f"model.{name}" for name in ("dropout", "drop_path_keep", "drop_path_rate")),
    *(f"model.{name}" for name in ("initialization", "bn_momentum")),
}


def read_lines(workdir) -> list[dict]:
    """Returns what WORKDIR/metrics.jsonl holds, as `files.read_jsonl` does."""
    return files.read_jsonl(files.absolute(workdir) / "metrics.jsonl", _is_header_or_figures)


def _is_header_or_figures(line: dict) -> bool:
    """Whether headers are objects, steps and counts such numbers, and figures numbers."""
    headers = line, line.get("resumed", {})
    if not all(isinstance(header, dict) for header in headers):
        return False
    configs = [header.get("config", {}) for header in headers]
    if not all(isinstance(config, dict) for config in configs):
        return False
    names = ("step", "total_steps", "parameters", "multiply_adds", "images")
    counts = [header.get(name, 0) for header in headers for name in names]
    counts += [config.get("batch_size", 1) for config in configs]
    classes = [header.get("classes", []) for header in headers]
    if not all(isinstance(names, list) and {*map(type, names)} <= {str} for names in classes):
        return False
    figures = [value for name, value in line.items() if "/" in name]
    return all(type(count) is int and 0 <= count < 2**63 for count in counts) and all(
        isinstance(figure, int | float) and not abs(figure) > 1e300 for figure in figures
    )


def newest_header(lines: list[dict]) -> dict:
    """Returns what made the run, as it was last started; {} where the lines of metrics.jsonl have none."""
    headers = [header for line in lines for header in (line, line.get("resumed", {}))]
    return next((header for header in reversed(headers) if "config" in header), {})


def differences(before: dict, now: dict) -> dict[str, str]:
    """Compares two configs, as read from JSON or not.

    Returns:
      {"model.depth": "model.depth was 20 and is 56"} for what differs.
    """
    older = BEFORE_THERE_WAS | BEFORE_NETWORKS_HAD
    before, now = (
        json.loads(json.dumps(older | flatten_dict(dict(config), sep=".")))
        for config in (before, now)
    )
    return {
        name: f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    }


def differences_that_count(header: dict, config: dict) -> list[str]:
    """Returns what an evaluation by `config` sees otherwise than the run did: images, or network.

    Args:
      header: of the run, see `newest_header`; of {} nothing is known.
      config: of the evaluation.
    """
    found = differences(header["config"], config) if header else {}
    return [
        text
        for name, text in found.items()
        if name.startswith(("input.", "model.")) and name not in ONLY_FOR_TRAINING
    ]


def check_same_config(
    before: dict, config: dict, may_differ: set[str], on_request: set[str] = frozenset()
) -> list[str]:
    """Compares `config` with that of the run in this workdir.

    Args:
      before: the config of that run, {} where there is none.
      config: of the run that wants to go on.
      may_differ: fields such as "total_steps" whose change is no mistake.
      on_request: fields that --allow_changes would let differ, for the message.

    Returns:
      What differs among the fields that may.

    Raises:
      ValueError: another field differs; the message names it.
    """
    if not before:
        return []
    differing = differences(before, config)
    mistakes = [name for name in differing if name not in may_differ]
    if mistakes:
        raise ValueError(
            f"--workdir holds a run of another config: {'; '.join(differing[m] for m in mistakes)}. "
            "Choose another --workdir, or the config of before"
            + (", or --allow_changes to go on with this one" * (set(mistakes) <= on_request))
        )
    return list(differing.values())


class Writer:
    """Writes WORKDIR/metrics.jsonl and WORKDIR/tensorboard, from the first process only.

    A resumed run goes on where its checkpoint was: what an interrupted run logged after that is
    taken out, so that each step is logged once. As a context it notes that a run ends by a
    FloatingPointError. A bucket gets copies, see `files.Copies`. Weights & Biases gets the figures,
    too, where the config names a project.
    """

    def __init__(self, workdir, previous: list[dict], header: dict, step: int):
        """Starts or goes on at `step`.

        Args:
          workdir: of the run.
          previous: what `read_lines` found in it.
          header: becomes the first line, or that of a resumed run.
          step: where the run starts or goes on.
        """
        self._active = jax.process_index() == 0
        if not self._active:
            return
        folder = files.absolute(workdir)
        self._open, self._copies = contextlib.ExitStack(), None
        if files.in_bucket(folder):
            local = epath.Path(self._open.enter_context(tempfile.TemporaryDirectory()))
            self._copies = files.Copies(local, folder)
            self._open.callback(self._copies.close)
            folder = local
        self._step, self._path = step, folder / "metrics.jsonl"
        kept = [line for line in previous if line.get("step", 0) <= step]
        if kept and step:
            kept.append({"step": step, "resumed": header})
        else:
            kept = [header]
        files.write_jsonl(self._path, kept)
        self._file = self._open.enter_context(open(self._path, "a"))
        # Not to read a log: it loads PyTorch where that is installed.
        from training import tensorboard

        self._events = tensorboard.Events(folder / "tensorboard", step + 1)
        self._open.callback(self._events.close)
        if self._copies:
            self._copies.send()
        self._wandb = weights_and_biases.Log(workdir, header)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        if not self._active:
            return
        self._append({"step": step, **metrics})
        for name, value in metrics.items():
            self._events.add(name, value, step)
        self._wandb.write(step, metrics)
        if self._copies:
            self._copies.grown()

    def picture(self, step: int, name: str, pixels) -> None:
        """Logs a picture, uint8 [height, width, 3], for TensorBoard and Weights & Biases."""
        if self._active:
            self._events.picture(name, pixels, step)
            self._wandb.picture(step, name, pixels)

    def _append(self, line: dict) -> None:
        self._step = line["step"]
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def send(self) -> None:
        """Returns once a bucket has what was written; the thread that saves may call it, too."""
        if self._active and self._copies:
            self._events.flush()
            self._copies.send()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if self._active and isinstance(error, FloatingPointError):
            self._append({"step": self._step, "diverged": str(error)})
        sends = not isinstance(error, ConnectionError)  # else nothing would get there
        self.close(sends, failed=error is not None)

    def close(self, sends: bool = True, failed: bool = False) -> None:
        if not self._active:
            return
        self._wandb.close(failed)
        with self._open:
            if sends:
                self.send()


def mean(of_steps: list[dict]) -> dict[str, float]:
    """Returns the mean of each metric of some steps, as metrics.jsonl names it: "train/loss"."""
    return {
        f"train/{name}": float(sum(metrics[name] for metrics in of_steps) / len(of_steps))
        for name in of_steps[0]
    }


class Progress:
    """A bar with images/s and ETA on a terminal, plain lines elsewhere, from the first process."""

    def __init__(self, start: int, total: int, batch_size: int):
        self._active = jax.process_index() == 0
        self._total, self._batch_size = total, batch_size
        self._bar = tqdm(
            total=total,
            initial=start,
            unit="step",
            disable=not (self._active and sys.stderr.isatty()),
            bar_format="{percentage:3.0f}% |{bar}| step {n}/{total}{postfix} [ETA {remaining}]",
        )

    def advance(self) -> None:
        self._bar.update()

    def train(self, step: int, metrics: dict[str, float]) -> None:
        text = f"loss {metrics['train/loss']:.4f}, top-1 {metrics['train/top1']:.1%}"
        rate = metrics.get("train/images_per_second")
        if rate:
            text += f", {rate:,.0f} images/s"
        if not self._bar.disable:
            self._bar.set_postfix_str(text)  # the bar has an ETA of its own
            return
        if rate:
            seconds = (self._total - step) * self._batch_size / rate
            text += f", ETA {tqdm.format_interval(seconds)}"
        self.say(f"step {step}/{self._total}: {text}")

    def evaluation(self, step: int, name: str, found: dict[str, float]) -> None:
        self.say(
            f"step {step}: {EVALUATES[name]} top-1 {found['top1']:.2%}, "
            f"top-5 {found['top5']:.2%}, loss {found['loss']:.4f} ({found['images']:,} images)"
        )

    def say(self, text: str) -> None:
        if not self._active:
            return
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def close(self) -> None:
        self._bar.close()
