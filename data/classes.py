"""The classes of data sets that networks were published for, and their names as people say them."""

import functools
import pathlib

FILE = pathlib.Path(__file__).with_name("imagenet.txt")  # with its sources


@functools.cache
def imagenet() -> dict[str, str]:
    """Returns {"n01440764": "tench", ...}, synset and name of the 1,000 classes, in order of the logits."""
    lines = FILE.read_text("utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines if not line.startswith("#"))


def readable(classes: list[str]) -> list[str]:
    """Returns the names of classes, some or all of which are synsets of ImageNet."""
    return [imagenet().get(name, name) for name in classes]


CLASSES = {  # as TFDS calls them, in order of the logits
    "imagenet": list(imagenet()),
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck".split(),
    "svhn": [str(digit) for digit in range(10)],
}
