"""Object stores on loopback, with the real protocols: moto's for S3, gcp-storage-emulator's for Google's."""

import contextlib
import os
import socket
import subprocess
import sys
import time

SERVERS = {
    "s3": ["-m", "moto.server", "-H", "127.0.0.1", "-p"],
    "gs": ["-m", "gcp_storage_emulator", "start", "--in-memory", "--host=127.0.0.1", "--port"],
}
MAKE_BUCKET = {
    "s3": "import boto3; boto3.client('s3').create_bucket(Bucket='bucket')",
    "gs": "from google.cloud import storage as s; from google.auth import credentials as c; "
    "s.Client('test', c.AnonymousCredentials()).create_bucket('bucket')",
}


def environment(url: str) -> dict[str, str]:
    """Returns the variables by which clients find the stores at `url`."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORAGE_EMULATOR_HOST": url,
    }


@contextlib.contextmanager
def server(scheme: str):
    """Runs an object store with one empty bucket, "bucket"; yields its (host, port)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    arguments = [sys.executable, *SERVERS[scheme], str(address[1])]
    with subprocess.Popen(arguments, **quiet) as process:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), socket.create_connection(address):
                    break
                time.sleep(0.1)
            env = os.environ | environment("http://{}:{}".format(*address))
            subprocess.run([sys.executable, "-c", MAKE_BUCKET[scheme]], env=env, check=True)
            yield address
        finally:
            process.kill()
