"""Sets of Hugging Face's library: which rows are read, as which classes, or why they are refused."""

import os
import sys

import pytest
from test_data import assert_same_batches, encode, in_process, noise
from test_shards import as_folder, held

import data
from configs import common
from data.classes import imagenet

os.environ["HF_HUB_OFFLINE"] = "1"  # before the library is imported; else a name is looked for
datasets = pytest.importorskip("datasets", reason="pip install -e '.[hf]'")

FILE = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def rows(numbers, labels=None, label=None, image=None, **columns):
    """Returns images `noise(number)`, of class number % 3 unless labels say otherwise."""
    labels = [number % 3 for number in numbers] if labels is None else labels
    images = [{"bytes": encode(noise(number)), "path": f"{number}.jpg"} for number in numbers]
    label = label or datasets.ClassLabel(names=["cat", "dog", "eel"])
    features = {"image": image or datasets.Image(), "label": label}
    features |= {name: kind for name, (kind, _) in columns.items()}
    content = {"image": images, "label": labels}
    content |= {name: values for name, (_, values) in columns.items()}
    return datasets.Dataset.from_dict(content, datasets.Features(features))


def write(root, rows, split="train", shards=2):
    """Writes rows as shards of parquet, named as the hub names them."""
    root.mkdir(exist_ok=True)
    for i in range(shards):
        name = f"{split}-{i:05d}-of-{shards:05d}.parquet"
        rows.shard(shards, i, contiguous=True).to_parquet(root / name)


@pytest.fixture
def pets(tmp_path):
    """Returns a folder of parquet files with 7 images to train on and 5 to evaluate."""
    write(tmp_path / "pets", rows(range(7)))
    write(tmp_path / "pets", rows(range(100, 105)), "validation", 1)
    return tmp_path / "pets"


def config_of(name, **changes):
    config = common.get_config().input
    config.update(source=f"hf:{name}", image_size=8, resize=10, threads=2)
    config.update(changes)
    return config


def opened(name, train=True, **changes):
    return data.open_source(config_of(name, **changes), train)


EXPECTED = [(encode(noise(i)), i % 3) for i in range(7)]


# Which images


def test_a_folder_of_parquet_files_has_the_files_and_the_names_of_the_classes(pets):
    source = opened(pets)
    assert held(source) == EXPECTED
    assert source.class_names == ["cat", "dog", "eel"]
    assert source.describe(3) == f"hf:{pets}, train, row 3"
    assert held(opened(pets, train=False)) == [(encode(noise(i)), i % 3) for i in range(100, 105)]


def test_saved_sets_are_read(tmp_path):
    rows(range(7)).save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": rows(range(7)), "x": rows(range(3))}).save_to_disk(
        tmp_path / "two"
    )
    assert held(opened(tmp_path / "one")) == held(opened(tmp_path / "two")) == EXPECTED
    assert held(opened(tmp_path / "two", train=False, eval_split="x")) == EXPECTED[:3]


def test_a_set_of_the_hub_is_read_from_the_cache(pets):
    opened(pets)
    assert held(opened("pets")) == EXPECTED
    with pytest.raises(FileNotFoundError, match="hf:nobody/pets is no folder.*cache"):
        opened("nobody/pets")
    with pytest.raises(FileNotFoundError, match="hf:./pets is no folder"):
        opened("./pets")


def test_changed_files_are_read_anew(pets):
    assert len(opened(pets)) == 7
    write(pets, rows(range(9)))
    assert len(opened(pets)) == 9


def test_parts_of_a_split_share_no_image(pets):
    parts = {"train_split": "train[:4]", "eval_split": "train[4:]"}
    one, other = (opened(pets, train, **parts) for train in (True, False))
    assert (len(one), len(other)) == (4, 3)
    assert sorted(held(one) + held(other)) == sorted(EXPECTED)


# Columns


def test_files_as_bytes_need_no_type_of_the_library(tmp_path):
    plain = rows(range(7), image=FILE, label=datasets.Value("int64"))
    plain = plain.with_format("arrow")
    write(tmp_path / "plain", plain)
    assert held(opened(tmp_path / "plain")) == EXPECTED


def test_an_image_of_another_file_is_read_where_it_is(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"image")
    images = {"image": [{"bytes": None, "path": str(tmp_path / "1.jpg")}], "label": [0]}
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat"])}
    datasets.Dataset.from_dict(images, datasets.Features(kinds)).save_to_disk(tmp_path / "set")
    assert held(opened(tmp_path / "set")) == [(b"image", 0)]


def test_of_several_columns_one_has_to_be_named(tmp_path):
    coarse = datasets.ClassLabel(names=["pet", "fish"])
    write(tmp_path / "two", rows(range(7), coarse=(coarse, [int(i % 3 == 2) for i in range(7)])))
    with pytest.raises(
        ValueError, match="2 columns may be the label: name one of image, label, coarse"
    ):
        opened(tmp_path / "two")
    source = opened(tmp_path / "two", label_column="coarse")
    assert source.class_names == ["pet", "fish"]
    assert held(source) == [(image, int(label == 2)) for image, label in EXPECTED]
    assert held(opened(tmp_path / "two", label_column="label")) == EXPECTED
    with pytest.raises(ValueError, match="no column 'breed': name one of .*input.label_column"):
        opened(tmp_path / "two", label_column="breed")


