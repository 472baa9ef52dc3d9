"""A run whose workdir is a bucket keeps nothing that matters on its machine: real clients, servers on loopback."""

import asyncio
import contextlib
import json
import struct
import subprocess
import sys

import aiohttp
import botocore.exceptions
import fsspec
import gcsfs.retry
import google.auth.exceptions
import pytest
from conftest import PROJECT, command
from faults import proxy, stores
from tensorboardX.proto import event_pb2
from test_data import tfds_root  # noqa: F401

from data import pipeline
from training import buckets, files, metrics
from training import command as commands
from training.buckets import gcs, s3

FEW = [
    "--config.total_steps=12",
    "--config.log_steps=1",
    "--config.eval_steps=6",
    "--config.checkpoint_steps=2",
]
# What commands read and write besides, in one process; it prints what the test looks at.
USES = """
import io, json, os, pathlib, subprocess, sys, tarfile
import fsspec
from analysis import curves
from data import sources
from models import genotypes
from training import files, metrics, runs

root, disk = sys.argv[1], pathlib.Path(sys.argv[2])
found = {"log": metrics.read_lines(f"{root}/digits")}
curves.draw({"one": f"{root}/digits"}, f"{root}/curves.png")
found["picture"] = files.absolute(f"{root}/curves.png").read_bytes()[1:4].decode()
for path in ("photos/cat/1.jpg", "photos/cat/2.jpg", "photos/dog/3.jpg"):
    files.write_bytes(files.absolute(f"{root}/{path}"), path.encode())
photos = sources.Folder(f"{root}/photos", "train", "train")
found["photos"] = [photos[i][0].decode() for i in range(len(photos))]
shard = io.BytesIO()
with tarfile.open(fileobj=shard, mode="w") as tar:
    for name, content in (("1.jpg", b"one"), ("1.cls", b"0"), ("2.jpg", b"second"), ("2.cls", b"1")):
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
files.write_bytes(files.absolute(f"{root}/shards/train-0.tar"), shard.getvalue())
for pattern in ("", "/train-{0..0}.tar", "/*-0.tar"):
    shards = sources.Shards(f"{root}/shards{pattern}", "train", "train")
    found.setdefault("shards", []).append([(shards[i][0].decode(), shards[i][1]) for i in range(len(shards))])
for path in (disk / "tiny" / "1.0.0").iterdir():
    files.write_bytes(files.absolute(f"{root}/sets/tiny/1.0.0") / path.name, path.read_bytes())
found["records"] = len(sources.tfds_source("tiny", "train", f"{root}/sets")[2][0])
files.write_bytes(files.absolute(f"{root}/cell.json"), b"[[3,3,8,1,[0]]]")
found["genotype"] = genotypes.load(f"{root}/cell.json")
try:
    runs.writable(root.replace("bucket", "nobucket"))
except ValueError as error:
    found["mistake"] = str(error)
events = [path.read_bytes().hex() for path in files.absolute(f"{root}/digits/tensorboard").iterdir()]
print(json.dumps(found | {"events": events}))
"""


def figures(lines):
    """Returns the lines of metrics.jsonl that say how training went, without its speed."""
    keys = ("step", "train/loss", "eval/loss", "eval/top1")
    found = [{key: line[key] for key in keys if key in line} for line in lines]
    return [line for line in found if len(line) > 1]


def losses_of_events(content: bytes):
    """Yields (step, training loss) of a file of TensorBoard's, and (step, None) where it starts."""
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("Q", content, at)
        event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
        at += length + 16
        if event.HasField("session_log"):
            yield event.step, None
        for value in event.summary.value:
            if value.tag == "train/loss":
                yield event.step, value.simple_value


