"""A run whose workdir is a bucket keeps nothing that matters on its machine: real clients, servers on loopback."""

import contextlib
import socket
import subprocess
import sys
import time

import pytest
from conftest import PROJECT, command

from training import files

pytestmark = pytest.mark.slow

SERVERS = {
    "s3": ["-m", "moto.server", "-H", "127.0.0.1", "-p"],
    "gs": ["-m", "gcp_storage_emulator", "start", "--in-memory", "--host=127.0.0.1", "--port"],
}
MAKE_BUCKET = {
    "s3": "import boto3; boto3.client('s3').create_bucket(Bucket='bucket')",
    "gs": "from google.cloud import storage as s; from google.auth import credentials as c; "
    "s.Client('test', c.AnonymousCredentials()).create_bucket('bucket')",
}
READ = "import fsspec, sys; sys.stdout.write(fsspec.open(sys.argv[1], 'r').open().read())"
RUN = [
    "train.py",
    "--config.total_steps=12",
    "--config.log_steps=1",
    "--config.eval_steps=6",
    "--config.checkpoint_steps=2",
]


@contextlib.contextmanager
def server(scheme):
    """Runs an object store with one empty bucket; yields the environment in which clients find it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    env = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORAGE_EMULATOR_HOST": url,
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, *SERVERS[scheme], port], **quiet) as process:
        try:
            for _ in range(300):
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", int(port))),
                ):
                    break
                time.sleep(0.1)
            subprocess.run(**command("-c", MAKE_BUCKET[scheme], env=env), check=True)
            yield env
        finally:
            process.kill()


def figures(text):
    """Returns the lines of metrics.jsonl that say how training went, without its speed."""
    keys = ("step", "train/loss", "eval/loss", "eval/top1")
    lines = [files._object(line) for line in text.encode().splitlines()]
    found = [{key: line[key] for key in keys if key in line} for line in lines]
    return [line for line in found if len(line) > 1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    done = subprocess.run(**command(*RUN, f"--workdir={workdir}"))
    assert done.returncode == 0, done.stderr
    return figures((workdir / "metrics.jsonl").read_text())


@pytest.mark.parametrize("scheme", SERVERS)
def test_a_killed_run_goes_on_from_the_bucket_alone(scheme, whole):
    with server(scheme) as env:
        workdir = f"{scheme}://bucket/runs/digits"
        run = command(*RUN, f"--workdir={workdir}", env=env)
        with subprocess.Popen(**run) as killed:
            for line in killed.stdout:
                if line.startswith("step 7/"):  # the save of step 6 has waited for that of step 4
                    break
            killed.kill()
        again = subprocess.run(**run)
        assert again.returncode == 0, again.stderr
        assert f"results: {workdir}, resumed at step" in again.stdout
        assert "resumed at step 2" not in again.stdout
        read = subprocess.run(**command("-c", READ, f"{workdir}/metrics.jsonl", env=env))
        assert figures(read.stdout) == whole

        evaluated = subprocess.run(
            **command("eval.py", f"--workdir={workdir}", "--checkpoint=best", env=env)
        )
        assert '"images": 360' in evaluated.stdout, evaluated.stderr
    assert not list(PROJECT.glob("*:"))


@pytest.mark.parametrize("path", ["gs://bucket/run", "s3://bucket/run", "az://bucket/run"])
def test_the_full_path_of_a_bucket_is_itself(path):
    assert str(files.absolute(path)) == path
    assert files.in_bucket(path)


def test_the_full_path_of_a_folder_begins_at_the_root(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert str(files.absolute("runs/one")) == f"{tmp_path}/runs/one"
    assert not files.in_bucket("runs/one")
