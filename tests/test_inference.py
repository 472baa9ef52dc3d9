"""Answers: the same from the command, from Python and from an evaluation, whatever an image comes as."""

import asyncio
import csv
import dataclasses
import gc
import hashlib
import importlib.resources
import json
import re
import signal
import subprocess
import threading

import numpy as np
import pytest
from conftest import PROJECT, command, few_digits
from PIL import Image

import data
import inference
import train
from data import classes
from inference import trained
from models.torch import published
from training import metrics


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of two classes, bright and dark, in splits."""
    root, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for split, number in (("train", 12), ("test", 5)):
        for name, light in (("bright", 200), ("dark", 20)):
            (root / split / name).mkdir(parents=True)
            for i in range(number):
                pixels = rng.integers(0, 40, (10 + i, 14, 3)) + light
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def workdir(photographs, tmp_path_factory):
    """A run that knows bright from dark."""
    config, workdir = few_digits(), tmp_path_factory.mktemp("run")
    config.batch_size, config.total_steps, config.eval_steps = 8, 12, 12
    config.model.num_classes = 2
    config.input.update(
        source=f"folder:{photographs}", mean=(0.5,) * 3, std=(0.2,) * 3, in_memory=False
    )
    train.train(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def run(workdir):
    return inference.load(workdir)


def predict(workdir, *arguments):
    return subprocess.run(**command("scripts/predict.py", f"--workdir={workdir}", *arguments))


def test_the_answers_are_those_that_the_evaluation_counts(run, workdir, photographs):
    files = data.find_images([photographs / "test"])
    labels = ["dark" in file for file in files]
    probabilities = run.predict(files)
    assert probabilities.shape == (10, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    evaluated = metrics.read_lines(workdir)[-1]
    assert np.mean(probabilities.argmax(1) == labels) == evaluated["eval/top1"] > 0.5
    losses = -np.log(probabilities[np.arange(10), np.array(labels, int)])
    assert losses.mean() == pytest.approx(evaluated["eval/loss"], rel=1e-4)


def test_an_image_is_the_same_as_a_file_bytes_a_picture_or_an_array(run, photographs):
    file = photographs / "test" / "bright" / "3.png"
    with Image.open(file) as picture:
        forms = [file, str(file), file.read_bytes(), picture.copy(), np.asarray(picture)]
    answers = run.predict(forms)
    assert (answers == answers[0]).all()
    assert run.preprocess(forms[:1]).shape == (1, 8, 8, 3)
    grey = run.predict([np.full((9, 9), 220, np.uint8)])
    assert run.top(grey[0], 1)[0][0] == "bright"
    assert len(run.predict([])) == 0
    with pytest.raises(ValueError, match="float64 .*give uint8"):
        run.predict([np.zeros((9, 9, 3))])


def test_images_of_several_batches_come_once_each_and_none_for_a_broken_one(
    run, photographs, tmp_path, monkeypatch
):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    files = [*data.find_images([photographs / "test"]), str(broken)]
    source = data.Images(files)
    at_once = [list(found(source, max_broken_images=1)) for found in (run.pixels, run.answers)]
    monkeypatch.setattr(trained, "BATCH_SIZE", 8)
    in_turn = [list(found(source, max_broken_images=1)) for found in (run.pixels, run.answers)]
    for one, other in zip(at_once, in_turn, strict=True):
        assert len(one) == len(other) == len(files) and one[-1] is other[-1] is None
        np.testing.assert_allclose(one[:-1], other[:-1], rtol=1e-6)


def test_a_few_batches_of_images_are_read_ahead_whatever_their_number(run, monkeypatch):
    class Source:
        read = 0

        def __len__(self):
            return 600

        def __getitem__(self, i):
            self.read += 1
            return np.zeros((9, 9, 3), np.uint8), 0

    monkeypatch.setattr(trained, "BATCH_SIZE", 8)
    run = dataclasses.replace(run, config=run.config.copy_and_resolve_references())
    run.config.input.threads, source = 2, Source()
    ahead = [source.read - i for i, _ in enumerate(run.answers(source))]
    assert len(ahead) == 600
    assert max(ahead) <= 8 * 8  # batches in two threads, four that wait, and what was answered


def test_the_lines_of_the_page_work_in_a_notebook(
    workdir, photographs, tmp_path, monkeypatch, capfd, caplog
):
    text = (PROJECT / "docs" / "use.md").read_text("utf-8")
    (lines,) = re.findall(r"^```python\n(import inference\n.*?)^```", text, re.M | re.S)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(workdir)
    (tmp_path / "photo.jpg").symlink_to(photographs / "test" / "dark" / "0.png")
    monkeypatch.chdir(tmp_path)

    def handlers():
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    async def cell():  # a kernel runs cells while its event loop runs, too
        before, threads = handlers(), set(threading.enumerate())
        exec(lines, {})
        gc.collect()
        return before == handlers(), set(threading.enumerate()) - threads

    are_same, threads = asyncio.run(cell())
    told = capfd.readouterr()
    assert told.out.startswith("[('dark', ") and told.err == caplog.text == ""
    assert are_same and threads == set()


def test_the_command_tells_what_it_cannot_read_and_passes_over_it(
    workdir, run, photographs, tmp_path
):
    folder = tmp_path / "holidays"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.png").write_bytes((photographs / "test" / "bright" / "0.png").read_bytes())
    (folder / "b.jpg").write_bytes(b"no image")
    (folder / "deeper" / "c.png").write_bytes(
        (photographs / "test" / "dark" / "0.png").read_bytes()
    )
    (folder / "notes.txt").write_text("none")
    done = predict(workdir, "--json", "--top=1", folder)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["file"] for one in found] == [str(folder / "a.png"), str(folder / "deeper/c.png")]
    assert [one["top"][0]["class"] for one in found] == ["bright", "dark"]
    expected = run.predict([folder / "a.png"]).max()
    assert found[0]["top"][0]["probability"] == pytest.approx(expected, rel=1e-4)
    assert "b.jpg" in done.stderr and "1 .txt" in done.stderr

    done = predict(workdir, "--csv", folder / "a.png")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert rows[0]["class"] == "bright" and float(rows[0]["probability"]) > 0.5


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give files or folders"),
        (["nowhere.jpg"], "there is no image and no folder nowhere.jpg"),
        (["--checkpoint=7", "README.md"], "no checkpoint of step 7"),
        (["--json", "--csv", "README.md"], "--json and --csv: choose one"),
    ],
)
def test_a_mistake_of_the_command_is_told_in_one_line(arguments, message, workdir):
    done = predict(workdir, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1


def test_where_no_image_can_be_read_that_is_said(run, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(ValueError, match="a.jpg.*there are no others"):
        run.predict([tmp_path / "a.jpg"])
    source = data.Images(sorted(tmp_path.iterdir()))
    with pytest.raises(ValueError, match="2 images cannot be decoded.*there are no others"):
        list(run.answers(source, max_broken_images=9))


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        inference.load(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(
        FileNotFoundError, match=rf"no folder .*nine \(did you mean {tmp_path}/mine"
    ):
        inference.load(tmp_path / "nine")
    with pytest.raises(FileNotFoundError, match="no folder resnet50: give that of a run"):
        inference.load("resnet50")


def test_synsets_of_imagenet_are_shown_by_their_names(run):
    named = dataclasses.replace(run, header={"classes": ["n01440764", "dark"]})
    assert named.top(np.array([0.7, 0.3])) == [("tench", 0.7), ("dark", 0.3)]


def test_the_names_of_imagenet_are_complete_and_in_order():
    names = classes.imagenet()
    package = importlib.resources.files("tensorflow_datasets")
    assert list(names) == (package / "datasets/imagenet2012/labels.txt").read_text().split()
    assert len(set(names.values())) == 1000 and names["n15075141"] == "toilet tissue"


def test_the_classes_of_weights_are_known_where_the_file_is_the_published_one(
    tmp_path, monkeypatch
):
    file, name = tmp_path / "x.th", "akamaster/resnet20"
    file.write_bytes(b"weights")
    assert trained.classes_of(name, file, 10) == {}  # somebody's own
    assert trained.classes_of(name, file, 1000) == {"classes": list(classes.imagenet())}
    digest = f"sha256:{hashlib.sha256(b'weights').hexdigest()[:8]}"
    row = dataclasses.replace(published.networks()[name], digest=digest)
    monkeypatch.setattr(published, "networks", lambda: {name: row})
    assert trained.classes_of(name, file, 10)["classes"][:2] == ["airplane", "automobile"]
    assert trained.classes_of(name, file, 3) == {}
    row = dataclasses.replace(row, data="cifar100")
    assert trained.classes_of(name, file, 100)["classes"][1] == "aquarium_fish"


def test_links_in_a_folder_do_not_lead_in_circles(photographs, tmp_path):
    (tmp_path / "a.png").write_bytes((photographs / "test" / "dark" / "0.png").read_bytes())
    (tmp_path / "again").symlink_to(tmp_path)
    assert data.find_images([tmp_path]) == [str(tmp_path / "a.png")]
    with pytest.raises(FileNotFoundError, match="no images in"):
        (tmp_path / "empty").mkdir()
        data.find_images([tmp_path / "empty"])


def test_a_network_is_shown_in_one_line(run):
    assert repr(run) == f"<Trained {run.config.model.name}, step {run.step}, 2 classes>"
