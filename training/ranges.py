"""What each number of a config may be. 0 of something that is done every so often means never."""

import dataclasses
import math

from flax.traverse_util import flatten_dict


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`; `above` and `below` leave out these two."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, number) -> bool:
        if not isinstance(number, int | float) or not math.isfinite(number):
            return False
        low = number > self.low if self.above else number >= self.low
        return low and (number < self.high if self.below else number <= self.high)

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'at least'} {self.low:,}"
        high = f"{'below' if self.below else 'at most'} {self.high:,}"
        bounds = [low] * (self.low > -math.inf) + [high] * (self.high < math.inf)
        return " and ".join(bounds) or "finite"


FINITE = Range()
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, above=True)
COUNT = Range(1, 2**31 - 1)
COUNT_OR_0 = Range(0, 2**31 - 1)
PART = Range(0, 1)
PART_NOT_0 = Range(0, 1, above=True)
PART_NOT_1 = Range(0, 1, below=True)

RANGES = {
    "seed": COUNT_OR_0,
    "batch_size": COUNT,
    "accumulate_steps": COUNT,
    "model_devices": COUNT,
    "total_epochs": NOT_NEGATIVE,
    "total_steps": COUNT_OR_0,
    "log_steps": COUNT_OR_0,
    "log_images": COUNT_OR_0,
    "eval_epochs": NOT_NEGATIVE,
    "eval_steps": COUNT_OR_0,
    "stop_after_evals": COUNT_OR_0,
    "checkpoint_epochs": NOT_NEGATIVE,
    "checkpoint_steps": COUNT_OR_0,
    "keep_checkpoints": COUNT,
    "start_timeout": COUNT,
    "lost_timeout": COUNT,
    "bce_threshold": PART,
    "class_weights": POSITIVE,
    "label_smoothing": PART_NOT_1,
    "aux_weight": NOT_NEGATIVE,
    "ema_decay": PART_NOT_1,
    "ema_every": COUNT,
    "distill.temperature": POSITIVE,
    "distill.weight": PART,
    "input.image_size": COUNT_OR_0,  # 0: that of what the run starts from
    "input.eval_size": COUNT_OR_0,
    "input.start_size": COUNT_OR_0,
    "input.grow_epochs": NOT_NEGATIVE,
    "input.size_multiple": COUNT,
    "input.resize": COUNT_OR_0,
    "input.min_area": PART_NOT_0,
    "input.scales": COUNT,
    "input.padding": COUNT_OR_0,
    "input.ra_num_ops": COUNT,
    "input.ra_magnitude": Range(0, 30),
    "input.ra_magnitude_std": NOT_NEGATIVE,
    "input.color_jitter": PART,
    "input.hue": Range(0, 0.5),
    "input.pca_lighting": NOT_NEGATIVE,
    "input.random_erase": PART,
    "input.aug_repeats": COUNT,
    "input.mixup_alpha": NOT_NEGATIVE,
    "input.cutmix_alpha": NOT_NEGATIVE,
    "input.mixup_prob": PART,
    "input.mixup_switch_prob": PART,
    "input.mean": FINITE,
    "input.std": POSITIVE,
    "input.threads": COUNT_OR_0,
    "input.max_broken_images": COUNT_OR_0,
    "optimizer.learning_rate": NOT_NEGATIVE,
    "optimizer.warmup_epochs": NOT_NEGATIVE,
    "optimizer.warmup_factor": PART,
    "optimizer.decay_at": PART,
    "optimizer.decay_factor": POSITIVE,
    "optimizer.decay_epochs": POSITIVE,
    "optimizer.power": NOT_NEGATIVE,
    "optimizer.momentum": PART_NOT_1,
    "optimizer.rms_decay": PART_NOT_1,
    "optimizer.beta1": PART_NOT_1,
    "optimizer.beta2": PART_NOT_1,
    "optimizer.epsilon": POSITIVE,
    "optimizer.trust_coefficient": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.clip_norm": NOT_NEGATIVE,
    "optimizer.sam_rho": NOT_NEGATIVE,
    "optimizer.lookahead_steps": COUNT_OR_0,
    "optimizer.lookahead_rate": PART_NOT_0,
    "optimizer.layer_decay": PART_NOT_0,
    "optimizer.head_factor": POSITIVE,
    "model.num_classes": COUNT_OR_0,  # 0: that of the data
    "model.pooled_size": COUNT_OR_0,
    "model.conv1_padding": COUNT_OR_0,
    "model.filter_rms": NOT_NEGATIVE,
    "model.dropout": PART_NOT_1,
    "model.drop_path_keep": PART_NOT_0,
    "model.drop_path_rate": PART_NOT_1,
    "model.bn_momentum": PART_NOT_1,
}


def of(name: str, value) -> Range | None:
    """Returns what the value of a field may be; None: it is no number, or may be any.

    A network's numbers that RANGES leaves out are whole and at least 1, or above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    of_a_network = COUNT if isinstance(value, int) else POSITIVE
    return RANGES.get(name, of_a_network if name.startswith("model.") else None)


def check(config) -> None:
    """Raises ValueError that names the first number of a config which cannot be, and what it may be."""
    check_each(flatten_dict(config.to_dict(), sep="."), of)
    if not config.total_steps and not config.total_epochs:
        raise ValueError("total_steps and total_epochs are both 0: let one say how long to train")


def check_each(fields: dict, allowed) -> None:
    """Raises ValueError that names the first number which cannot be, and what it may be.

    Args:
      fields: name -> value, or a tuple of values.
      allowed: `f(name, value) -> Range`, or None where it may be any.
    """
    for name, value in fields.items():
        for number in value if isinstance(value, tuple) else (value,):
            right = allowed(name, number)
            if right and number not in right:
                raise ValueError(f"{name} {number!r}: let it be {right}")