def test_a_set_without_images_is_refused(tmp_path):
    texts = datasets.Dataset.from_dict({"text": ["x"], "label": [0]})
    write(tmp_path / "texts", texts, shards=1)
    with pytest.raises(ValueError, match="0 columns may be the image.*input.image_column"):
        opened(tmp_path / "texts")


# Classes


def test_texts_are_classes_of_the_training_split_sorted(tmp_path):
    text = datasets.Value("string")
    write(tmp_path / "texts", rows(range(4), ["dog", "cat", "eel", "cat"], text))
    write(tmp_path / "texts", rows(range(2), ["eel", "dog"], text), "validation", 1)
    assert opened(tmp_path / "texts").class_names == ["cat", "dog", "eel"]
    assert [label for _, label in held(opened(tmp_path / "texts"))] == [1, 0, 2, 0]
    assert [label for _, label in held(opened(tmp_path / "texts", train=False))] == [2, 1]
    write(tmp_path / "texts", rows(range(2), ["eel", "fox"], text), "validation", 1)
    with pytest.raises(ValueError, match="fox not among the 3 classes of the training"):
        opened(tmp_path / "texts", train=False)


def test_numbers_are_classes_that_a_field_can_name(tmp_path, capfd):
    number = datasets.Value("int64")
    write(tmp_path / "numbers", rows(range(4), [0, 2, 1, 0], number))
    write(tmp_path / "numbers", rows(range(2), [0, 1], number), "validation", 1)
    assert opened(tmp_path / "numbers", train=False).class_names == ["0", "1", "2"]
    source = opened(tmp_path / "numbers", train=False, class_names="imagenet")
    assert source.class_names == list(imagenet())
    write(tmp_path / "numbers", rows(range(2), [1, 3], number), "validation", 1)
    with pytest.raises(ValueError, match="label 3, and the 3 classes are 0 and on"):
        opened(tmp_path / "numbers", train=False)
    write(tmp_path / "numbers", rows(range(2), [1, 3], number))
    with pytest.raises(ValueError, match="no image of class 0, 2"):
        opened(tmp_path / "numbers")


def test_labels_are_those_of_the_networks_classes_by_name(pets):
    source = data.open_source(config_of(pets), True, ["eel", "x", "dog", "cat"])
    assert [label for _, label in held(source)][:3] == [3, 2, 0]
    with pytest.raises(ValueError, match="eel not among the 2 classes"):
        data.open_source(config_of(pets), True, ["cat", "dog"])


@pytest.mark.parametrize(
    "labels, kind, message",
    [
        ([0, None, None], None, "2 images have no label"),
        ([0, -1, 1], None, "label -1, and the 3 classes"),
        ([0.5, 1.0, 2.0], datasets.Value("float32"), "column label holds 0.5, no number or name"),
    ],
)
def test_rows_without_a_label_are_refused(tmp_path, labels, kind, message):
    rows(range(len(labels)), labels, kind).save_to_disk(tmp_path / "set")
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / "set")


# What cannot be used


def test_an_unknown_split_lists_those_that_are_there(pets):
    with pytest.raises(ValueError, match="no split 'val', but train, validation .*train\\[:80%\\]"):
        opened(pets, train=False, eval_split="val")


def test_a_damaged_file_is_told_in_one_line(pets):
    path = next(pets.glob("train-00001*"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"hf:{pets} cannot be read: .*[Pp]arquet"):
        opened(pets)


def test_an_image_that_cannot_be_decoded_is_named_by_its_row(pets, capfd):
    images = [{"bytes": b"no image", "path": None}, {"bytes": encode(noise(1)), "path": None}, None]
    broken = rows(range(3)).remove_columns("image").add_column("image", images)
    write(pets, broken.cast_column("image", datasets.Image()), "validation", 1)
    config = config_of(pets)
    (batch,) = data.make_eval(data.open_source(config, False), config, 4)
    assert batch["mask"].sum() == 1
    told = capfd.readouterr().err
    assert "skipped hf:" in told and "validation, row 0: no image that can be read" in told
    assert "validation, row 2: no image in this row" in told


def test_without_the_library_what_brings_it_is_named(monkeypatch, pets):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"needs the library datasets: pip install -e '\.\[hf\]'"):
        opened(pets)


# Batches


def train_batches(name, count, start_step=0, **changes):
    config = config_of(name, **changes)
    batches = data.make_train(data.open_source(config, True), config, 4, 0, start_step)
    return [next(batches) for _ in range(count)]


@pytest.mark.parametrize("changes", [{}, {"in_memory": True, "crop": "center"}])
def test_batches_are_those_of_a_folder_and_of_a_resumed_run(tmp_path, changes):
    write(tmp_path / "set", rows(range(7), [0, 0, 0, 1, 1, 2, 2]))
    batches = train_batches(tmp_path / "set", 5, **changes)
    assert_same_batches(batches[3:], train_batches(tmp_path / "set", 2, 3, **changes))
    as_folder(opened(tmp_path / "set"), tmp_path / "folder")
    others = train_batches("", 5, source=f"folder:{tmp_path / 'folder'}", **changes)
    assert_same_batches(batches, others)


def test_evaluation_has_each_image_once_over_all_processes(pets, monkeypatch):
    config, masks = config_of(pets), []
    for process in range(2):
        in_process(monkeypatch, process)
        masks += [b["mask"].sum() for b in data.make_eval(opened(pets, False), config, 4)]
    assert sum(masks) == 5
