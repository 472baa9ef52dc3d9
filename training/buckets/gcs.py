"""Google Cloud Storage by gcsfs."""

import logging

import aiohttp
import gcsfs
from gcsfs.retry import HttpError, is_retriable
from google.auth.exceptions import DefaultCredentialsError, RefreshError

from training.buckets import patient

# They log with a traceback what they then raise, and asyncio each connection that breaks off.
for _name in ("gcsfs", "fsspec", "asyncio"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def _is_away(error: Exception) -> bool:
    return is_retriable(error)


def _refuses(error: Exception) -> bool:
    refused = isinstance(error, HttpError) and error.code == 401 or "Forbidden" in str(error)
    return refused or isinstance(error, (DefaultCredentialsError, RefreshError))


class FileSystem(gcsfs.GCSFileSystem):
    """gcsfs's, with patience. It tries each request six times, within about half a minute."""

    def __init__(self, *args, **kwargs):
        # Without these it waits for ever; the whole of a request may take as long as it needs.
        silence = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
        super().__init__(*args, **{"requests_timeout": silence} | kwargs)

    @patient("gs", _is_away, _refuses)
    async def _request(self, *args, **kwargs):
        return await super()._request(*args, **kwargs)
