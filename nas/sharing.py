"""Weight sharing: one network of all cells, whose weights every cell that a controller proposes uses.

Efficient Neural Architecture Search (arXiv:1802.03268, section 2.2): in turn, the shared weights learn from
training images under cells that the controller draws, and the controller from the accuracies of cells with
these weights on validation images. No child is trained until the end.
"""

import pathlib
import time

import jax
import numpy as np
from flax import serialization
from flax.traverse_util import flatten_dict

import data
from data.messages import tell
from models.genotypes import as_text
from nas import loop
from nas.proxy import Proxy
from training import files, old_names


def read_found(file: pathlib.Path) -> dict | None:
    """Returns what a search with shared weights found, None where there is no file or, told, a damaged one."""
    kinds = {"genotype": list, "reward": float, "seconds": float, "shared": list, "alone": list}
    remedy = "without --report the same command makes it again"
    try:
        found = files.read_json(file, kinds, remedy)
    except FileNotFoundError:
        return None
    except ValueError as error:
        tell(error)
        return None
    shared, alone = found["shared"], found["alone"]
    if len(shared) != len(alone) or not all(map(loop.is_number, shared + alone)):
        tell(f"{file} is damaged (in its rankings): {remedy}")
        return None
    return found


def _is_round(line: dict) -> bool:
    return loop.is_number(line.get("reward")) and loop.is_number(line.get("seconds"))


def _old_names(file: pathlib.Path, proxy: Proxy, weights) -> old_names.Names:
    """Returns the names of the layers in a file of before they had those of today, else {}."""
    try:
        params = serialization.msgpack_restore(file.read_bytes())["weights"]["params"]
    except Exception:  # there is none, or it is damaged, which is told where it is restored
        return {}
    saved = flatten_dict({"params": params}, sep="/")
    if not old_names.are_old(saved):
        return {}
    variables = {"params": weights.params, "batch_stats": weights.batch_stats}
    terms = jax.numpy.zeros((2, 2 * proxy.model.nodes, 3), "int32")
    shape = data.input_shape(proxy.config.input)
    return old_names.find(proxy.model, shape, variables, saved, terms)


class Sharing:
    """A search with shared weights; its state is on disk after each round."""

    def __init__(self, folder: pathlib.Path, space, method, proxy: Proxy, seed: int):
        """Starts a search, or takes up one that was stopped.

        Args:
          folder: of this search alone: rounds.jsonl and state.msgpack.
          space: of cells.
          method: a controller of `nas.methods`.
          proxy: the network, its images and its optimizer.
          seed: of the weights and the order of the images.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._space, self._method, self._proxy = folder, space, method, proxy
        self._weights, self._seed = proxy.create(seed), seed
        names = _old_names(folder / "state.msgpack", proxy, self._weights)
        weights = old_names.rename(self._weights, names)
        state = {"weights": weights, "method": method.state, "rounds": 0}
        state = loop.restore(folder / "state.msgpack", state)
        self._done, self.rounds = 0, []
        if state is not None:
            self._weights = old_names.rename_back(state["weights"], names)
            method.state = state["method"]
            self._done = int(state["rounds"])  # also of rounds whose lines are damaged
            self.rounds = files.read_jsonl(folder / "rounds.jsonl", _is_round)[: self._done]
        files.write_jsonl(folder / "rounds.jsonl", self.rounds)

    def run(self, rounds: int, steps: int, clip_norm: float, batches: int, batch: int):
        """Goes through `rounds` rounds.

        Args:
          rounds: in all, with those of before.
          steps: of the shared weights in a round, each with a cell of its own.
          clip_norm: of the gradient in these steps, at most; 0: any.
          batches: of the controller in a round; the reward is the accuracy on a batch of validation images.
          batch: genotypes of each.
        """
        proxy = self._proxy
        for number in range(self._done, rounds):
            began = time.monotonic()
            images = proxy.batches(self._seed, int(self._weights.step))
            # Apart: the cells that train the weights, and the first that are judged by them.
            drawn = self._method.ask(steps + batch)
            cells, asked = drawn[:steps], drawn[steps:]
            for cell, one in zip(cells, images, strict=False):
                terms = proxy.terms(self._space.decode(cell))
                self._weights, _ = proxy.step(self._weights, one, terms, self._seed, clip_norm)
            rewards = []
            for i in range(batches):
                asked = self._method.ask(batch) if i else asked
                found = [
                    self._accuracy(self._space.decode(one), number * batches + i) for one in asked
                ]
                self._method.tell(asked, found)
                rewards += found
            line = {"reward": float(np.mean(rewards)), "seconds": time.monotonic() - began}
            self.rounds.append(line)
            files.append_jsonl(self._folder / "rounds.jsonl", [line])
            state = {"weights": jax.device_get(self._weights), "method": self._method.state}
            self._done = number + 1
            content = serialization.to_bytes(state | {"rounds": self._done})
            files.write_bytes(self._folder / "state.msgpack", content)

    def best(self, count: int) -> dict:
        """Returns the best of `count` genotypes that the controller draws: "genotype" and "reward"."""
        genotypes = [self._space.decode(one) for one in self._method.ask(count)]
        genotypes = list({as_text(one): one for one in genotypes}.values())
        rewards = self.rank(genotypes)
        best = int(np.argmax(rewards))
        return {"genotype": genotypes[best], "reward": rewards[best]}

    def rank(self, genotypes: list) -> list[float]:
        """Returns the accuracy of each with the shared weights, on all validation images."""
        return [self._accuracy(one) for one in genotypes]

    def _accuracy(self, genotype, batch=None) -> float:
        terms = self._proxy.terms(genotype)
        return self._proxy.accuracy(self._weights, terms, batch_statistics=True, batch=batch)
