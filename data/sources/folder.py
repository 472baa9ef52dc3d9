"""A folder of images, a folder a class."""

import collections
import hashlib
import os

import numpy as np

from data.messages import some, tell_once
from data.sources import imagenet
from data.sources.files import Listing, listing, path_of, read, told
from data.sources.labels import labels_of


class Folder:
    """Images in PATH/SPLIT/CLASS/, or in PATH/CLASS/, of which a fixed fifth is held out for evaluation.

    The classes are the training split's, sorted; this split's, where there is no training split. What is
    skipped is told once, by reason.
    """

    def __init__(
        self, path: str, split: str, train_split: str, class_names: list[str] | None = None
    ):
        """Lists the images.

        Args:
          path: of the folder or bucket.
          split: to read.
          train_split: the split that names the classes.
          class_names: the classes, in place of those.

        Raises:
          ValueError: a class of this split is not among the classes, or one to train on has no image.
          FileNotFoundError: no such folder, split, or no image in it.
        """
        root = path_of(path)
        if not root.is_dir():
            raise FileNotFoundError(
                f"folder:{path}: no such folder; images belong in {_tree(path, split)}"
            )
        splits = listing(root).folders
        has_splits = split in splits or train_split in splits
        is_whole = not has_splits and any(_is_class(listing(root / name)) for name in splits)
        if split not in splits and not is_whole:
            names = ", ".join(splits) or "no folder"
            raise FileNotFoundError(
                f"folder:{path} holds no split {split!r} (it holds {names}); images belong in "
                f"{_tree(path, split)}; or name another one by --config.input.train_split and "
                "--config.input.eval_split"
            )
        base = root if is_whole else root / split
        there = listing(base)
        skipped = there.skipped + collections.Counter({"outside a class": len(there.images)})
        images = {}
        for name in there.folders:
            inside = listing(base / name)
            images[name] = inside.images
            skipped.update(inside.skipped)
            skipped.update({"folders inside a class": len(inside.folders)})
        found = [name for name in images if images[name]]
        empty = [name for name in images if not images[name]]
        what = f"folder:{path}" if is_whole else f"folder:{path}, {split}"
        left = told(skipped)
        if not found:
            remedy = (
                "; of ImageNet's validation images themselves --config.input.ground_truth=FILE has the labels"
                if any(map(imagenet.IMAGE.fullmatch, there.images))
                else ""
            )
            raise FileNotFoundError(
                f"no images in {base}: they belong in {_tree(path, split)}{left}{remedy}"
            )
        if empty and (is_whole or split == train_split):
            raise ValueError(
                f"{what}: no image in {some(empty)}, and a network cannot learn a class without one: "
                f"put images there, or take the folder away{left}"
            )
        if left:
            tell_once(what + left)
        if empty:
            tell_once(f"{what}: no image in {some(empty)}")

        if class_names is None and split != train_split and train_split in splits:
            class_names = listing(root / train_split).folders
        self.class_names = class_names or found
        labels = labels_of(found, self.class_names, what)
        if is_whole:
            held = {name: _held_out(name, images[name]) for name in found}
            tell_once(
                f"{what} has no folder {train_split}: a fixed fifth of each class, by the names of the "
                f"files, is held out, {sum(map(len, held.values())):,} images for evaluation"
            )
            if not any(held.values()):
                raise ValueError(f"{what}: one image a class leaves none for evaluation: add some")
            for name in found:
                is_held = set(held[name])
                images[name] = [n for n in images[name] if (n in is_held) == (split != train_split)]
        # In the order of the paths. A name, and a number for its folder, take a third of a path's memory.
        order = sorted(range(len(found)), key=lambda i: f"{found[i]}/")
        self._folders = [(os.fspath(base / found[i]), labels[i]) for i in order]
        self._names = [name for i in order for name in images[found[i]]]
        self._of = np.repeat(
            np.arange(len(order), dtype=np.int32), [len(images[found[i]]) for i in order]
        )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, i: int):
        return read(self.describe(i)), self._folders[self._of[i]][1]

    @property
    def labels(self) -> np.ndarray:
        return np.array([label for _, label in self._folders], np.int32)[self._of]

    def describe(self, i: int) -> str:
        return os.path.join(self._folders[self._of[i]][0], self._names[i])


def _held_out(name: str, images: list[str]) -> list[str]:
    """Returns the fifth of a class that is evaluated: at least one image, where there are two.

    It is drawn by the names of the files, so that an added one changes the choice of one other at most.
    """
    number = max(1, round(len(images) / 5)) if len(images) > 1 else 0

    def draw(image: str) -> bytes:
        return hashlib.blake2b(f"{name}/{image}".encode(errors="surrogateescape")).digest()

    return sorted(images, key=draw)[:number]


def _tree(path: str, split: str) -> str:
    return f"{path}/{split}/CLASS/*.jpg, or without splits in {path}/CLASS/*.jpg"


def _is_class(there: Listing) -> bool:
    """Whether a folder is one of a class: it has images, or nothing but files that are none."""
    return bool(there.images or (there.skipped and not there.folders))
