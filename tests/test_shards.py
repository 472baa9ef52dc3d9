"""Tar files as WebDataset writes them: which images they hold, with which labels, or why they are refused."""

import gzip
import io
import os
import tarfile

import numpy as np
import pytest
from test_data import assert_same_batches, encode, in_process, noise

import data
from configs import common
from data.classes import imagenet
from data.sources import shards


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write(path, numbers, labels=None, suffix="jpg", **more):
    """Writes images `noise(number)`, of class number % 3 unless labels say otherwise; `more` is for tarfile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **more) as tar:
        for i, number in enumerate(numbers):
            label = number % 3 if labels is None else labels[i]
            add(tar, f"{number:04d}.cls", str(label).encode())
            add(tar, f"{number:04d}.{suffix}", encode(noise(number)))
            add(tar, f"{number:04d}.json", b"{}")


@pytest.fixture
def pets(tmp_path):
    """Returns a folder of shards: 12 images to train on in three, 5 to evaluate in one."""
    for shard in range(3):
        write(tmp_path / f"pets-train-{shard:06d}.tar", range(4 * shard, 4 * shard + 4))
    write(tmp_path / "pets-val-000000.tar", range(100, 105))
    return tmp_path


def config_of(pattern, **changes):
    config = common.get_config().input
    config.update(source=f"tar:{pattern}", eval_split="val", image_size=8, resize=10, threads=2)
    config.update(changes)
    return config


def opened(pattern, train=True, **changes):
    return data.open_source(config_of(pattern, **changes), train)


def held(source):
    return [source[i] for i in range(len(source))]


# Which images


def test_images_come_in_the_order_of_the_shards_with_their_labels(pets):
    source = opened(pets)
    assert held(source) == [(encode(noise(i)), i % 3) for i in range(12)]
    assert source.class_names == ["0", "1", "2"]
    assert source.describe(5) == f"0005.jpg in {pets}/pets-train-000001.tar"
    assert held(opened(pets, train=False)) == [(encode(noise(i)), i % 3) for i in range(100, 105)]


@pytest.mark.parametrize(
    "pattern",
    [
        "pets-train-{000000..000002}.tar",
        "pets-{train-{000000..000002},val-000000}.tar",
        "pets-*.tar",
        "*-{train,val}-00000?.tar",
    ],
)
def test_a_pattern_names_the_same_shards(pets, pattern, monkeypatch):
    for prefix in (f"{pets}/", ""):
        monkeypatch.chdir(pets)
        assert held(opened(prefix + pattern)) == held(opened(pets))


def test_splits_may_be_folders(pets):
    for path in list(pets.glob("pets-*.tar")):
        _, split, number = path.stem.split("-")
        (pets / "all" / split).mkdir(parents=True, exist_ok=True)
        path.rename(pets / "all" / split / f"{number}.tar")
    assert len(opened(pets / "all")) == 12
    assert len(opened(pets / "all", train=False)) == 5
    assert len(opened(f"{pets}/all/{{train,val}}/*.tar", train=False)) == 5


def test_shards_without_a_split_in_their_names_are_cut(tmp_path):
    write(tmp_path / "x" / "a.tar", range(6))
    write(tmp_path / "x" / "b.tar", range(6, 10))
    parts = {"train_split": "train[:80%]", "eval_split": "train[80%:]"}
    one, other = (opened(tmp_path / "x", train, **parts) for train in (True, False))
    assert (len(one), len(other)) == (8, 2)
    assert sorted(held(one) + held(other)) == sorted(held(opened(tmp_path / "x")))
    with pytest.raises(FileNotFoundError, match=r"none is named after.*'val'.*train\[:80%\]"):
        opened(tmp_path / "x", train=False)


def test_a_shard_named_after_both_splits_is_refused(pets):
    write(pets / "train-val-0.tar", range(3))
    with pytest.raises(ValueError, match="train-val-0.tar is named after 'train', too"):
        opened(pets, train=False)


def test_files_of_other_kinds_and_hidden_ones_do_not_count(tmp_path, capfd):
    path = tmp_path / "train" / "0.tar"
    write(path, range(3), suffix="PNG")
    (tmp_path / "train" / "._0.tar").write_bytes(b"of a Mac")
    (tmp_path / "train" / "notes.txt").write_bytes(b"")
    with tarfile.open(path, "a") as tar:
        add(tar, "0003.txt", b"a caption alone")
        add(tar, "._0004.jpg", b"of a Mac")
        tar.addfile(tarfile.TarInfo("a folder"))
    source = opened(tmp_path)
    assert [source[i][1] for i in range(len(source))] == [0, 1, 2]
    assert "0.tar: passed over 2 samples without an image" in capfd.readouterr().err


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_every_format_of_tar_are_read(tmp_path, kind):
    path = tmp_path / "train.tar"
    name = "n01440764/" * 8 + "ä" * 40
    with tarfile.open(path, "w", format=kind) as tar:
        add(tar, f"{name}.jpg", b"image")
        add(tar, f"{name}.cls", b"0\n")
    assert held(opened(path)) == [(b"image", 0)]
    assert opened(path).describe(0).startswith(f"{name}.jpg in")


# Classes


def test_the_classes_are_the_training_splits(pets):
    write(pets / "pets-val-000000.tar", range(2), [0, 1])
    assert opened(pets, train=False).class_names == ["0", "1", "2"]
    write(pets / "pets-val-000000.tar", range(2), [0, 3])
    with pytest.raises(ValueError, match="val: label 3, and the 3 classes are 0 and on"):
        opened(pets, train=False)


def test_names_for_the_numbers_come_from_a_file_or_a_published_set(pets, tmp_path, capfd):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n\neel \n")
    assert opened(pets).class_names == ["0", "1", "2"]
    source = opened(pets, class_names=str(names))
    assert source.class_names == ["cat", "dog", "eel"]
    assert capfd.readouterr().err == ""
    source = opened(pets, class_names="imagenet")
    assert source.class_names == list(imagenet())
    assert "no image of n01491361, n01494475" in capfd.readouterr().err
    names.write_text("cat\ndog\ncat\n")
    with pytest.raises(ValueError, match="cat more than once"):
        opened(pets, class_names=str(names))
    with pytest.raises(FileNotFoundError, match="'imagenette': no such file, and none of imagenet"):
        opened(pets, class_names="imagenette")


def test_labels_are_those_of_the_networks_classes_by_name(pets, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\neel\n")
    config = config_of(pets, class_names=str(names))
    source = data.open_source(config, True, ["eel", "x", "dog", "cat"])
    assert [source[i][1] for i in range(3)] == [3, 2, 0]
    with pytest.raises(ValueError, match="eel not among the 2 classes.*input.class_names"):
        data.open_source(config, True, ["cat", "dog"])


def test_a_class_without_an_image_to_train_on_is_refused(tmp_path):
    write(tmp_path / "train.tar", range(3), [1, 2, 4])
    with pytest.raises(ValueError, match="no image of class 0, 3, of numbers that begin at 0"):
        opened(tmp_path)


# Shards that cannot be used


def test_a_missing_shard_is_named(pets):
    (pets / "pets-train-000001.tar").unlink()
    with pytest.raises(FileNotFoundError, match="no shard .*pets-train-000001.tar"):
        opened(f"{pets}/pets-train-{{000000..000002}}.tar")
    with pytest.raises(FileNotFoundError, match="no such file, and no folder with .tar files"):
        opened(f"{pets}/dogs-*.tar")


def cut(content):
    return content[: len(content) // 2]


def cut_between_members(content):
    return content[: tarfile.BLOCKSIZE * 2]


def without_an_end(content):
    return content.rstrip(b"\0").ljust(-(-len(content.rstrip(b"\0")) // 512) * 512, b"\0")


def spoil_a_header(content):
    at = content.index(b"0002.cls")
    return content[:at] + b"x" * 512 + content[at + 512 :]


def compress(content):
    return gzip.compress(content)


def page(content):
    return b"<html>404</html>" * 200


@pytest.mark.parametrize(
    "damage",
    [cut, cut_between_members, without_an_end, spoil_a_header, compress, page, lambda content: b""],
)
def test_a_damaged_shard_is_named(pets, damage):
    path = pets / "pets-train-000001.tar"
    write(path, range(3))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="pets-train-000001.tar is not a whole tar file.*copy it"):
        opened(pets)


@pytest.mark.parametrize(
    "members, message",
    [
        ({"1.jpg": b""}, "no label 1.cls beside 1.jpg"),
        ({"1.jpg": b"", "2.cls": b"0", "2.jpg": b"", "1.cls": b"0"}, "no label 1.cls"),
        ({"1.jpg": b"", "1.cls": b"cat"}, "1.cls holds b'cat', no number"),
        ({"1.jpg": b"", "1.cls": b"-1"}, "1.cls holds b'-1', no number"),
        ({"1.jpg": b"", "1.png": b"", "1.cls": b"0"}, "1 is there more than once"),
        ({"1.jpg": b"", "1.JPG": b"", "1.cls": b"0"}, "1 is there more than once"),
    ],
)
def test_images_without_one_label_are_named(tmp_path, members, message):
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for name, content in members.items():
            add(tar, name, content)
    with pytest.raises(ValueError, match=f"train.tar: {message}"):
        opened(tmp_path)


# The index


def test_a_shard_is_read_through_once_until_it_changes(pets, monkeypatch):
    read = []
    index = shards.index
    monkeypatch.setattr(shards, "index", lambda path: read.append(path) or index(path))
    before = held(opened(pets))
    assert len(read) == 3
    assert held(opened(pets)) == before and len(read) == 3
    changed = pets / "pets-train-000001.tar"
    stat = changed.stat()
    write(changed, range(40, 44))
    assert changed.stat().st_size == stat.st_size
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**6))
    after = held(opened(pets))
    assert read[3:] == [str(changed)]
    assert after[4:8] == [(encode(noise(i)), i % 3) for i in range(40, 44)]


def test_a_damaged_index_is_made_anew(pets, tmp_path):
    before = held(opened(pets))
    for kept in (tmp_path / "cache/cnn-architectures/shards").iterdir():
        kept.write_bytes(kept.read_bytes()[:20])
    assert held(opened(pets)) == before
    assert len(list((tmp_path / "cache/cnn-architectures/shards").iterdir())) == 3


# Batches


def train_batches(root, count, start_step=0, **changes):
    config = config_of(root, **changes)
    batches = data.make_train(data.open_source(config, True), config, 4, 0, start_step)
    return [next(batches) for _ in range(count)]


def as_folder(source, folder):
    """Writes the images of a source so that a folder has them in the same order, and the same classes."""
    for i in range(len(source)):
        encoded, label = source[i]
        path = folder / "train" / str(label) / f"{i:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)


@pytest.mark.parametrize("changes", [{}, {"in_memory": True, "crop": "center"}])
def test_batches_are_those_of_a_folder_and_of_a_resumed_run(tmp_path, changes):
    write(tmp_path / "train-0.tar", range(7), [0, 0, 0, 1, 1, 2, 2])
    write(tmp_path / "train-1.tar", range(7, 10), [2] * 3)
    batches = train_batches(tmp_path, 6, **changes)
    assert_same_batches(batches[3:], train_batches(tmp_path, 3, 3, **changes))
    as_folder(opened(tmp_path), tmp_path / "folder")
    others = train_batches("", 6, source=f"folder:{tmp_path / 'folder'}", **changes)
    assert_same_batches(batches, others)


def test_processes_share_a_batch_and_evaluation_has_each_image_once(pets, monkeypatch):
    (whole,) = train_batches(pets, 1)
    config = config_of(pets)
    masks = []
    for process in range(2):
        in_process(monkeypatch, process)
        (mine,) = train_batches(pets, 1)
        np.testing.assert_array_equal(mine["image"], whole["image"][2 * process : 2 * process + 2])
        masks += [
            batch["mask"].sum()
            for batch in data.make_eval(data.open_source(config, False), config, 4)
        ]
    assert sum(masks) == 5


def test_an_image_that_cannot_be_decoded_is_named_with_its_shard(pets, capfd):
    path = pets / "pets-val-000000.tar"
    path.write_bytes(path.read_bytes().replace(encode(noise(102)), bytes(len(encode(noise(102))))))
    config = config_of(pets)
    batches = list(data.make_eval(data.open_source(config, False), config, 8))
    assert batches[0]["mask"].sum() == 4
    assert f"skipped 0102.jpg in {path}:" in capfd.readouterr().err
