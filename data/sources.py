"""Where images come from: TFDS, a folder, scikit-learn's digits, or noise.

A source answers `len(source)`, `source[i]` -> (image, label) and `source.describe(i)`. An image is
the encoded file (bytes), or a uint8 array [height, width, channels]. Nothing here needs TensorFlow.
"""

import dataclasses
import difflib
import os
import re

import numpy as np
from etils import epath

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def open_source(config, train: bool):
    """Opens the training or the evaluation split of `config.source`.

    Args:
      config: the `input` section of a config: source, train_split, eval_split, data_dir, image_size. A
        split may be a part of one: "train[:80%]" and "train[80%:]" share no image.
      train: which of the two splits.

    Raises:
      ValueError: no such kind of source, no such split.
      FileNotFoundError: the images are not there; the message says how to get them.
    """
    split = config.train_split if train else config.eval_split
    kind, _, name = config.source.partition(":")
    if "[" in split and kind != "tfds":  # TFDS cuts by itself
        return part(config, split, train)
    if kind == "folder" and name:
        return Folder(name, split)
    if kind == "tfds" and name:
        return tfds_source(name, split, config.data_dir)
    if config.source == "digits":
        return digits(split)
    if config.source == "synthetic":
        return synthetic(split, config.image_size)
    raise ValueError(
        f"input.source {config.source!r}: choose tfds:NAME, folder:PATH, digits or synthetic"
    )


class Folder:
    """Images in PATH/SPLIT/CLASS/; the classes are the sorted folder names over all splits."""

    def __init__(self, path: str, split: str):
        root = epath.Path(path).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(
                f"folder:{path}: no such folder; images belong in {_tree(path, split)}"
            )
        splits = [p for p in root.iterdir() if p.is_dir()]
        if split not in [p.name for p in splits]:
            names = ", ".join(sorted(p.name for p in splits)) or "no folder"
            raise FileNotFoundError(
                f"folder:{path} holds no split {split!r} (it holds {names}); images belong in "
                f"{_tree(path, split)} (see input.train_split and input.eval_split)"
            )
        self.class_names = sorted({c.name for p in splits for c in p.iterdir() if c.is_dir()})
        label = {name: i for i, name in enumerate(self.class_names)}
        self._files = sorted(
            (os.fspath(file), label[folder.name])
            for folder in (root / split).iterdir()
            if folder.is_dir()
            for file in folder.iterdir()
            if file.suffix.lower() in IMAGE_SUFFIXES
        )
        if not self._files:
            raise FileNotFoundError(
                f"no images in {root / split}: they belong in {_tree(path, split)}"
            )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, i: int):
        path, label = self._files[i]
        if "://" in path:
            return epath.Path(path).read_bytes(), label
        with open(path, "rb", buffering=0) as file:  # cheaper, and this is the hot path
            return file.read(), label

    def describe(self, i: int) -> str:
        return self._files[i][0]


def _tree(path: str, split: str) -> str:
    return f"{path}/{split}/CLASS/*.jpg"


class TFDS:
    """A split of a TFDS image-classification set in array_record format."""

    def __init__(self, builder, split: str):
        import tensorflow_datasets as tfds

        self._records = builder.as_data_source(
            split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        self.class_names = list(builder.info.features["label"].names)
        self._name = f"{builder.info.full_name}, split {split}"

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int):
        record = self._records[i]
        return record["image"], int(record["label"])

    def describe(self, i: int) -> str:
        return f"{self._name}, record {i}"


