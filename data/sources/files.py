"""Files and folders on a disk or in a bucket: what is in them, and what is read of them."""

import collections
import os
from typing import NamedTuple

import fsspec
from etils import epath

from data import decode
from data.messages import some, tell_once

# What programs and systems leave in folders of images, beside all that begins with a point.
NO_CLASSES = {
    *("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "recycler", "lost+found"),
    *("system volume information", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini"),
}
MAX_BYTES = 2**29  # of a file: as much as MAX_PIXELS without compression, at 8 bytes a pixel


def read(path: str, start: int = 0, size: int | None = None) -> bytes:
    """Returns what a file holds, on a disk or in a bucket: all of it, or `size` bytes from `start` on.

    Raises:
      OSError: it cannot be read, or is too large for an image.
    """
    if "://" in path:
        bucket, name = fsspec.core.url_to_fs(path)
        if size is None:
            return bucket.cat_file(name)  # in one request, where epath needs two
        return bucket.cat_file(name, start=start, end=start + size)
    with open(path, "rb", buffering=0) as file:  # cheaper than epath, and this is the hot path
        if (os.fstat(file.fileno()).st_size if size is None else size) > MAX_BYTES:
            raise OSError(f"larger than {MAX_BYTES:,} bytes")
        if size is None:
            return file.read()
        file.seek(start)
        return file.read(size)


def cache() -> epath.Path:
    """Returns the folder of this disk for what can be made again; it need not be there."""
    return epath.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / (
        "cnn-architectures"
    )


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
        there = listing(folder)
        skipped.update(there.skipped)
        found.extend(os.path.join(folder, name) for name in there.images)
        for name in there.folders:
            look(folder / name)

    look(epath.Path(path))
    left = told(skipped)
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


class Listing(NamedTuple):
    """What is in a folder, by name, sorted; what is neither folder nor image is counted by reason."""

    folders: list[str]
    images: list[str]
    skipped: collections.Counter


def listing(folder: epath.Path) -> Listing:
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
    return Listing(sorted(folders), sorted(images), skipped)


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


def told(skipped: collections.Counter) -> str:
    """Returns "; skipped files: 3 .txt, 1 hidden or a system's", or "" where nothing was skipped."""
    reasons = [f"{count:,} {reason}" for reason, count in skipped.most_common() if count]
    if not reasons:
        return ""
    remedy = " (pip install pillow-heif to read .heic)" if skipped.get(".heic") else ""
    return f"; skipped files: {some(reasons)}{remedy}"
