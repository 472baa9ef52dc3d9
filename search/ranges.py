"""The ranges of the numbers in a config's section `nas`, in one place."""

from flax.traverse_util import flatten_dict

MANY = 10**9
RANGES = {  # field: least and most
    "seeds": (1, MANY),
    "asks": (1, MANY),
    "batch": (1, MANY),
    "validation": (1, 99),  # per cent
    "space.nodes": (1, 100),
    "space.layers": (1, 1000),
    "objective.target": (0, MANY**2),
    "objective.exponent": (-100, 100),
    "evolution.population": (1, MANY),
    "evolution.sample": (1, MANY),
    "sharing.seeds": (0, MANY),
    "sharing.rounds": (1, MANY),
    "sharing.steps": (1, MANY),
    "sharing.clip_norm": (0, MANY),
    "sharing.batches": (1, MANY),
    "sharing.final": (1, MANY),
    "sharing.ranked": (0, MANY),
    "final.parameters": (0, 10**12),
    "final.seeds": (0, MANY),
    "final.searches": (0, MANY),
    "final.drawn": (0, MANY),
} | {
    f"{method}.{field}": limits
    for method in ("reinforce", "ppo")
    for field, limits in {
        "hidden": (1, 100_000),
        "learning_rate": (0, 100),
        "entropy": (0, MANY),
        "baseline": (0, 1),
        "passes": (1, MANY),
        "clip": (0, MANY),
    }.items()
}


def check(nas) -> None:
    """Raises ValueError where a number of the section `nas` is not in its range, or there is no method."""
    for name, value in flatten_dict(nas.to_dict(), sep=".").items():
        if name not in RANGES:
            continue
        low, high = RANGES[name]
        if not (isinstance(value, int | float) and low <= value <= high):  # nan is in no range
            raise ValueError(f"nas.{name} is {value!r}: choose {low} to {high:,}")
    if not nas.methods or len(set(nas.methods)) < len(nas.methods):
        raise ValueError(f"nas.methods is {nas.methods}: a search needs at least one, each once")
