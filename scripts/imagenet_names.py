"""Writes data/imagenet.txt: the synsets of ImageNet's 1,000 classes, each with its name.

The synsets are those of tensorflow-datasets, the names those of a wheel of torchvision, which is not run.

Example:
  pip download --no-deps torchvision && python scripts/imagenet_names.py torchvision-*.whl
"""

import ast
import importlib.resources
import pathlib
import re
import sys
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

from data import classes
from training import command

SYNSETS = "datasets/imagenet2012/labels.txt"
HEAD = """\
# ImageNet's classes (ILSVRC 2012) in the order of their logits: synset of WordNet, name.
# Made by scripts/imagenet_names.py: synsets of tensorflow-datasets (Apache-2.0), names of {wheel}
# (BSD-3-Clause), which are WordNet 3.0's but for two, Copyright 2006 by Princeton University.
"""


def main(wheels: list[str]) -> None:
    (wheel,) = map(pathlib.Path, wheels)
    code = zipfile.ZipFile(wheel).read("torchvision/models/_meta.py").decode()
    names = ast.literal_eval(re.search(r"_IMAGENET_CATEGORIES = (\[.*?\])", code, re.S)[1])
    synsets = (importlib.resources.files("tensorflow_datasets") / SYNSETS).read_text().split()
    lines = [f"{synset} {name}\n" for synset, name in zip(synsets, names, strict=True)]
    head = HEAD.format(wheel=" ".join(wheel.name.split("-")[:2]))
    classes.FILE.write_text(head + "".join(lines))


if __name__ == "__main__":
    command.run(main, trains=False, takes="the wheel of torchvision")