def tfds_source(name: str, split: str, data_dir: str = "") -> TFDS:
    """Opens `split` of the prepared set `name`: NAME, NAME/CONFIG, or either with :VERSION.

    It is looked for in `data_dir`, else in $TFDS_DATA_DIR, else in ~/tensorflow_datasets.
    """
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    root = epath.Path(data_dir).expanduser()
    name, _, version = name.partition(":")
    prepare = f"prepare it with: python scripts/prepare_data.py {name} --data_dir={root}"
    versions = _subfolders(root / name, r"\d+\.\d+\.\d+")
    if version and versions:
        there = ", ".join(v.name for v in versions)
        versions = [v for v in versions if v.name == version]
        if not versions:
            raise FileNotFoundError(f"tfds:{name}:{version} is not in {root}, but version {there}")
    if not versions:
        configs = [
            p.name for p in _subfolders(root / name, r".+") if _subfolders(p, r"\d+\.\d+\.\d+")
        ]
        if configs:
            choices = ", ".join(f"tfds:{name}/{c}" for c in configs)
            raise FileNotFoundError(
                f"tfds:{name} has several configs in {root}: choose one of {choices}"
            )
        near = difflib.get_close_matches(name, [p.name for p in _subfolders(root, r"\w+")])
        did_you_mean = f" (there is {', '.join(near)})" if near else ""
        raise FileNotFoundError(f"tfds:{name} is not in {root}{did_you_mean}; {prepare}")

    import tensorflow_datasets as tfds

    newest = max(versions, key=lambda v: tuple(map(int, v.name.split("."))))
    builder = tfds.builder_from_directory(newest)
    if builder.info.file_format.file_suffix != "array_record":
        raise FileNotFoundError(f"{newest} is not in array_record format; {prepare}")
    if not {"image", "label"} <= set(builder.info.features):
        raise ValueError(
            f"tfds:{name} is no image-classification set: it has {list(builder.info.features)}"
        )
    if split.partition("[")[0] not in builder.info.splits:
        raise ValueError(
            f"tfds:{name} has no split {split!r}, but {', '.join(builder.info.splits)} "
            "(see input.train_split and input.eval_split)"
        )
    return TFDS(builder, split)


def _subfolders(folder: epath.Path, pattern: str) -> list[epath.Path]:
    if not folder.is_dir():
        return []
    return [p for p in folder.iterdir() if re.fullmatch(pattern, p.name) and p.is_dir()]


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


class Subset:
    """Some images of a source that is not in memory."""

    def __init__(self, source, chosen):
        self._source, self._chosen = source, chosen
        self.class_names = source.class_names

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, i: int):
        return self._source[int(self._chosen[i])]

    def describe(self, i: int) -> str:
        return self._source.describe(int(self._chosen[i]))


def subset(source, chosen):
    """Returns a source of the images with the numbers `chosen`, in their order."""
    if isinstance(source, InMemory):
        return InMemory(source.images[chosen], source.labels[chosen], source.class_names)
    return Subset(source, chosen)


def part(config, split: str, train: bool):
    """Returns a part of a split, "train[10%:90%]", of its images in an order that is random but fixed."""
    match = re.fullmatch(r"([^\[]+)\[(?:(\d+)%)?:(?:(\d+)%)?\]", split)
    if not match:
        raise ValueError(
            f"split {split!r}: a part of a split looks like train[:80%] or train[80%:]"
        )
    config = config.copy_and_resolve_references()
    config["train_split" if train else "eval_split"] = match[1]
    whole = open_source(config, train)
    first, last = (len(whole) * int(at) // 100 for at in (match[2] or 0, match[3] or 100))
    chosen = np.random.default_rng(0).permutation(len(whole))[first:last]
    if not len(chosen):
        raise ValueError(f"split {split!r} is empty: {match[1]} has {len(whole)} images")
    return subset(whole, chosen)


def digits(split: str) -> InMemory:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels: each fifth is for the test."""
    from sklearn.datasets import load_digits

    if split not in ("train", "test"):
        raise ValueError(f"digits has no split {split!r}, but train and test")
    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    chosen = (np.arange(len(images)) % 5 == 0) == (split == "test")
    return InMemory(images[chosen], labels[chosen].astype(np.int32), [str(i) for i in range(10)])


def synthetic(split: str, image_size: int) -> InMemory:
    """256 images of noise in 1000 classes, to time everything but the input."""
    rng = np.random.default_rng([len(split), image_size])
    images = rng.integers(0, 256, (256, image_size, image_size, 3), np.uint8)
    return InMemory(images, rng.integers(0, 1000, 256, np.int32), [str(i) for i in range(1000)])
