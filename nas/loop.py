"""A search: ask, train, tell; all of it on disk, so that a killed one ends as an undisturbed one.

WORKDIR/children.jsonl             each child that was trained, once: genotype, accuracy, costs, seconds
WORKDIR/METHOD-SEED/asked.jsonl    what one search asked for, in its order, with the rewards
WORKDIR/METHOD-SEED/state.msgpack  what its method has learnt
"""

import pathlib
from collections.abc import Callable, Iterable

from flax import serialization

from data.messages import tell
from models import layers
from models.genotypes import as_text
from training import files


def is_number(value) -> bool:
    """Whether a file's value is a number, neither nan nor of a size that nothing here has."""
    return type(value) in (int, float) and abs(value) < 1e18


def read_children(file: pathlib.Path, cost: str = "") -> list[dict]:
    """Returns the lines of children.jsonl; those that are damaged, or lack the cost, are told and left out."""

    def is_child(line):
        known = "error" in line or (
            is_number(line.get("accuracy")) and (not cost or is_number(line.get(cost)))
        )
        return (
            isinstance(line.get("genotype"), list) and known and is_number(line.get("seconds", 0))
        )

    return files.read_jsonl(file, is_child)


def read_asked(file: pathlib.Path) -> list[dict]:
    """Returns the lines of asked.jsonl; those that are damaged are told and left out."""

    def is_asked(line):
        return isinstance(line.get("genotype"), list) and is_number(line.get("reward"))

    return files.read_jsonl(file, is_asked)


def read_header(folder: pathlib.Path) -> dict | None:
    """Returns what made a search, None where there is none; raises ValueError where it is damaged."""
    kinds = {"config": dict, "command": str, "date": str, "jax": str, "cores": int, "parallel": int}
    file, remedy = folder / "search.json", "remove it, and the same command goes on"
    try:
        found = files.read_json(file, kinds, remedy)
    except FileNotFoundError:
        return None
    if min(found["cores"], found["parallel"]) < 1:
        raise ValueError(f"{file} is damaged (no cores, or no children at a time): {remedy}")
    return found


def restore(file: pathlib.Path, state):
    """Returns the state that a file holds, None where there is none or, which is told, a damaged one."""
    if not file.exists():
        return None
    content = file.read_bytes()
    try:
        return serialization.from_bytes(state, content)
    except Exception as error:  # msgpack's and Flax's are of many kinds
        tell(f"{file} is damaged ({error!r}): this search begins again")
        return None


class Children:
    """What is known of each genotype; what is not known is trained, each genotype once."""

    def __init__(
        self,
        file: pathlib.Path,
        train: Callable[[list], Iterable[tuple[int, dict]]],
        cost: str = "",
    ):
        """Reads the children of before.

        Args:
          file: children.jsonl.
          train: trains genotypes, and yields (position, "accuracy" or "error", costs and "seconds") of each
            as it ends.
          cost: that the reward needs of each, of nas.objective.
        """
        self._file, self._train = file, train
        lines = read_children(file, cost)
        self.known = {as_text(line["genotype"]): line for line in lines}
        files.write_jsonl(file, lines)

    def __call__(self, genotypes: list) -> list[dict]:
        """Returns what is known of each, after training those that are new."""
        new = {as_text(g): g for g in genotypes if as_text(g) not in self.known}
        names = list(new)
        for position, found in self._train(list(new.values())) if new else ():
            child = {"genotype": new[names[position]], **found}
            files.append_jsonl(self._file, [child])
            self.known[names[position]] = child
        return [self.known[as_text(g)] for g in genotypes]


def reward(child: dict, objective) -> float:
    """Returns accuracy * (cost / target) ** exponent (arXiv:1807.11626, equation 2); 0 for a failed child.

    Args:
      child: of children.jsonl.
      objective: the section nas.objective of a config.
    """
    if "error" in child:
        return 0.0
    if not objective.exponent:
        return child["accuracy"]
    return child["accuracy"] * (child[objective.cost] / objective.target) ** objective.exponent


def check_objective(objective) -> None:
    """Raises ValueError where the cost is none, or the reward has an exponent and no cost or no target."""
    layers.one_of("nas.objective.cost", objective.cost, ("", "parameters", "multiply_adds"))
    if objective.exponent and (not objective.cost or objective.target <= 0):
        raise ValueError(
            f"nas.objective has the exponent {objective.exponent}: set its cost to multiply_adds or "
            "parameters, and its target to the cost that a network should have"
        )


class Search:
    """One method, with one seed."""

    def __init__(self, folder: pathlib.Path, space, method):
        """Starts a search, or takes up one that was stopped.

        Where its files are damaged it begins again, and comes to the same: its children are known.

        Args:
          folder: of this search alone.
          space: that is searched.
          method: with that seed, of `nas.methods`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._space, self._method = folder, space, method
        state = restore(folder / "state.msgpack", method.state)
        told = 0 if state is None else int(state["told"])
        self.asked = read_asked(folder / "asked.jsonl")[:told]
        if len(self.asked) < told:
            tell(
                f"{folder}/asked.jsonl has {len(self.asked)} of {told} lines: this search begins again"
            )
            self.asked = []
        elif state is not None:
            method.state = state
        files.write_jsonl(folder / "asked.jsonl", self.asked)

    @property
    def name(self) -> str:
        return self._folder.name

    def run(
        self, asks: int, batch: int, children: Children, objective, say=lambda search, rewards: None
    ):
        """Asks for `asks` genotypes, `batch` at a time, and says after each what it was worth.

        A batch counts when its rewards are told and the state is saved; else it is asked again, the same, and
        its children are known already.
        """
        while len(self.asked) < asks:
            tokens = self._method.ask(min(batch, asks - len(self.asked)))
            genotypes = [self._space.decode(one) for one in tokens]
            found = children(genotypes)
            if not self.asked and all("error" in child for child in found):
                raise ValueError(
                    f"all children of the first batch failed; the first: {found[0]['error']}"
                )
            rewards = [reward(child, objective) for child in found]
            self._method.tell(tokens, rewards)
            lines = [
                {"genotype": genotype, "reward": value}
                for genotype, value in zip(genotypes, rewards, strict=True)
            ]
            files.append_jsonl(self._folder / "asked.jsonl", lines)
            state = serialization.to_bytes(self._method.state)
            files.write_bytes(self._folder / "state.msgpack", state)
            self.asked += lines
            say(self, rewards)

    @property
    def best(self) -> dict:
        """The first of those with the highest reward."""
        return max(self.asked, key=lambda line: line["reward"])
