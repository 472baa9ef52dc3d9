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


def holm(found: list[Interval]) -> list[float]:
    """Returns for each interval the p-value of "the mean is 0", by Holm's method for all of them together.

    Below 1 - CONFIDENCE it stands, however many were looked at (Holm 1979). One seed has nan and is not counted.
    """
    p = [_p(one) for one in found]
    order = sorted((i for i in range(len(p)) if found[i].n > 1), key=p.__getitem__)
    least = 0.0
    for rank, i in enumerate(order):
        least = p[i] = max(least, min(1.0, p[i] * (len(order) - rank)))
    return p


def _p(found: Interval) -> float:
    """Returns the p-value of Student's t-test that the interval belongs to."""
    freedom = found.n - 1
    if found.n < 2:
        return math.nan
    if found.high == found.low:
        return float(found.mean == 0)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    t = abs(found.mean) * quantile / ((found.high - found.low) / 2)
    return float(2 * stats.t.sf(t, freedom))


def spread(values: list[float]) -> str:
    """Returns mean and standard deviation (n - 1) as text."""
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"