@pytest.fixture(scope="module")
def whole(tmp_path_factory, smallest_config):
    workdir = tmp_path_factory.mktemp("whole")
    done = subprocess.run(**command("train.py", smallest_config, *FEW, f"--workdir={workdir}"))
    assert done.returncode == 0, done.stderr
    return figures(files.read_jsonl(workdir / "metrics.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", stores.SERVERS)
def test_a_killed_run_goes_on_from_the_bucket_alone(
    scheme,
    whole,
    smallest_config,
    tfds_root,  # noqa: F811
    tmp_path,
):
    root = f"{scheme}://bucket/runs"
    with stores.server(scheme) as address, proxy.Proxy(address) as between:
        env = stores.environment(between.url) | {"XDG_CACHE_HOME": str(tmp_path)}
        run = command("train.py", smallest_config, *FEW, f"--workdir={root}/digits", env=env)
        with subprocess.Popen(**run) as killed:
            for line in killed.stdout:
                if line.startswith("step 7/"):  # the save of step 6 has waited for that of step 4
                    break
            killed.kill()
        between.requests.clear()
        between.plan("503", "checkpoints/00000008", 1.0)
        again = subprocess.run(**run)
        assert again.returncode == 0, again.stderr
        assert between.failed
        assert f"results: {root}/digits, resumed at step" in again.stdout
        assert "resumed at step 2" not in again.stdout
        written = between.requests["metrics.jsonl", {"s3": "PUT", "gs": "POST"}[scheme]]
        assert (
            1 <= written <= 7
        )  # at the start, with each checkpoint and at the end, not for each line

        done = subprocess.run(**command("-c", USES, root, tfds_root, env=env))
        found = json.loads(done.stdout or "{}")
        assert found, done.stderr
        evaluated = subprocess.run(
            **command("eval.py", f"--workdir={root}/digits", "--checkpoint=best", env=env)
        )
        assert '"images": 360' in evaluated.stdout, evaluated.stderr
    assert not list(PROJECT.glob("*:"))
    assert figures(found["log"]) == whole
    first, second = sorted(
        (list(losses_of_events(bytes.fromhex(content))) for content in found["events"]),
        key=lambda events: events[0],
    )
    (start, _), *_ = second  # from here on the events of the killed run count no more
    seen = {**{step: loss for step, loss in first if step < start}, **dict(second[1:])}
    expected = {line["step"]: line["train/loss"] for line in whole if "train/loss" in line}
    assert seen == pytest.approx(expected)
    assert found["picture"] == "PNG"
    assert found["photos"] == ["photos/cat/1.jpg", "photos/dog/3.jpg"]  # a fifth is held out
    assert found["shards"] == [[["one", 0], ["second", 1]]] * 3
    assert found["records"] > 100
    assert found["genotype"] == "[[3,3,8,1,[0]]]"
    assert found["mistake"].endswith("there is no such bucket; make it first")


@pytest.mark.parametrize("path", ["gs://bucket/run", "s3://bucket/run", "az://bucket/run"])
def test_the_full_path_of_a_bucket_is_itself(path):
    assert str(files.absolute(path)) == path
    assert files.in_bucket(path)


@pytest.mark.parametrize("path", ["s3:/bucket/run", "gs:bucket", "https://bucket/run", "C:/runs"])
def test_a_path_that_looks_like_an_address_is_that_of_a_bucket_or_none(path):
    if path in ("gs:bucket", "C:/runs"):
        assert str(files.absolute(path)).endswith(path)
    else:
        with pytest.raises(ValueError, match="gs://, s3://, az://, and its name"):
            files.absolute(path)


def test_the_full_path_of_a_folder_begins_at_the_root(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert str(files.absolute("runs/one")) == f"{tmp_path}/runs/one"
    assert not files.in_bucket("runs/one")


@pytest.mark.parametrize(
    ("scheme", "module", "remedy"),
    [("gs", "gcsfs", r"\.\[gcs\]"), ("s3", "s3fs", r"\.\[s3\]"), ("az", "adlfs", r"\.\[az\]")],
)
def test_a_missing_client_is_named_with_what_brings_it(scheme, module, remedy, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    for name in [name for name in sys.modules if name.startswith("training.buckets.")]:
        monkeypatch.delitem(sys.modules, name)
    known = sys.modules["fsspec.registry"]._registry
    monkeypatch.delitem(known, scheme, raising=False)
    with pytest.raises(ImportError, match=f"{scheme}:// needs pip install .*{remedy}") as raised:
        fsspec.filesystem(scheme)
    assert commands.explain(raised.value) == str(raised.value)


class Clock:
    """A clock that stands still, and jumps over pauses."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(buckets.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(buckets.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("away_for", [10.0, 1000.0])
def test_a_request_is_tried_again_for_a_while_and_this_is_told_once(away_for, monkeypatch, capsys):
    clock = Clock(monkeypatch)

    @buckets.patient("s3", lambda error: str(error) == "away", lambda error: False)
    async def request(_, what):
        if clock.now < away_for:
            raise OSError("away")
        return what

    if away_for > buckets.PATIENCE:
        with pytest.raises(ConnectionError, match=r"s3:// does not answer \(away\).*goes on"):
            asyncio.run(request(None, 3))
        assert buckets.PATIENCE < clock.now < buckets.PATIENCE + 5
        buckets._silent.clear()
        return
    assert asyncio.run(request(None, 3)) == 3
    assert asyncio.run(request(None, 4)) == 4
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in told] == [
        "s3:// does not answer",
        "s3:// answers again",
    ]


def test_who_may_not_is_told_at_once_what_to_do():
    @buckets.patient("s3", lambda error: True, lambda error: str(error) == "Forbidden")
    async def request(_):
        raise OSError("Forbidden")

    with pytest.raises(PermissionError, match=r"no access to s3:// \(Forbidden\).*aws configure"):
        asyncio.run(request(None))


def of_s3(status):
    """Returns what s3fs raises for an answer of that status."""
    answer = {"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = OSError("from botocore's")
    error.__cause__ = botocore.exceptions.ClientError(answer, "PutObject")
    return error


@pytest.mark.parametrize(
    ("store", "error", "said"),
    [
        (s3, of_s3(503), "away"),
        (s3, of_s3(429), "away"),
        (s3, botocore.exceptions.EndpointConnectionError(endpoint_url="x"), "away"),
        (s3, of_s3(403), "refuses"),
        (s3, botocore.exceptions.NoCredentialsError(), "refuses"),
        (s3, of_s3(404), ""),
        (s3, FileNotFoundError("x"), ""),
        (gcs, gcsfs.retry.HttpError({"code": 503, "message": "x"}), "away"),
        (gcs, aiohttp.ClientConnectionError("x"), "away"),
        (gcs, OSError("Forbidden: x"), "refuses"),
        (gcs, google.auth.exceptions.DefaultCredentialsError("x"), "refuses"),
        (gcs, gcsfs.retry.HttpError({"code": 404, "message": "x"}), ""),
    ],
)
def test_errors_of_the_clients_say_whether_to_wait_or_who_may_not(store, error, said):
    assert store._refuses(error) == (said == "refuses")
    assert (not store._refuses(error) and store._is_away(error)) == (said == "away")


def test_a_store_that_is_away_leaves_no_image_out():
    broken = pipeline.BrokenImages(10, 20)
    broken.add("cut.jpg", OSError("cut off"))
    with pytest.raises(ConnectionError):
        broken.add("s3://bucket/whole.jpg", ConnectionError("s3:// does not answer"))


def test_copies_of_growing_files_are_written_no_more_than_it_is_time(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(files.time, "monotonic", lambda: clock.now)
    written = []
    monkeypatch.setattr(files, "write_bytes", lambda at, content: written.append((at, content)))
    log = tmp_path / "metrics.jsonl"
    copies = files.Copies(tmp_path, files.absolute("s3://bucket/run"))
    for second in range(0, 3600, 20):  # an hour
        clock.now = float(second)
        with log.open("a") as opened:
            opened.write("x" * 80000 + "\n")
        copies.grown()
        if copies._sending:
            copies._sending.result()
    assert 20 <= len(written) <= 120
    assert sum(len(content) for _, content in written) <= 3600 * copies.RATE
    copies.send()
    copies.send()  # which has nothing to do
    assert written[-1] == (files.absolute("s3://bucket/run/metrics.jsonl"), log.read_bytes())
    assert len({len(content) for _, content in written}) == len(written)
    copies.close()


def test_copies_that_could_not_be_written_are_written_later(tmp_path, monkeypatch, capsys):
    copies = files.Copies(tmp_path, files.absolute("s3://bucket/run"))
    (tmp_path / "log").write_text("one\n")
    monkeypatch.setattr(copies, "PERIOD", -1.0)

    def fail(*_):
        raise ConnectionError("s3:// does not answer")

    with monkeypatch.context() as away:
        away.setattr(files, "write_bytes", fail)
        for _ in range(2):
            copies.grown()
            pytest.raises(ConnectionError, copies._sending.result)
        with pytest.raises(ConnectionError):
            copies.send()
    assert capsys.readouterr().err.count("tried again later") == 1
    written = []
    monkeypatch.setattr(files, "write_bytes", lambda at, content: written.append(content))
    copies.grown()
    copies.close()
    assert written == [b"one\n"]


@pytest.mark.parametrize(("error", "lines"), [(None, 2), (ConnectionError("away"), 1)])
def test_the_end_of_a_log_is_sent_unless_the_store_is_away(error, lines, monkeypatch):
    written, write = {}, files.write_bytes
    monkeypatch.setattr(
        files,
        "write_bytes",
        lambda at, content: (written.__setitem__ if files.in_bucket(at) else write)(at, content),
    )
    monkeypatch.setattr(files.Copies, "grown", lambda self: None)  # it is not yet time
    writer = metrics.Writer("s3://bucket/run", [], {"config": {}}, 0)
    with contextlib.suppress(ConnectionError), writer as log:
        log.write(1, {"train/loss": 2.0})
        if error:
            raise error
    sent = written[files.absolute("s3://bucket/run/metrics.jsonl")]
    assert len(sent.splitlines()) == lines
