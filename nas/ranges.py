"""What each number of a config's section `nas` may be."""

from flax.traverse_util import flatten_dict

from training.ranges import COUNT, COUNT_OR_0, NOT_NEGATIVE, PART, Range, check_each

RANGES = {
    "seeds": COUNT,
    "asks": COUNT,
    "batch": COUNT,
    "validation": Range(1, 99),  # per cent
    "space.nodes": Range(1, 100),
    "space.layers": Range(1, 1000),
    "objective.target": NOT_NEGATIVE,
    "objective.exponent": Range(-100, 100),
    "evolution.population": COUNT,
    "evolution.sample": COUNT,
    "sharing.seeds": COUNT_OR_0,
    "sharing.rounds": COUNT,
    "sharing.steps": COUNT,
    "sharing.clip_norm": NOT_NEGATIVE,
    "sharing.batches": COUNT,
    "sharing.final": COUNT,
    "sharing.ranked": COUNT_OR_0,
    "final.parameters": NOT_NEGATIVE,
    "final.seeds": COUNT_OR_0,
    "final.searches": COUNT_OR_0,
    "final.drawn": COUNT_OR_0,
} | {
    f"{method}.{field}": allowed
    for method in ("reinforce", "ppo")
    for field, allowed in {
        "hidden": Range(1, 100_000),
        "learning_rate": NOT_NEGATIVE,
        "entropy": NOT_NEGATIVE,
        "baseline": PART,
        "passes": COUNT,
        "clip": NOT_NEGATIVE,
    }.items()
}


def check(nas) -> None:
    """Raises ValueError where a number of the section `nas` is not in its range, or there is no method."""
    fields = {f"nas.{name}": value for name, value in flatten_dict(nas.to_dict(), sep=".").items()}
    check_each(fields, lambda name, _: RANGES.get(name.removeprefix("nas.")))
    if not nas.methods or len(set(nas.methods)) < len(nas.methods):
        raise ValueError(f"nas.methods is {nas.methods}: a search needs at least one, each once")
