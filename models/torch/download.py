"""Fetches published weights into a cache, once, and checks that they are what was published.

pooch 1.9 and huggingface_hub 2.4 begin anew where a download was cut off before, and the latter does not
compute the SHA-256 that the hub states; the hub serves its files to plain HTTPS as well.
"""

import fcntl
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import sys
import urllib.error
import urllib.request
import zipfile

from tqdm import tqdm

from models.torch import published

HUB = "https://huggingface.co"
_SILENCE = 30  # seconds after which a server that sends nothing is given up
_CHUNK = 1 << 18


def place(one: published.Published) -> pathlib.Path:
    """Returns where in the cache the file of published weights lies, or is to be put."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    file = one.address.rpartition("/")[2].removesuffix(".zip")
    return cache / "cnn-architectures" / "weights" / one.name / file


def fetch(name: str) -> pathlib.Path:
    """Returns the file of published weights, downloaded if it is not in the cache.

    It is checked against the digest of the table each time. Where that has none, it is checked against the
    SHA-256 that the hub states, when it is downloaded. A download goes on from where it was cut off. HTTPS_PROXY
    and the like are respected; HF_ENDPOINT takes the place of the hub; HF_HUB_OFFLINE=1 forbids to download.

    Args:
      name: see `published.find`.

    Raises:
      ValueError: no such weights are known.
      OSError: they cannot be had, or are not what was published; the message says where to put them.
    """
    one = published.find(name)
    if one is None:
        raise ValueError(
            f"no published weights {name!r} are known{published.near(name)}: "
            "`python scripts/import_torch.py --list` lists them; or give a file"
        )
    file = place(one)
    if not file.exists():
        _get(one, file)
    elif other := _other(file, one.digest):
        raise OSError(f"{file} is not what was published as {one.name}: {other}. Delete it")
    return file


def is_published(name: str, file) -> bool:
    """Returns whether a file is that of published weights, by its digest; False where none is known."""
    one = published.find(name)
    return one is not None and bool(one.digest) and not _other(pathlib.Path(file), one.digest)


def _get(one: published.Published, file: pathlib.Path) -> None:
    """Downloads published weights to `file`, which appears when all of them are there and right."""
    url, digest = one.address, one.digest
    on_hub = url.startswith("hf:")
    if on_hub:
        repository, _, path = url.removeprefix("hf:").rpartition("/")
        hub = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        url = f"{hub}/{repository}/resolve/main/{path}"
    otherwise = (
        f"put {file.name} at {file}, or name your copy of it: --weights=FILE, or {one.name}:FILE"
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise OSError(f"HF_HUB_OFFLINE forbids to fetch {url}: {otherwise}")
    print(f"fetching {url}", file=sys.stderr, flush=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.parent / f"{one.address.rpartition('/')[2]}.part"
    with part.open("ab") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)  # of two processes that want it, one fetches it
        if file.exists():
            return
        try:
            if on_hub:
                url, digest = _stated_by_hub(url)
            _append(url, opened)
        except urllib.error.HTTPError as error:
            raise OSError(f"{url} answers {error.code} {error.reason}: {otherwise}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise OSError(f"{url} cannot be fetched ({reason}): {otherwise}") from error
        whole = _unpacked(part, file.name) if one.address.endswith(".zip") else part
        if other := _other(whole, digest):
            part.unlink()
            raise OSError(f"{url} is not what was published as {one.name} ({other}): {otherwise}")
        os.replace(whole, file)
        part.unlink(missing_ok=True)


def _append(url: str, opened) -> None:
    """Appends to a file what it lacks of the one at `url`; what has come stays when the server gives up."""
    reached = -1
    while (start := opened.seek(0, os.SEEK_END)) > reached:
        reached = start
        try:
            if _receive(url, opened, start):
                return
        except (ConnectionError, TimeoutError, http.client.IncompleteRead):
            pass  # of a connection that was made
    raise OSError(f"cut off after {start:,} bytes; the same command goes on from there")


def _receive(url: str, opened, start: int) -> bool:
    """Appends the file at `url` from byte `start` on; returns whether the end of it came."""
    try:
        response = _ask(url, start=start)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is missing
        raise
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        start = opened.truncate(0)
    length = response.headers["Content-Length"]
    total = start + int(length) if length else None
    name = url.rpartition("/")[2]
    bar = tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=None)
    with response, bar:
        while chunk := response.read(_CHUNK):
            bar.update(opened.write(chunk))
    return total is None or opened.seek(0, os.SEEK_END) == total


def _ask(url: str, *handlers, method: str = "GET", start: int = 0):
    """Returns what a server answers, of a file from byte `start` on; asked by the environment's proxies."""
    headers = {"User-Agent": "cnn-architectures"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        return urllib.request.build_opener(*handlers).open(request, timeout=_SILENCE)
    except urllib.error.HTTPError as error:
        error.close()  # nobody reads its page
        raise


class _Stay(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for the answer."""

    def redirect_request(self, *_):
        return None


def _stated_by_hub(url: str) -> tuple[str, str]:
    """Returns the address of a file of the hub in its present revision, and its digest.

    Both are headers of its answer, as huggingface_hub reads them, before it redirects to the content.
    """
    try:
        with _ask(url, _Stay, method="HEAD") as response:
            headers = response.headers
    except urllib.error.HTTPError as error:
        if not 300 <= error.code < 400:
            raise
        headers = error.headers
    sha256 = re.search("[0-9a-f]{64}", headers["X-Linked-ETag"] or headers["ETag"] or "")
    revision = re.fullmatch("[0-9a-f]{40}", headers["X-Repo-Commit"] or "")
    if not sha256 or not revision:
        raise OSError("the hub does not state its revision and SHA-256")
    return url.replace("/resolve/main/", f"/resolve/{revision[0]}/"), f"sha256:{sha256[0]}"


def _unpacked(archive: pathlib.Path, name: str) -> pathlib.Path:
    """Returns a file of an archive, unpacked beside it; the archive itself where that is damaged."""
    unpacked = archive.with_name(f"{name}.unpacked")
    try:
        with zipfile.ZipFile(archive) as packed, packed.open(name) as source:
            with unpacked.open("wb") as target:
                shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, KeyError):
        return archive
    return unpacked


def _other(file: pathlib.Path, digest: str) -> str:
    """Returns how a file differs from what a digest says; "" where it does not, or there is none."""
    if not digest:
        return ""
    kind, _, expected = digest.partition(":")
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, kind).hexdigest()[: len(expected)]
    return "" if found == expected else f"{kind.upper()} {found}, not {expected}"
