"""S3, and what speaks its protocol, by s3fs."""

import logging

import s3fs
from botocore.exceptions import (
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from fsspec.asyn import sync_wrapper

from training.buckets import patient

# It logs a connection that breaks off with a traceback, which is raised, too.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)

AWAY = {408, 429, 500, 502, 503, 504}  # HTTP's


def _is_away(error: Exception) -> bool:
    return isinstance(error, (ConnectionError, HTTPClientError)) or _status(error) in AWAY


def _refuses(error: Exception) -> bool:
    missing = isinstance(error, (NoCredentialsError, PartialCredentialsError))
    return missing or _status(error) in (401, 403)


def _status(error: Exception) -> int | None:
    """Returns HTTP's status, by the error of botocore from which s3fs has made one of Python's."""
    if not isinstance(error.__cause__, ClientError):
        return None
    return error.__cause__.response["ResponseMetadata"]["HTTPStatusCode"]


class FileSystem(s3fs.S3FileSystem):
    """s3fs's, with patience. Botocore tries each request five times; `AWS_MAX_ATTEMPTS` is another number."""

    retries = 2  # s3fs's own above those, and of an answer that breaks off

    @patient("s3", _is_away, _refuses)
    async def _call_s3(self, *args, **kwargs):
        return await super()._call_s3(*args, **kwargs)

    call_s3 = sync_wrapper(_call_s3)
