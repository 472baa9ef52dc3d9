"""Where images come from: TFDS, a folder, scikit-learn's digits, or noise.

A source answers `len(source)`, `source[i]` -> (image, label) and `source.describe(i)`. An image is
the encoded file (bytes), or a uint8 array [height, width, channels]. Nothing here needs TensorFlow.
"""

import collections
import contextlib
import dataclasses
import difflib
import hashlib
import os
import re
import shutil
import tempfile
from typing import NamedTuple

import fsspec
import numpy as np
from etils import epath

from data import decode
from data.messages import some, tell_once

# What programs and systems leave in folders of images, beside all that begins with a point.
NO_CLASSES = {
    *("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "recycler", "lost+found"),
    *("system volume information", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini"),
}
MAX_BYTES = 2**29  # of a file: as much as MAX_PIXELS without compression, at 8 bytes a pixel


def open_source(config, train: bool, class_names: list[str] | None = None):
    """Opens the training or the evaluation split of `config.source`.

    Args:
      config: the `input` section of a config: source, train_split, eval_split, data_dir, image_size. A
        split may be a part of one: "train[:80%]" and "train[80%:]" share no image. A folder without
        splits is its own training split, less the fifth that any other split is.
      train: which of the two splits.
      class_names: of the network, in its order, which the labels then have. By default those of the data;
        in a folder these are the training split's, where it has one.

    Raises:
      ValueError: no such kind of source, no such split; a class that is not among `class_names`.
      FileNotFoundError: the images are not there; the message says how to get them.
    """
    split = config.train_split if train else config.eval_split
    kind, _, name = config.source.partition(":")
    if "[" in split and kind != "tfds":  # TFDS cuts by itself
        return part(config, split, train, class_names)
    if kind == "folder" and name:
        return Folder(name, split, config.train_split.partition("[")[0], class_names)
    if kind == "tfds" and name:
        return tfds_source(name, split, config.data_dir, class_names)
    if config.source == "digits":
        return with_classes(digits(split), class_names, "digits")
    if config.source == "synthetic":
        return with_classes(synthetic(split, config.image_size), class_names, "synthetic")
    path = f"folder:{config.source}, " if os.path.isdir(os.path.expanduser(config.source)) else ""
    raise ValueError(
        f"input.source {config.source!r}: choose {path}tfds:NAME, folder:PATH, digits or synthetic"
    )


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
        splits = _listing(root).folders
        has_splits = split in splits or train_split in splits
        is_whole = not has_splits and any(_is_class(_listing(root / name)) for name in splits)
        if split not in splits and not is_whole:
            names = ", ".join(splits) or "no folder"
            raise FileNotFoundError(
                f"folder:{path} holds no split {split!r} (it holds {names}); images belong in "
                f"{_tree(path, split)}; or name another one by --config.input.train_split and "
                "--config.input.eval_split"
            )
        base = root if is_whole else root / split
        there = _listing(base)
        skipped = there.skipped + collections.Counter({"outside a class": len(there.images)})
        images = {}
        for name in there.folders:
            inside = _listing(base / name)
            images[name] = inside.images
            skipped.update(inside.skipped)
            skipped.update({"folders inside a class": len(inside.folders)})
        found = [name for name in images if images[name]]
        empty = [name for name in images if not images[name]]
        what = f"folder:{path}" if is_whole else f"folder:{path}, {split}"
        left = _told(skipped)
        if not found:
            raise FileNotFoundError(
                f"no images in {base}: they belong in {_tree(path, split)}{left}"
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
            class_names = _listing(root / train_split).folders
        self.class_names = class_names or found
        labels = _labels(found, self.class_names, what)
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


def read(path: str) -> bytes:
    """Returns what a file holds, on a disk or in a bucket; raises OSError where it cannot be read."""
    if "://" in path:
        bucket, name = fsspec.core.url_to_fs(path)
        return bucket.cat_file(name)  # in one request, where epath needs two
    with open(path, "rb", buffering=0) as file:  # cheaper than epath, and this is the hot path
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise OSError(f"larger than {MAX_BYTES:,} bytes")
        return file.read()


def images_below(path: str) -> list[str]:
    """Returns the images of a folder, then those of each folder in it, and so on, each sorted by name.

    Raises:
      FileNotFoundError: there is none.
    """
    found, skipped, seen = [], collections.Counter(), set()

    def look(folder: epath.Path) -> None:
        if os.path.realpath(folder) in seen:  # a link back
            return
        seen.add(os.path.realpath(folder))
        there = _listing(folder)
        skipped.update(there.skipped)
        found.extend(os.path.join(folder, name) for name in there.images)
        for name in there.folders:
            look(folder / name)

    look(epath.Path(path))
    left = _told(skipped)
    if not found:
        raise FileNotFoundError(f"no images in {path}{left}")
    if left:
        tell_once(path + left)
    return found


def path_of(path: str) -> epath.Path:
    """Returns the path; raises ValueError for an address of another kind than buckets have."""
    try:
        return epath.Path(path).expanduser()
    except KeyError as error:
        raise ValueError(
            f"{path}: {error.args[0]} is no kind of bucket, but gs:// or s3://"
        ) from error


def _tree(path: str, split: str) -> str:
    return f"{path}/{split}/CLASS/*.jpg, or without splits in {path}/CLASS/*.jpg"


class _Listing(NamedTuple):
    """What is in a folder, by name, sorted; what is neither folder nor image is counted by reason."""

    folders: list[str]
    images: list[str]
    skipped: collections.Counter


def _listing(folder: epath.Path) -> _Listing:
    folders, images, skipped = [], [], collections.Counter()
    for name, kind in _entries(folder):
        suffix = os.path.splitext(name)[1].lower()
        if name.startswith(".") or name.lower() in NO_CLASSES:
            skipped["hidden or a system's"] += kind != "folder"
        elif kind == "folder":
            folders.append(name)
        elif kind == "other":
            skipped["dead links, pipes or devices"] += 1
        elif suffix in decode.SUFFIXES:
            images.append(name)
        else:
            skipped[suffix or "without a suffix"] += 1
    return _Listing(sorted(folders), sorted(images), skipped)


def _is_class(there: _Listing) -> bool:
    """Whether a folder is one of a class: it has images, or nothing but files that are none."""
    return bool(there.images or (there.skipped and not there.folders))


def _entries(folder: epath.Path):
    """Yields (name, "file", "folder" or "other") of each entry, without a look at each file."""
    if "://" in os.fspath(folder):
        bucket, root = fsspec.core.url_to_fs(os.fspath(folder))
        for entry in bucket.ls(root, detail=True):  # a request for each thousand
            path = entry["name"].rstrip("/")
            if path != root:  # an object that consoles make to show an empty folder
                kind = "folder" if entry["type"] == "directory" else "file"
                yield os.path.basename(path), kind
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                kind = "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
            except OSError:  # a link to itself, or to where nobody may look
                kind = "other"
            yield entry.name, kind


def _told(skipped: collections.Counter) -> str:
    """Returns "; skipped files: 3 .txt, 1 hidden or a system's", or "" where nothing was skipped."""
    reasons = [f"{count:,} {reason}" for reason, count in skipped.most_common() if count]
    if not reasons:
        return ""
    remedy = " (pip install pillow-heif to read .heic)" if skipped.get(".heic") else ""
    return f"; skipped files: {some(reasons)}{remedy}"


def _labels(found: list[str], class_names: list[str], what: str) -> list[int]:
    """Returns the label of each class of `found`; raises ValueError for one that has none."""
    if found == class_names:
        return list(range(len(found)))
    label = {name: i for i, name in enumerate(class_names)}
    unknown = [name for name in found if name not in label]
    if unknown:
        near = difflib.get_close_matches(unknown[0], class_names)
        raise ValueError(
            f"{what}: {some(unknown)} not among the {len(class_names)} classes of the training "
            f"({some(class_names)})"
            + (f"; near {unknown[0]}: {', '.join(near)}" if near else "")
            + ". Rename the folders to those classes, or take them away"
        )
    return [label[name] for name in found]


def with_classes(source, class_names: list[str] | None, what: str):
    """Returns the images in memory with labels that are indices into `class_names`, by name."""
    if class_names is None:
        return source
    labels = np.array(_labels(source.class_names, class_names, what), np.int32)
    return InMemory(source.images, labels[source.labels], class_names)


class TFDS:
    """A split of a TFDS image-classification set in array_record format."""

    def __init__(self, builder, split: str, class_names: list[str] | None = None):
        import tensorflow_datasets as tfds

        self._records = builder.as_data_source(
            split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        self._name = f"{builder.info.full_name}, split {split}"
        names = list(builder.info.features["label"].names)
        self.class_names = class_names or names
        self._labels = _labels(names, self.class_names, self._name)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int):
        record = self._records[i]
        return record["image"], self._labels[record["label"]]

    def describe(self, i: int) -> str:
        return f"{self._name}, record {i}"


def tfds_source(
    name: str, split: str, data_dir: str = "", class_names: list[str] | None = None
) -> TFDS:
    """Opens `split` of the prepared set `name`: NAME, NAME/CONFIG, or either with :VERSION.

    It is looked for in `data_dir`, else in $TFDS_DATA_DIR, else in ~/tensorflow_datasets.
    """
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    root = path_of(data_dir)
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
    if "://" in os.fspath(newest):
        newest = _copied(newest)
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
    return TFDS(builder, split, class_names)


def _copied(folder: epath.Path) -> epath.Path:
    """Returns a copy of a bucket's folder on this disk, made once: array_record reads nothing but files.

    Raises:
      OSError: it does not fit.
    """
    bucket, root = fsspec.core.url_to_fs(os.fspath(folder))
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    target = (
        epath.Path(cache).expanduser() / "cnn-architectures" / os.fspath(folder).replace("://", "/")
    )
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    size, free = bucket.du(root), shutil.disk_usage(target.parent).free
    if size > free:
        raise OSError(
            f"{folder} needs {size / 1e6:,.0f} MB in {target.parent}, where {free / 1e6:,.0f} MB are free: "
            "set XDG_CACHE_HOME to a folder on a larger disk"
        )
    tell_once(f"copying {folder}, {size / 1e6:,.1f} MB, to {target}")
    with tempfile.TemporaryDirectory(dir=target.parent) as new:
        bucket.get(f"{root}/", f"{new}/whole/", recursive=True)
        with contextlib.suppress(OSError):  # another process was first
            os.rename(f"{new}/whole", target)
    return target


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
