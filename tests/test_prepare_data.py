"""Tests scripts/prepare_data.py offline, on a tiny imagenet2012 in the form of the official tars.

Example:
  pytest tests/test_prepare_data.py
"""

import importlib.util
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tensorflow_datasets as tfds

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent.parent / "scripts" / "prepare_data.py"
HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
needs_tensorflow = pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed")
SYNSETS = ("n01440764", "n02102040")


def run(*args):
    """Runs Python with the given arguments and returns the finished process."""
    command = [sys.executable, *(str(arg) for arg in args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def write_tar(path, files):
    """Writes a tar archive of the given names and bytes."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Returns the directory of the two tars and the images of each split by file name."""
    manual_dir = tmp_path_factory.mktemp("manual")
    noise = np.random.default_rng(0).integers(0, 256, (13, 24, 32, 3), np.uint8)
    jpegs = [simplejpeg.encode_jpeg(image) for image in noise]
    train, archives = {}, {}
    for synset in SYNSETS:
        files = {f"{synset}_{i}.JPEG": jpegs.pop() for i in range(5)}
        write_tar(manual_dir / "synset.tar", files)
        archives[f"{synset}.tar"] = (manual_dir / "synset.tar").read_bytes()
        train.update(files)
    validation = {f"ILSVRC2012_val_{i:08d}.JPEG": jpegs.pop() for i in (1, 2, 3)}
    write_tar(manual_dir / "ILSVRC2012_img_train.tar", archives)
    write_tar(manual_dir / "ILSVRC2012_img_val.tar", validation)
    return manual_dir, {"train": train, "validation": validation}


def check_data(data_dir, images):
    """Checks that the array_record data set holds each image unchanged and with its label."""
    (info_file,) = data_dir.glob("imagenet2012/*.*.[0-9]/dataset_info.json")
    builder = tfds.builder_from_directory(info_file.parent)
    assert builder.info.file_format.value == "array_record"
    decoders = {"image": tfds.decode.SkipDecoding()}
    for split, expected in images.items():
        examples = list(builder.as_data_source(split, decoders=decoders))
        names = [example["file_name"].decode() for example in examples]
        assert sorted(names) == sorted(expected)
        for name, example in zip(names, examples, strict=True):
            assert example["image"] == expected[name]
            if split == "train":
                assert builder.info.features["label"].int2str(example["label"]) == name[:9]


@needs_tensorflow
def test_imagenet_from_tars(imagenet, tmp_path):
    manual_dir, images = imagenet
    args = (SCRIPT, "imagenet2012", f"--manual_dir={manual_dir}", f"--data_dir={tmp_path}")
    result = run(*args)
    assert result.returncode == 0, result.stderr
    assert "train 10, validation 3, 1000 classes" in result.stdout.splitlines()[-1]
    assert "--config.input.source=tfds:imagenet2012" in result.stdout.splitlines()[-1]
    check_data(tmp_path, images)

    result = run(*args)
    assert result.returncode == 0, result.stderr
    assert "already prepared" in result.stdout


@needs_tensorflow
def test_tfrecord_copy_is_converted(imagenet, tmp_path):
    manual_dir, images = imagenet
    code = (
        "import sys, tensorflow_datasets as tfds\n"
        "builder = tfds.builder('imagenet2012', data_dir=sys.argv[1], file_format='tfrecord')\n"
        "config = tfds.download.DownloadConfig(manual_dir=sys.argv[2])\n"
        "builder.download_and_prepare(download_config=config)\n"
    )
    assert run("-c", code, tmp_path, manual_dir).returncode == 0
    (directory,) = tmp_path.glob("imagenet2012/*")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}

    result = run(SCRIPT, "imagenet2012", f"--data_dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    check_data(tmp_path, images)
    kept = directory.with_name(directory.name + ".tfrecord")
    assert str(kept) in result.stdout
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


@needs_tensorflow
@pytest.mark.parametrize(
    "name, words",
    [
        ("imagenet2012", ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "--manual_dir")),
        ("imagenete", ("'imagenete'", "imagenette")),
        ("coco", ("coco", "`image`", "`label`")),
    ],
)
def test_mistakes_give_one_line(name, words, tmp_path):
    result = run(SCRIPT, name, f"--manual_dir={tmp_path / 'none'}", f"--data_dir={tmp_path}")
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("prepare_data.py: ")
    assert all(word in last for word in words)


def test_missing_tensorflow_gives_one_line():
    code = (
        "import importlib.util, runpy, sys\n"
        "importlib.util.find_spec = lambda name: None\n"
        f"sys.argv = ['prepare_data.py', 'cifar10']; runpy.run_path({str(SCRIPT)!r}, None, '__main__')"
    )
    result = run("-c", code)
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1
    assert 'pip install -e ".[prepare]"' in result.stderr
