"""Published weights are fetched once, go on from where they were cut off, and are checked."""

import dataclasses
import hashlib
import http.server
import io
import subprocess
import threading
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import test_torch_weights
from conftest import command

import inference
from models.torch import download, published, weights

CONTENT = np.random.default_rng(0).bytes(1_000_000)
REVISION = "0123456789" * 4
NAME = "torchvision/resnet18.IMAGENET1K_V1"


class Server(http.server.ThreadingHTTPServer):
    """Serves files as a release page and the hub do, and notes what was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}  # by path; or another path, to look there
        self.asked = []  # (method, path, range)
        self.cut_off = []  # of the coming answers, the number of bytes after which each breaks off
        self.knows_ranges = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        wanted = self.headers["Range"]
        self.server.asked.append((self.command, self.path, wanted))
        repository, _, file = self.path.partition("/resolve/main/")
        content = self.server.files.get(self.path)
        if isinstance(content, str):
            self.send_response(302)
            self.send_header("Location", content)
            self.end_headers()
            return
        if f"{repository}/resolve/{REVISION}/{file}" in self.server.files:
            content = self.server.files[f"{repository}/resolve/{REVISION}/{file}"]
            self.send_response(302)
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Location", "https://elsewhere.invalid")
            self.end_headers()
            return
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        partial = start and self.server.knows_ranges
        content = content[start:] if partial else content
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: self.server.cut_off.pop(0) if self.server.cut_off else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server on loopback, and an empty cache."""
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def publish(server, monkeypatch):
    """Publishes a file on the server, under the name of a network of the table."""

    def publish(content=CONTENT, digest=None, name=NAME, path="/weights.pth"):
        digest = f"sha256:{hashlib.sha256(content).hexdigest()[:8]}" if digest is None else digest
        server.files[path] = content
        one = dataclasses.replace(
            published.find(name), address=f"{server.address}{path}", digest=digest
        )
        table = {name: one}
        monkeypatch.setattr(published, "networks", lambda: table)
        return one

    return publish


@pytest.fixture
def on_hub(server, monkeypatch):
    """Publishes a file on the server as the hub does."""
    name = "timm/mobilenetv1_100.ra4_e3600_r224_in1k"
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/")
    server.files[f"/{name}/resolve/{REVISION}/model.safetensors"] = CONTENT
    return published.find(name)


