"""Sets of TFDS in array_record format, read without TensorFlow."""

import contextlib
import difflib
import os
import re
import shutil
import tempfile

import fsspec
from etils import epath

from data.messages import tell_once
from data.sources.files import cache, path_of
from data.sources.labels import labels_of


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
        self._labels = labels_of(names, self.class_names, self._name)

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
    target = cache() / os.fspath(folder).replace("://", "/")
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
