"""Object stores by fsspec: how the project reaches them, and its patience with one that does not answer."""

import asyncio
import functools
import os
import time
from collections.abc import Callable

import fsspec

# etils would take TensorFlow's file systems where TensorFlow is installed; fsspec's reach every bucket.
os.environ.setdefault("EPATH_USE_TF", "false")
# gcsfs would ask in each process what kind of bucket it is, by another protocol and with other rights.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

PATIENCE = 120.0  # seconds for which a request is tried, after the client's own retries
PAUSE = 2.0  # seconds between two of these tries
SCHEMES = ("gs://", "s3://", "az://")
CLIENTS = {  # fsspec's name of a scheme: its file system, and what brings it
    "gs": ("training.buckets.gcs.FileSystem", "gs:// needs pip install -e '.[gcs]'"),
    "gcs": ("training.buckets.gcs.FileSystem", "gs:// needs pip install -e '.[gcs]'"),
    "s3": ("training.buckets.s3.FileSystem", "s3:// needs pip install -e '.[s3]'"),
    "az": ("adlfs.AzureBlobFileSystem", "az:// needs pip install -e '.[az]'"),
}
CREDENTIALS = {
    "gs": "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to the "
    "file of an account",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run aws configure, for an account",
}

for _name, (_file_system, _missing) in CLIENTS.items():
    fsspec.register_implementation(_name, _file_system, clobber=True, errtxt=_missing)
    # What another process has written would stay unseen.
    fsspec.config.conf.setdefault(_name, {}).setdefault("use_listings_cache", False)


_silent = set()  # schemes of which it was told that they do not answer


def patient(
    scheme: str, is_away: Callable[[Exception], bool], refuses: Callable[[Exception], bool]
):
    """Decorates the method by which a file system makes each request: it is tried for PATIENCE seconds.

    That a server does not answer, or answers again, is told once.

    Args:
      scheme: of the file system, "s3".
      is_away: whether an error says that the server is away or busy, so that trying again helps.
      refuses: whether it says that there are no credentials, or not the right ones.

    Returns:
      A decorator. The method raises ConnectionError where patience ends, PermissionError where the
      server refuses, and other errors as they are.
    """

    def decorate(request):
        @functools.wraps(request)
        async def tried(self, *args, **kwargs):
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    answer = await request(self, *args, **kwargs)
                except Exception as error:
                    if refuses(error):
                        raise PermissionError(
                            f"no access to {scheme}:// ({error}): {CREDENTIALS[scheme]} that may "
                            "list, read, write and delete there"
                        ) from error
                    if not is_away(error):
                        raise
                    reason = f"{scheme}:// does not answer ({error or type(error).__name__})"
                    if time.monotonic() > deadline:
                        raise ConnectionError(
                            f"{reason}: once it does, the same command goes on"
                        ) from error
                    _tell_first(scheme, f"{reason}: tried again for up to {PATIENCE:.0f} s")
                    await asyncio.sleep(PAUSE)
                else:
                    if scheme in _silent:
                        _silent.discard(scheme)
                        _tell(f"{scheme}:// answers again")
                    return answer

        return tried

    return decorate


def _tell_first(scheme: str, text: str) -> None:
    if scheme not in _silent:
        _silent.add(scheme)
        _tell(text)


def _tell(text: str) -> None:
    from data.messages import tell  # with `data` comes JAX, which a sweep's worker can do without

    tell(text)