def refusal(name=NAME) -> str:
    """Returns the one line that fetching fails with."""
    with pytest.raises((OSError, ValueError)) as caught:
        download.fetch(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_are_fetched_once(server, publish):
    one = publish()
    file = download.fetch("torchvision/resnet18")
    assert file == download.fetch(one.name) == download.place(one)
    assert file.read_bytes() == CONTENT
    assert server.asked == [("GET", "/weights.pth", None)]
    assert [path.name for path in file.parent.iterdir()] == ["weights.pth"]


def test_a_download_goes_on_where_it_was_cut_off(server, publish):
    one = publish()
    server.cut_off = [300_000, 0]
    said = refusal()
    assert "cut off after 300,000 bytes; the same command goes on from there" in said
    assert not download.place(one).exists()
    server.cut_off = [200_000]  # and it is asked again at once, as long as something comes
    assert download.fetch(one.name).read_bytes() == CONTENT
    ranges = [wanted for _, _, wanted in server.asked]
    assert ranges == [None, *["bytes=300000-"] * 2, "bytes=500000-"]


def test_a_server_that_knows_no_ranges_sends_all_again(server, publish):
    one = publish()
    server.knows_ranges = False
    server.cut_off = [300_000, 200_000]
    assert "cut off after 200,000 bytes" in refusal()
    assert download.fetch(one.name).read_bytes() == CONTENT


def test_a_download_goes_on_behind_a_redirection(server, publish):
    one = publish(path="/storage")
    one = dataclasses.replace(one, address=f"{server.address}/weights.pth")
    published.networks()[NAME] = one
    server.files["/weights.pth"] = "/storage"
    server.cut_off = [300_000]
    assert download.fetch(NAME).read_bytes() == CONTENT
    assert server.asked[-1] == ("GET", "/storage", "bytes=300000-")


def test_a_download_of_which_all_is_there_is_not_sent_again(server, publish):
    one = publish()
    download.place(one).parent.mkdir(parents=True)
    download.place(one).with_name("weights.pth.part").write_bytes(CONTENT)
    assert download.fetch(one.name).read_bytes() == CONTENT
    assert server.asked == [("GET", "/weights.pth", f"bytes={len(CONTENT)}-")]


def test_others_than_were_published_are_refused_and_not_kept(server, publish):
    one = publish(digest="sha256:0123456789")
    found = hashlib.sha256(CONTENT).hexdigest()[:10]
    said = refusal()
    assert f"SHA256 {found}, not 0123456789" in said and one.address in said
    assert f"put weights.pth at {download.place(one)}" in said and "--weights=FILE" in said
    assert not list(download.place(one).parent.iterdir())

    download.place(one).write_bytes(CONTENT)  # put there by hand
    assert refusal() == (
        f"{download.place(one)} is not what was published as {NAME}: "
        f"SHA256 {found}, not 0123456789. Delete it"
    )


def test_what_cannot_be_had_is_told_with_where_to_put_it(server, publish, monkeypatch):
    one = publish()
    elsewhere = f"put weights.pth at {download.place(one)}, or name your copy of it"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refusal().startswith(f"HF_HUB_OFFLINE forbids to fetch {one.address}: {elsewhere}")
    assert not server.asked
    monkeypatch.delenv("HF_HUB_OFFLINE")

    server.files.clear()
    assert refusal().startswith(f"{one.address} answers 404 Not Found: {elsewhere}")

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("no_proxy", "")
    said = refusal()
    assert said.startswith(f"{one.address} cannot be fetched (") and "refused" in said
    assert elsewhere in said


def test_what_is_in_the_cache_needs_no_network(publish, monkeypatch):
    one = publish()
    file = download.fetch(one.name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert download.fetch(one.name) == file


def test_a_proxy_of_the_environment_is_asked(server, publish, monkeypatch):
    address = "http://elsewhere.invalid/weights.pth"  # the path, to a proxy
    one = dataclasses.replace(publish(path=address), address=address)
    monkeypatch.setattr(published, "networks", lambda: {NAME: one})
    monkeypatch.setenv("http_proxy", server.address)
    assert download.fetch(NAME).read_bytes() == CONTENT


def test_an_archive_is_unpacked_and_the_file_in_it_checked(server, publish):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("resnet.pth", CONTENT)
    sha1 = f"sha1:{hashlib.sha1(CONTENT).hexdigest()}"
    one = publish(packed.getvalue(), sha1, path="/resnet.pth.zip")
    file = download.fetch(one.name)
    assert file.name == "resnet.pth" and file.read_bytes() == CONTENT
    assert list(file.parent.iterdir()) == [file]

    file.unlink()
    server.files["/resnet.pth.zip"] = b"<html>Log in to the network of this hotel</html>"
    assert "is not what was published" in refusal()


def test_a_file_of_the_hub_is_that_of_the_revision_whose_digest_it_states(server, on_hub):
    file = download.fetch(on_hub.name)
    assert file.read_bytes() == CONTENT
    path = f"/{on_hub.name}/resolve/main/model.safetensors"
    assert server.asked == [
        ("HEAD", path, None),
        ("GET", path.replace("main", REVISION), None),
    ]


def test_a_file_of_the_hub_goes_on_and_is_checked_too(server, on_hub, monkeypatch):
    server.cut_off = [300_000, 0]
    assert "cut off after 300,000 bytes" in refusal(on_hub.name)
    part = download.place(on_hub).with_name("model.safetensors.part")
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    assert "SHA256" in refusal(on_hub.name)
    assert not part.exists()
    assert download.fetch(on_hub.name).read_bytes() == CONTENT


def test_a_hub_that_states_no_digest_is_told(server, on_hub):
    server.files = {f"/{on_hub.name}/resolve/main/model.safetensors": CONTENT}
    assert "the hub does not state its revision and SHA-256" in refusal(on_hub.name)


def test_a_name_that_is_not_in_the_table_is_told(server):
    assert "scripts/import_torch.py --list" in refusal("timm/lenet")
    assert "did you mean timm/resnet50.a1_in1k or" in refusal("timm/resnet50.a1_ink")


@pytest.mark.slow
def test_the_command_imports_what_it_fetched_and_notes_how_images_are_seen(
    server, on_hub, tmp_path
):
    tensors = test_torch_weights.weights(on_hub.name)
    (path,) = server.files
    server.files[path] = safetensors.numpy.save(tensors)
    environment = {"HF_ENDPOINT": server.address, "XDG_CACHE_HOME": str(tmp_path)}
    workdir = tmp_path / "run"
    arguments = ["--model=timm/mobilenetv1_100", f"--workdir={workdir}"]
    done = subprocess.run(**command("scripts/import_torch.py", *arguments, env=environment))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"fetching {server.address}/timm/")
    assert done.stdout.splitlines()[-1] == f"python eval.py --workdir={workdir}"
    run = inference.load(workdir)
    assert run.header["weights"] == on_hub.name
    noted = {field: run.config.input[field] for field in weights.PREPROCESSING}
    assert noted == weights.preprocessing(on_hub.name)
    assert run.config.input.source == "tfds:imagenet2012"
    assert (noted["image_size"], noted["resize"], noted["interpolation"]) == (256, 269, "bicubic")
    np.testing.assert_array_equal(run.state.params["fc"]["bias"], tensors["classifier.bias"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (
            ["--list", "--model=googlenet"],
            0,
            "imagenet  69.78  89.53    224   6,624,904  not stated",
        ),
        (["--list", "--model=lenet5"], 1, "no published weights have 'lenet5' in their name"),
    ],
)
def test_the_command_lists_the_table_and_tells_mistakes(arguments, status, said):
    done = subprocess.run(**command("scripts/import_torch.py", *arguments))
    assert done.returncode == status
    assert said in (done.stderr if status else done.stdout)
