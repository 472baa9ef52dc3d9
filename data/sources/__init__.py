"""Where images come from: TFDS, a folder, tar files, Hugging Face, scikit-learn's digits, or noise.

A source answers `len(source)`, `source[i]` -> (image, label) and `source.describe(i)`. An image is
the encoded file (bytes), or a uint8 array [height, width, channels]. All but TFDS, which would have to
read its images for that, have `labels`, int32 [N]. Nothing here needs TensorFlow.
"""

import os
import re

import numpy as np

from data.sizes import eval_size
from data.sources import imagenet
from data.sources.files import images_below as images_below
from data.sources.files import path_of as path_of
from data.sources.files import read as read
from data.sources.folder import Folder as Folder
from data.sources.hf import HuggingFace as HuggingFace
from data.sources.memory import InMemory as InMemory
from data.sources.memory import digits as digits
from data.sources.memory import subset as subset
from data.sources.memory import synthetic as synthetic
from data.sources.memory import with_classes as with_classes
from data.sources.shards import Shards as Shards
from data.sources.tfds import TFDS as TFDS
from data.sources.tfds import tfds_source as tfds_source


def open_source(config, train: bool, class_names: list[str] | None = None):
    """Opens the training or the evaluation split of `config.source`.

    Args:
      config: the `input` section of a config: source, train_split, eval_split, and what belongs to kinds
        of sources. A split may be a part of one: "train[:80%]" and "train[80%:]" share no image. A folder
        without splits is its own training split, less the fifth that any other split is.
      train: which of the two splits.
      class_names: of the network, in its order, which the labels then have. By default those of the data;
        these are the training split's, where there is one.

    Raises:
      ValueError: no such kind of source, no such split; a class that is not among `class_names`.
      FileNotFoundError: the images are not there; the message says how to get them.
    """
    split = config.train_split if train else config.eval_split
    kind, _, name = config.source.partition(":")
    if "[" in split and kind != "tfds":  # TFDS cuts by itself
        return part(config, split, train, class_names)
    train_split = config.train_split.partition("[")[0]
    if kind == "folder" and name:
        ground_truth = config.get("ground_truth", "")
        if ground_truth and imagenet.is_flat(name, split):
            return imagenet.Validation(name, split, train_split, ground_truth, class_names)
        return Folder(name, split, train_split, class_names)
    if kind == "tar" and name:
        return Shards(name, split, train_split, config.get("class_names", ""), class_names)
    if kind == "hf" and name:
        columns = config.get("image_column", ""), config.get("label_column", "")
        classes = config.get("class_names", "")
        return HuggingFace(name, split, train_split, columns, classes, class_names)
    if kind == "tfds" and name:
        return tfds_source(name, split, config.data_dir, class_names)
    if config.source == "digits":
        return with_classes(digits(split), class_names, "digits")
    if config.source == "synthetic":
        return with_classes(
            synthetic(split, config.image_size if train else eval_size(config)),
            class_names,
            "synthetic",
        )
    path = f"folder:{config.source}, " if os.path.isdir(os.path.expanduser(config.source)) else ""
    raise ValueError(
        f"input.source {config.source!r}: choose {path}tfds:NAME, folder:PATH, tar:PATTERN, hf:NAME, "
        "digits or synthetic"
    )


def part(config, split: str, train: bool, class_names: list[str] | None = None):
    """Returns a part of a split, "train[10%:90%]" or "train[:500]", in an order that is random but fixed."""
    match = re.fullmatch(r"([^\[]+)\[(\d+%?)?:(\d+%?)?\]", split)
    if not match:
        raise ValueError(
            f"split {split!r}: a part of a split looks like train[:80%], train[80%:] or train[:500]"
        )
    config = config.copy_and_resolve_references()
    config["train_split" if train else "eval_split"] = match[1]
    whole = open_source(config, train, class_names)

    def number(at: str) -> int:
        return len(whole) * int(at[:-1]) // 100 if at.endswith("%") else int(at)

    first, last = number(match[2] or "0%"), number(match[3] or "100%")
    if last > len(whole):
        raise ValueError(f"split {split!r}: {match[1]} has {len(whole):,} images")
    chosen = np.random.default_rng(0).permutation(len(whole))[first:last]
    if not len(chosen):
        raise ValueError(f"split {split!r} is empty: {match[1]} has {len(whole)} images")
    return subset(whole, chosen)
