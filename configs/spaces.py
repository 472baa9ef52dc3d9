"""What a `sweep()` returns is made of: a list of overrides, one for each run.

  def sweep():
      return spaces.product({"model.depth": (20, 56), "seed": range(5)})
  # [{"model.depth": 20, "seed": 0}, {"model.depth": 20, "seed": 1}, ...]

A config may also have a `space()` of what `draw` and `scripts/sweep.py --optimize` choose from: for each
field a `Range`, or the values to choose among.
"""

import itertools
import math
import random
from typing import NamedTuple


class Range(NamedTuple):
    """Numbers from `low` to `high`, whole ones where both are; `log`: evenly in the exponent."""

    low: float
    high: float
    log: bool = False

    def draw(self, rng: random.Random) -> float:
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = rng.uniform(self.low, self.high)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return min(max(round(value), self.low), self.high)
        return float(f"{value:.4g}")  # so that the name of a run stays short


def product(*parts) -> list[dict]:
    """Returns every combination of the parts.

    Args:
      *parts: {"FIELD": values, ...}, of which every combination counts; or a list of overrides, as
        `together` and `draw` return, of which each is taken whole.
    """
    choices = []
    for part in parts:
        if isinstance(part, dict):
            choices += [[{field: value} for value in values] for field, values in part.items()]
        else:
            choices.append(part)
    return [
        {field: value for overrides in chosen for field, value in overrides.items()}
        for chosen in itertools.product(*choices)
    ]


def together(fields: dict) -> list[dict]:
    """Returns the first values of all fields, then the second ones, and so on.

    Raises:
      ValueError: the fields have different numbers of values.
    """
    return [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]


def draw(count: int, space: dict, seed: int = 0) -> list[dict]:
    """Returns `count` random overrides, the same for the same seed.

    Args:
      count: how many.
      space: {"FIELD": a Range, or values to choose among, ...}.
      seed: of the draws.
    """
    rng = random.Random(seed)
    return [
        {
            field: values.draw(rng) if isinstance(values, Range) else rng.choice(list(values))
            for field, values in space.items()
        }
        for _ in range(count)
    ]
