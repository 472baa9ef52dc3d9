"""Images in memory: scikit-learn's digits, noise, and what is decoded once at the start."""

import dataclasses
import importlib.util
import pathlib

import numpy as np

from data.sources.labels import labels_of


@dataclasses.dataclass
class InMemory:
    """Decoded images, all of one shape."""

    images: np.ndarray  # uint8 [N, height, width, channels]
    labels: np.ndarray  # int32 [N]
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int):
        return self.images[i], int(self.labels[i])

    def describe(self, i: int) -> str:
        return f"image {i}"


def with_classes(source, class_names: list[str] | None, what: str):
    """Returns the images in memory with labels that are indices into `class_names`, by name."""
    if class_names is None:
        return source
    labels = np.array(labels_of(source.class_names, class_names, what), np.int32)
    return InMemory(source.images, labels[source.labels], class_names)


class Subset:
    """Some images of a source that is not in memory."""

    def __init__(self, source, chosen):
        self._source, self._chosen = source, chosen
        self.class_names = source.class_names

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, i: int):
        return self._source[int(self._chosen[i])]

    @property
    def labels(self) -> np.ndarray:
        return self._source.labels[self._chosen]

    def describe(self, i: int) -> str:
        return self._source.describe(int(self._chosen[i]))


def subset(source, chosen):
    """Returns a source of the images with the numbers `chosen`, in their order."""
    if isinstance(source, InMemory):
        return InMemory(source.images[chosen], source.labels[chosen], source.class_names)
    return Subset(source, chosen)


def digits(split: str) -> InMemory:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels: each fifth is for the test.

    Its file is read without it: importing it takes ten times as long as reading.
    """
    if split not in ("train", "test"):
        raise ValueError(f"digits has no split {split!r}, but train and test")
    sklearn = pathlib.Path(importlib.util.find_spec("sklearn").origin).parent
    table = np.loadtxt(sklearn / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    images, labels = table[:, :-1], table[:, -1]
    images = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    chosen = (np.arange(len(images)) % 5 == 0) == (split == "test")
    return InMemory(images[chosen], labels[chosen].astype(np.int32), [str(i) for i in range(10)])


def synthetic(split: str, image_size: int) -> InMemory:
    """256 images of noise in 1000 classes, to time everything but the input."""
    rng = np.random.default_rng([len(split), image_size])
    images = rng.integers(0, 256, (256, image_size, image_size, 3), np.uint8)
    return InMemory(images, rng.integers(0, 1000, 256, np.int32), [str(i) for i in range(1000)])
