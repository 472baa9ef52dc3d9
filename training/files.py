"""Folders of runs: on a disk or in a bucket, and held by one run at a time."""

import contextlib
import fcntl
import os
import shutil
import uuid

from etils import epath

# etils would take TensorFlow's file systems where TensorFlow is installed; fsspec's reach every bucket.
os.environ.setdefault("EPATH_USE_TF", "false")


def in_bucket(path) -> bool:
    """Whether `path` is one of an object store, such as gs://bucket/run."""
    return "://" in os.fspath(path)


def absolute(path) -> epath.Path:
    """Returns the full path; that of a bucket is full as it is."""
    path = epath.Path(path).expanduser()
    return path if in_bucket(path) else path.absolute()


def is_file(path: epath.Path) -> bool:
    """Whether there is a file, to which etils counts pipes and devices, too."""
    return path.is_file() if in_bucket(path) else os.path.isfile(path)


def make(folder: epath.Path) -> None:
    """Makes a folder where there is none. In a bucket there are none; a missing bucket is not made."""
    if not in_bucket(folder):
        folder.mkdir(parents=True, exist_ok=True)


def copy(source: epath.Path, target: epath.Path) -> None:
    """Copies a folder and all that is in it, to or from a bucket, too."""
    make(target)
    for path in source.iterdir():
        if not path.name:  # an object that consoles make to show an empty folder
            continue
        if path.is_dir():
            copy(path, target / path.name)
            continue
        with path.open("rb") as read, (target / path.name).open("wb") as write:
            shutil.copyfileobj(read, write, 2**24)


def sync(path) -> None:
    """Returns once a file, or the names in a folder, would survive a power loss; a bucket needs none."""
    if in_bucket(path):
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_bytes(file: epath.Path, content: bytes) -> None:
    """Writes a file so that a reader never sees half of it: an object of a bucket appears as a whole."""
    if in_bucket(file):
        file.write_bytes(content)
        return
    new = file.parent / f".{file.name}-{uuid.uuid4().hex}"
    try:
        with open(new, "wb") as opened:
            opened.write(content)
            opened.flush()
            # Else a power loss may leave the new name without the content.
            os.fsync(opened.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(file: epath.Path, wait: bool = True):
    """Holds a lock, and yields its descriptor; Linux frees it when the last process with it ends.

    In a bucket there are no locks: yields None.

    Raises:
      BlockingIOError: another process has it, and `wait` is false.
    """
    if in_bucket(file):
        yield None
        return
    with open(file, "w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield opened.fileno()
