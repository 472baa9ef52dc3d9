"""Images in tar files as WebDataset writes them: NAME.jpg and NAME.cls, one after the other.

A shard is read through once, for where its images lie and what their labels are. This is kept in the
cache's folder under the shard's path, size and time of change; each image is then one read anywhere in
its shard, on a disk or in a bucket.
"""

import hashlib
import itertools
import os
import re
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
from tqdm import tqdm

from data import decode
from data.messages import some, tell_once
from data.sources.files import cache, path_of, read
from data.sources.labels import by_number, check_all_there, names_of

AT_A_TIME = 8  # shards of a bucket that are indexed; on a disk threads are slower than one


class Shards:
    """The images of a split, in the order of the shards' paths and of the images in them.

    A split's shards have its name as a word in their path below the folder, or below the part of the
    pattern without wildcards: train-000000.tar, imagenet1k-train-0000.tar, train/0.tar. Where neither
    split is named in any, all are the training split's.
    """

    def __init__(
        self,
        pattern: str,
        split: str,
        train_split: str,
        classes: str = "",
        class_names: list[str] | None = None,
    ):
        """Indexes the shards, or reads their indices.

        Args:
          pattern: of the shards, with {000000..000146}, {train,val}, * and ?; or a folder.
          split: to read.
          train_split: the split that says how many classes there are, where `classes` does not.
          classes: what their numbers mean, see `names_of`; by default the names are the numbers.
          class_names: of the network, which the labels then have.

        Raises:
          ValueError: a shard is damaged, or of both splits; an image has no label, or a class to train on no image.
          FileNotFoundError: no such shard, or none of this split.
        """
        what = f"tar:{pattern}, {split}"
        found = find(pattern)
        splits = {name: _of_split(found, name) for name in (split, train_split)}
        if split == train_split and not splits[split]:
            splits[split] = list(found)
        if not splits[split]:
            raise FileNotFoundError(
                f"tar:{pattern}: of {len(found):,} shards ({some(list(found.values()), 3)}) none is named "
                f"after the split {split!r}: name another one by --config.input.train_split and "
                f'--config.input.eval_split, or cut one: "train[:80%]" and "train[80%:]"'
            )
        both = sorted(set(splits[split]) & set(splits[train_split])) if split != train_split else []
        if both:
            raise ValueError(
                f"{what}: {some(both, 3)} is named after {train_split!r}, too: rename it"
            )
        self._paths = splits[split]
        tables = _indices(self._paths)
        if not sum(map(len, tables)):
            raise FileNotFoundError(f"{what}: no image in {some(self._paths, 3)}")
        numbers = np.concatenate([table["label"] for table in tables])
        if classes:
            names = names_of(classes)
        else:
            train = _indices(splits[train_split]) if splits[train_split] else tables
            most = max(table["label"].max(initial=0) for table in train)
            names = [str(number) for number in range(most + 1)]
        if split == train_split:
            check_all_there(numbers, names, what, bool(classes))
        self.class_names = class_names or names
        self.labels = by_number(numbers, names, self.class_names, what)
        self._names, self._starts, self._sizes = (
            np.concatenate([table[field] for table in tables])
            for field in ("name", "start", "size")
        )
        self._of = np.repeat(np.arange(len(tables), dtype=np.int32), list(map(len, tables)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        path = self._paths[self._of[i]]
        return read(path, int(self._starts[i]), int(self._sizes[i])), int(self.labels[i])

    def describe(self, i: int) -> str:
        return f"{self._names[i].decode()} in {self._paths[self._of[i]]}"


def find(pattern: str) -> dict[str, str]:
    """Returns {path: the part of it that says of which split a shard is}, sorted.

    Raises:
      FileNotFoundError: there is none.
    """
    root = path_of(pattern)
    paths = []
    if root.is_dir():
        paths = [path for path in _listed(root, "find") if path.endswith(".tar")]
    else:
        for path in _expanded(os.fspath(root)):
            paths += _listed(path, "glob") if set(path) & set("*?[") else [path]
        before_wildcards = re.split(r"[{*?\[]", os.fspath(root))[0]
        root = os.path.dirname(before_wildcards) or "."
    paths = [path for path in paths if not os.path.basename(path).startswith(".")]
    found = {path: os.path.relpath(path, root) for path in sorted(set(paths))}
    if not found:
        raise FileNotFoundError(
            f"tar:{pattern}: there is no such file, and no folder with .tar files"
        )
    return found


def _expanded(pattern: str) -> list[str]:
    """Returns the paths that braces stand for, as in a shell: {000..146}, {train,val}, inner ones first."""
    match = re.search(r"\{([^{},]*(?:,[^{},]*)+|\d+\.\.\d+)\}", pattern)
    if not match:
        return [pattern]
    choices = match[1].split(",")
    if ".." in match[1] and len(choices) == 1:
        first, last = match[1].split("..")
        choices = [f"{i:0{len(first)}d}" for i in range(int(first), int(last) + 1)]
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [path for choice in choices for path in _expanded(before + choice + after)]


def _listed(path, method: str) -> list[str]:
    """Returns the files that fsspec's `find` or `glob` has for a path, as paths of their own."""
    place, name = fsspec.core.url_to_fs(os.fspath(path))
    scheme = "".join(os.fspath(path).partition("://")[:2]) if "://" in os.fspath(path) else ""
    return [scheme + found for found in getattr(place, method)(name)]


def _of_split(found: dict[str, str], split: str) -> list[str]:
    return [path for path, below in found.items() if split in re.split(r"[^A-Za-z0-9]+", below)]


def _indices(paths: list[str]) -> list[np.ndarray]:
    """Returns the index of each shard."""
    threads = AT_A_TIME if any("://" in path for path in paths) else 1
    with ThreadPoolExecutor(threads) as pool:
        tables = pool.map(_kept_index, paths)
        progress = tqdm(tables, "indexing", len(paths), unit=" shards", leave=False, disable=None)
        return list(progress)


def _kept_index(path: str) -> np.ndarray:
    """Returns the index of a shard, from the cache if the shard is the one of before."""
    place, name = fsspec.core.url_to_fs(path)
    try:
        version = f"{path} {place.size(name)} {place.modified(name)}"
    except FileNotFoundError as error:
        raise FileNotFoundError(f"tar: there is no shard {path}") from error
    kept = (
        cache() / "shards" / f"{hashlib.blake2b(version.encode(), digest_size=16).hexdigest()}.npy"
    )
    try:
        return np.load(kept)
    except (OSError, EOFError, ValueError):  # there is none, or it is damaged
        table = index(path)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as new:
        np.save(new, table)
    os.replace(new.name, kept)
    return table


def index(path: str) -> np.ndarray:
    """Reads a shard through.

    Returns:
      A record for each image: name, start and size of its file in the shard, label.

    Raises:
      ValueError: it is no whole tar file; an image has no label, or there are two for one.
    """
    rows, others = [], 0
    place, name = fsspec.core.url_to_fs(path)
    with place.open(name, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as shard:
                for _, members in itertools.groupby(filter(_counts, shard), _sample):
                    row = _row(path, shard, list(members))
                    others += row is None
                    rows += [row] if row else []
                file.seek(shard.offset)
                if file.read(tarfile.BLOCKSIZE).count(0) != tarfile.BLOCKSIZE:
                    raise tarfile.ReadError("its end is missing")
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(
                f"{path} is not a whole tar file without compression ({error}): copy it again, or leave "
                "it out by another pattern"
            ) from error
    if others:
        tell_once(f"{path}: passed over {others:,} samples without an image")
    length = max((len(row[0]) for row in rows), default=1)
    record = [("name", f"S{length}"), ("start", "<i8"), ("size", "<i8"), ("label", "<i8")]
    return np.array(rows, record)


def _counts(member: tarfile.TarInfo) -> bool:
    return member.isfile() and not os.path.basename(member.name).startswith(".")


def _sample(member: tarfile.TarInfo) -> str:
    """Returns the name of a file's sample: up to the first point of its last part."""
    folder, name = os.path.split(member.name)
    return os.path.join(folder, name.partition(".")[0])


def _row(path: str, shard: tarfile.TarFile, members: list[tarfile.TarInfo]):
    """Returns the record of a sample, None without an image."""
    suffix = {member.name[len(_sample(member)) :].lower(): member for member in members}
    images = [suffix[name] for name in suffix.keys() & decode.SUFFIXES]
    if not images:
        return None
    if len(images) > 1 or len(suffix) < len(members):
        raise ValueError(f"{path}: {_sample(images[0])} is there more than once")
    (image,) = images
    if ".cls" not in suffix:
        raise ValueError(f"{path}: no label {_sample(image)}.cls beside {image.name}")
    text = shard.extractfile(suffix[".cls"]).read(100).strip()
    if not text.isdigit():
        raise ValueError(f"{path}: {_sample(image)}.cls holds {text[:20]!r}, no number of a class")
    return image.name.encode(), image.offset_data, image.size, int(text)
