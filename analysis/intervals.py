"""Means over seeds, and how sure they are."""

import math
import statistics
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean over seeds; the limits are nan for one seed."""

    mean: float
    low: float
    high: float
    n: int

    def figures(self) -> dict:
        """Returns what is to be written down of it; JSON has no nan."""
        return {k: None if math.isnan(v) else v for k, v in self._asdict().items()}

    def __str__(self) -> str:
        if self.n < 2:
            return f"{self.mean:+.2f} (one seed: no interval)"
        return f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f}, n = {self.n})"


def interval(values: list[float]) -> Interval:
    """Returns mean and confidence interval of values, one of each seed."""
    mean, n = statistics.mean(values), len(values)
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    half = quantile * statistics.stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def spread(values: list[float]) -> str:
    """Returns mean and standard deviation (n - 1) as text."""
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"
