"""What a network answered to each image of an evaluation, and where it was wrong."""

from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from training.sharding import to_global


class Answers(NamedTuple):
    """A row an image that could be read, so that a million images take 30 MB."""

    number: np.ndarray  # int [N], the place of the image in its source
    truth: np.ndarray  # int32 [N], the class that it is of
    answer: np.ndarray  # int32 [N], the likeliest class
    second: np.ndarray  # int32 [N], the next one
    probability: np.ndarray  # float32 [N], of the likeliest
    margin: np.ndarray  # float32 [N], by which it is above the next one's

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right, [N]."""
        return self.answer == self.truth

    def worst(self, most: int) -> np.ndarray:
        """Returns the rows of the wrong answers of the highest probability, highest first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")][:most]

    def nearest(self, most: int) -> np.ndarray:
        """Returns the rows of the smallest margin, smallest first."""
        return np.argsort(self.margin, kind="stable")[:most]


def collect(answer_step, state, batches, mesh) -> Answers:
    """Returns the answers to all images of `batches`, in one process.

    Args:
      answer_step: of `training.steps.make_answer_step`.
      state: of the network.
      batches: of `data.make_eval`, with one crop.
      mesh: of the devices.

    Raises:
      ValueError: the network knows one class, or no image could be read.
      FloatingPointError: an answer is no number.
    """
    rows, start = [], 0
    for batch in tqdm(batches, "evaluating", unit="batch", leave=False, disable=None):
        probabilities = np.array(answer_step(state, to_global(batch, mesh)))
        if probabilities.shape[1] < 2:
            raise ValueError("the network knows one class, which is its answer to every image")
        read = np.flatnonzero(batch["mask"])
        probabilities, truth = probabilities[read], batch["label"][read]
        if not np.isfinite(probabilities).all():
            raise FloatingPointError(
                "the network answers with no numbers: choose another --checkpoint"
            )
        each = np.arange(len(read))
        answer = probabilities.argmax(1).astype(np.int32)  # on ties the lower number, as in eval.py
        probability = probabilities[each, answer]
        probabilities[each, answer] = -1
        second = probabilities.argmax(1).astype(np.int32)
        margin = probability - probabilities[each, second]
        rows.append((start + read, truth, answer, second, probability, margin))
        start += len(batch["mask"])
    found = Answers(*map(np.concatenate, zip(*rows, strict=True)))
    if not len(found.number):
        raise ValueError("the evaluation set has no image that can be read")
    return found


def confusion(found: Answers, num_classes: int) -> np.ndarray:
    """Returns how many images of each class (row) got each answer (column), int [num_classes, num_classes]."""
    cells = found.truth.astype(np.int64) * num_classes + found.answer
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def most_confused(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Returns the pairs (class, wrong answer) that took the largest share of a class, largest first.

    Args:
      counts: of `confusion`.
      most: the number of pairs; those that never happened are left out.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(share, 0)
    order = np.argsort(-share, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, share.shape), strict=True)
    return [(int(truth), int(answer)) for truth, answer in pairs if share[truth, answer]]
