"""Files and folders that must survive: on a disk or in a bucket, whole or not at all, held by one run."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import fsspec
from etils import epath

from training import buckets


def in_bucket(path) -> bool:
    """Whether `path` is one of an object store, such as gs://bucket/run."""
    return "://" in os.fspath(path)


def absolute(path) -> epath.Path:
    """Returns the full path; that of a bucket is full as it is.

    Raises:
      ValueError: it looks like an address, but not like that of a bucket.
    """
    if re.match(r"\w\w+:/", os.fspath(path)) and not os.fspath(path).startswith(buckets.SCHEMES):
        raise ValueError(f"{path}: a bucket is one of {', '.join(buckets.SCHEMES)}, and its name")
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


def read_bytes(file) -> bytes:
    """Returns what a file holds; raises FileNotFoundError.

    An object of a bucket is asked for as a whole: etils opens it and then reads, which fails where it has been
    replaced in between.
    """
    if not in_bucket(file):
        return file.read_bytes()
    system, name = fsspec.core.url_to_fs(os.fspath(file))
    return system.cat_file(name)


def write_bytes(file: epath.Path, content: bytes) -> None:
    """Writes a file so that a reader never sees half of it: an object of a bucket appears as a whole."""
    if in_bucket(file):
        system, name = fsspec.core.url_to_fs(os.fspath(file))
        system.pipe_file(name, content)
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


def write_json(file: epath.Path, content: dict) -> None:
    """Writes an object as `write_bytes` does."""
    write_bytes(file, (json.dumps(content, indent=1) + "\n").encode())


def read_json(file, fields: dict[str, type | tuple[type, ...]], remedy: str) -> dict:
    """Returns the object that a JSON file holds.

    Args:
      file: path of it.
      fields: that it has to have -> their types.
      remedy: what to do where it is damaged, for the message.

    Raises:
      FileNotFoundError: it does not exist.
      ValueError: it is damaged: no JSON, no object, or without such a field.
    """
    try:
        found = json.loads(read_bytes(file))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}): {remedy}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is damaged (it holds no object): {remedy}")
    wrong = [name for name, kind in fields.items() if not isinstance(found.get(name), kind)]
    if wrong:
        raise ValueError(f"{file} is damaged (in {', '.join(wrong)}): {remedy}")
    return found


def read_jsonl(path, is_right: Callable[[dict], bool] = lambda line: True) -> list[dict]:
    """Returns the objects of a file with one a line, none where there is no file.

    Left out are a last line that a kill cut short, and, told in a line, what a power loss or a bad disk
    has damaged: lines that are no object.

    Args:
      path: of the file.
      is_right: whether an object is one of this file; others are left out as damaged, too.
    """
    try:
        *lines, last = read_bytes(path).split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [_object(line) for line in lines if line.strip()]
    right = [line for line in found if line is not None and is_right(line)]
    damaged = len(found) - len(right) + bool(last.strip() and not last.startswith(b"{"))
    if damaged:
        # With `data` comes JAX, which a sweep's worker can do without.
        from data.messages import tell_once

        # A launcher reads a file again and again.
        tell_once(f"{path}: left out {damaged} damaged line{'s' * (damaged != 1)}")
    return right


def _object(line: bytes) -> dict | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def append_jsonl(file: pathlib.Path, lines: list[dict]) -> None:
    """Adds objects to a file with one a line, which `read_jsonl` reads."""
    with file.open("a") as opened:
        opened.write(_as_lines(lines))


def write_jsonl(file: pathlib.Path, lines: list[dict]) -> None:
    """Makes a file hold these objects alone, one a line, without what a kill has cut off."""
    write_bytes(file, _as_lines(lines).encode())


def _as_lines(lines: list[dict]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


class Copies:
    """Copies of growing files in a bucket, where nothing can be appended: sent as a whole, in the background.

    However often they grow, that costs at most a request for each of them every PERIOD seconds, and
    RATE bytes a second; beside those, a `send`.
    """

    PERIOD = 30.0  # seconds
    RATE = 100e3  # bytes a second

    def __init__(self, source: epath.Path, target: epath.Path):
        """Keeps the files in the folder `source`, and below, in the bucket's folder `target`."""
        self._source, self._target = source, target
        self._sent = {}  # sizes, by path
        self._due, self._sending = 0.0, None
        self._thread, self._lock = ThreadPoolExecutor(1), threading.Lock()

    def grown(self) -> None:
        """Sends them where it is time; where that fails, it is tried again later, and told once."""
        if self._sending and self._sending.done():
            sending, self._sending = self._sending, None
            if error := sending.exception():
                from data.messages import tell_once

                tell_once(f"cannot write into {self._target} ({error}): tried again later")
        if self._sending is None and time.monotonic() > self._due:
            self._due = float("inf")
            self._sending = self._thread.submit(self.send)

    def send(self) -> None:
        """Returns once they are there as they are now; raises what hinders it."""
        with self._lock:
            size = 0
            try:
                for path in sorted(pathlib.Path(self._source).rglob("*")):
                    if path.is_file() and path.stat().st_size != self._sent.get(path):
                        content = path.read_bytes()
                        write_bytes(self._target / path.relative_to(self._source), content)
                        self._sent[path] = len(content)
                        size += len(content)
            finally:
                self._due = time.monotonic() + max(self.PERIOD, size / self.RATE)

    def close(self) -> None:
        """Waits for what is being sent."""
        self._thread.shutdown()


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
