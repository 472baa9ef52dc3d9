"""S3, and what speaks its protocol, by s3fs."""

import s3fs
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from fsspec.asyn import sync_wrapper

from training.buckets import patient

AWAY = {408, 429, 500, 502, 503, 504}  # HTTP's


def _is_away(error: Exception) -> bool:
    cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
    if isinstance(cause, ClientError):
        return cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in AWAY
    return isinstance(cause, (ConnectionError, HTTPClientError))


class FileSystem(s3fs.S3FileSystem):
    """s3fs's, with patience. Botocore tries each request five times; `AWS_MAX_ATTEMPTS` is another number."""

    retries = 2  # s3fs's own above those, and of an answer that breaks off

    @patient("s3", _is_away)
    async def _call_s3(self, *args, **kwargs):
        return await super()._call_s3(*args, **kwargs)

    call_s3 = sync_wrapper(_call_s3)
