"""The classes of ImageNet: folders are called by their synsets, people say "tench"."""

import functools
import pathlib

FILE = pathlib.Path(__file__).with_name("imagenet.txt")  # with its sources


@functools.cache
def names() -> dict[str, str]:
    """Returns {"n01440764": "tench", ...}, synset and name of the 1,000 classes, in order of the logits."""
    lines = FILE.read_text("utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines if not line.startswith("#"))


def readable(classes: list[str]) -> list[str]:
    """Returns the names of classes, some or all of which are synsets of ImageNet."""
    return [names().get(name, name) for name in classes]


def header(num_classes: int) -> dict[str, list[str]]:
    """Returns what the header of a run says of the classes of published weights: 1,000 are ImageNet's."""
    return {"classes": list(names())} if num_classes == len(names()) else {}
