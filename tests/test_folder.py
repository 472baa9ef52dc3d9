"""A folder of images: what its classes are, what is read, and that nothing is skipped in silence."""

import io
import os
import pathlib

import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from ml_collections import ConfigDict
from PIL import Image

import data
from configs import common, imagenette, small
from data import sources
from data.messages import some
from data.sources import files, folder
from training import runs


def write(root, *names, level=None):
    """Writes a small image under each name; "/" at the end makes a folder."""
    for i, name in enumerate(names):
        path = pathlib.Path(root, name)
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (12, 14, 3), np.uint8)
        pixels = pixels if level is None else np.full_like(pixels, level)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        path.write_bytes(file.getvalue())


@pytest.fixture
def pets(tmp_path):
    """Returns a folder with three images each of cats and dogs in train/ and in val/."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            write(tmp_path, *(f"{split}/{name}/{i}.png" for i in range(3)))
    return tmp_path


def config_of(root, **changes):
    config = common.get_config().input
    config.update(source=f"folder:{root}", eval_split="val", image_size=8, resize=10, threads=2)
    config.update(changes)
    return config


def opened(root, train=True, class_names=None, **changes):
    return data.open_source(config_of(root, **changes), train, class_names)


def names_of(source):
    return [source.describe(i).rpartition("/")[2] for i in range(len(source))]


def labels_of(source):
    return [source[i][1] for i in range(len(source))]


# Classes

NO_CLASSES = {
    "Jupyter's": ["train/.ipynb_checkpoints/"],
    "a Mac's zip": ["__MACOSX/train/._x.jpg", "__MACOSX/val/._x.jpg", "train/__MACOSX/cat/._0.png"],
    "git's": [".git/refs/", ".git/objects/", "train/.git/objects/"],
    "a run's results": ["runs/first/metrics.jsonl", "runs/second/checkpoints/"],
    "an unlabelled split": ["test/images/1.png"],
    "a photo viewer's": ["train/@eaDir/", "train/cat/.thumbnails/1.png", "val/#recycle/1.png"],
    "a disk's": ["train/lost+found/", "train/$RECYCLE.BIN/1.png", "val/System Volume Information/"],
}


@pytest.mark.parametrize("name", NO_CLASSES)
def test_folders_that_are_no_classes_do_not_count(pets, name):
    write(pets, *NO_CLASSES[name])
    for split in (True, False):
        source = opened(pets, split)
        assert source.class_names == ["cat", "dog"]
        assert labels_of(source) == [0, 0, 0, 1, 1, 1]


def test_labels_go_by_name_where_the_evaluation_lacks_a_class(pets):
    write(pets, "train/ant/0.png")
    source = opened(pets, train=False)
    assert source.class_names == opened(pets).class_names == ["ant", "cat", "dog"]
    assert labels_of(source) == [1, 1, 1, 2, 2, 2]


def test_a_class_that_training_does_not_know_is_named(pets):
    write(pets, "val/dogs/0.png", "val/eel/0.png")
    assert opened(pets).class_names == ["cat", "dog"]
    with pytest.raises(ValueError, match="val: dogs, eel not among .*cat, dog.*near dogs: dog"):
        opened(pets, train=False)


def test_a_folder_with_nothing_to_train_on_opens_for_evaluation(tmp_path):
    write(tmp_path, "val/eel/0.png", "val/fox/0.png")
    assert opened(tmp_path, train=False).class_names == ["eel", "fox"]


@pytest.fixture
def whole(tmp_path):
    """Returns a folder without splits, with 10 images of cats, 5 of dogs, and one eel."""
    for name, number in (("cat", 10), ("dog", 5), ("eel", 1)):
        write(tmp_path, *(f"{name}/{i}.png" for i in range(number)))
    return tmp_path


def paths_of(source):
    return {source.describe(i) for i in range(len(source))}


def test_of_a_folder_without_splits_a_fifth_of_each_class_is_held_out_and_told(whole, capfd):
    train, held = opened(whole), opened(whole, train=False)
    assert train.class_names == held.class_names == ["cat", "dog", "eel"]
    assert labels_of(train) == [0] * 8 + [1] * 4 + [2]
    assert labels_of(held) == [0, 0, 1]
    assert len(paths_of(train) | paths_of(held)) == 16
    assert opened(whole, False, ["eel", "cat", "x", "dog"]).class_names == [
        "eel",
        "cat",
        "x",
        "dog",
    ]
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("no folder train: a fixed fifth of each class, by the names of the files, is "
                         "held out, 3 images for evaluation")  # fmt: skip


def test_an_added_image_changes_the_place_of_one_other_at_most(whole):
    for i in range(10, 40):
        before = paths_of(opened(whole, train=False))
        write(whole, f"cat/{i}.png")
        after = paths_of(opened(whole, train=False))
        moved = {path for path in before ^ after if not path.endswith(f"/cat/{i}.png")}
        assert len(moved) <= 1
    assert len(after) == 8 + 1


def test_a_part_of_a_folder_without_splits_is_one_of_its_training_images(whole):
    parts = [opened(whole, train_split=split) for split in ("train[:50%]", "train[50%:]")]
    assert paths_of(parts[0]) | paths_of(parts[1]) == paths_of(opened(whole))
    assert not paths_of(parts[0]) & paths_of(parts[1])


def test_a_part_may_be_of_a_number_of_images(whole):
    parts = [opened(whole, train_split=split) for split in ("train[:3]", "train[3:10]")]
    assert [len(part) for part in parts] == [3, 7]
    assert not paths_of(parts[0]) & paths_of(parts[1])
    assert paths_of(parts[1]) <= paths_of(opened(whole))
    with pytest.raises(ValueError, match="'train\\[:14\\]': train has 13 images"):
        opened(whole, train_split="train[:14]")


def test_a_folder_with_splits_of_other_names_is_none_without_splits(pets):
    (pets / "train" / ".DS_Store").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="holds no split 'training' .it holds train, val"):
        opened(pets, train_split="training", eval_split="validation")


def test_a_folder_without_splits_is_listed_once(pets, monkeypatch):
    listed = []
    listing = folder.listing
    monkeypatch.setattr(folder, "listing", lambda at: listed.append(at.name) or listing(at))
    opened(pets / "train")
    assert listed.count("dog") == 1


def test_parts_of_one_split_have_its_classes(pets):
    parts = {"train_split": "train[:50%]", "eval_split": "train[50%:]"}
    one, other = (opened(pets, split, **parts) for split in (True, False))
    assert one.class_names == other.class_names == ["cat", "dog"]
    assert sorted(names_of(one) + names_of(other)) == sorted(names_of(opened(pets)))


def test_labels_are_indices_into_the_classes_that_are_given(pets):
    given = ["zebra", "dog", "ant", "cat"]
    for split in (True, False):
        source = opened(pets, split, given)
        assert source.class_names == given
        assert labels_of(source) == [3, 3, 3, 1, 1, 1]
    part = opened(pets, True, given, train_split="train[:50%]")
    assert part.class_names == given and set(labels_of(part)) <= {1, 3}


def test_the_labels_of_all_images_are_known_without_reading_one(pets):
    given = ["rabbit", "dog", "cat"]
    for split in ("train", "train[:50%]", "train[50%:]"):
        source = opened(pets, True, given, train_split=split)
        assert source.labels.tolist() == labels_of(source)


def test_a_class_that_is_not_among_those_given_is_named_with_its_neighbour(pets):
    with pytest.raises(ValueError, match="dog not among the 2 classes.*cat, dogs.*near dog: dogs"):
        opened(pets, False, ["cat", "dogs"])


@pytest.mark.parametrize("source", ["digits", "synthetic"])
def test_other_sources_take_the_classes_that_are_given(source):
    config = config_of("", source=source, eval_split="test", image_size=8)
    own = data.open_source(config, train=True)
    mapped = data.open_source(config, True, ["x", *reversed(own.class_names)])
    np.testing.assert_array_equal(mapped.labels, len(own.class_names) - own.labels)
    assert mapped.labels.dtype == np.int32
    with pytest.raises(ValueError, match=f"{source}: 3 not among"):
        data.open_source(config, True, [name for name in own.class_names if name != "3"])


def test_a_wrong_number_of_classes_lists_their_names(pets):
    with pytest.raises(ValueError, match=r"2 classes \(cat, dog\), the network 7"):
        runs.check_classes(opened(pets), opened(pets, train=False), ConfigDict({"num_classes": 7}))
    assert some([str(i) for i in range(1000)]).endswith("8, 9 and 990 more")


# Files


def test_what_is_no_image_is_told_once_by_reason(pets, capfd):
    write(
        pets, "train/cat/clip.mov", "train/cat/b.MOV", "train/dog/id123", "train/dog/deeper/1.png"
    )
    write(
        pets, "train/dog/._0.png", "train/cat/.DS_Store", "train/cat/Thumbs.db", "train/loose.png"
    )
    os.symlink("/nowhere", pets / "train/cat/link.png")
    os.mkfifo(pets / "train/cat/pipe.png")
    (pets / "train/dog/folder.png").mkdir()
    for _ in range(2):
        assert len(opened(pets)) == 6
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"folder:{pets}, train; skipped")
    for reason in ("3 hidden", "2 .mov", "1 without a suffix", "2 dead links", "1 outside a class"):
        assert reason in line
    assert "2 folders inside a class" in line


def test_nothing_is_told_of_a_folder_of_images(pets, capfd):
    for split in (True, False):
        opened(pets, split)
    assert capfd.readouterr().err == ""


def test_suffixes_of_all_formats_count_in_either_case(tmp_path):
    names = ["a.JPEG", "b.jfif", "c.TIF", "d.tiff", "e.gif", "f.webp", "g.bmp", "h.jpe", "i.png"]
    write(tmp_path, *(f"train/cat/{name}" for name in names))
    assert names_of(opened(tmp_path)) == names


def test_a_class_without_an_image_is_not_trained_but_may_be_left_out_of_an_evaluation(pets, capfd):
    write(pets, "val/eel/", "train/eel/session/1.png")
    with pytest.raises(ValueError, match="train: no image in eel.*1 folders inside a class"):
        opened(pets)
    assert opened(pets, train=False).class_names == ["cat", "dog", "eel"]
    assert "val: no image in eel" in capfd.readouterr().err


def test_the_order_of_the_images_is_that_of_their_paths(tmp_path):
    write(tmp_path, *(f"train/{name}/{i}.png" for name in ("a", "a-b", "A") for i in (10, 9)))
    source = opened(tmp_path)
    paths = [source.describe(i) for i in range(len(source))]
    assert source.class_names == ["A", "a", "a-b"]
    assert paths == sorted(paths)


def test_a_bucket_is_asked_once_a_folder_and_never_for_an_image(pets, monkeypatch):
    asked = []

    class Bucket(LocalFileSystem):
        def ls(self, path, **more):
            asked.append(path.removeprefix(f"{pets}/"))
            return super().ls(path, **more)

    monkeypatch.setattr(
        files.fsspec.core, "url_to_fs", lambda path: (Bucket(), path.removeprefix("s3://bucket"))
    )
    folder = f"s3://bucket{pets}/train"
    assert files.listing(f"{folder}/cat").images == ["0.png", "1.png", "2.png"]
    assert files.listing(folder).folders == ["cat", "dog"]
    assert asked == ["train/cat", "train"]


# Files that cannot be read


def remove(path):
    path.unlink()


def link_nowhere(path):
    path.unlink()
    path.symlink_to("/nowhere/x.png")


def make_folder(path):
    path.unlink()
    path.mkdir()


def make_huge(path):
    os.truncate(path, files.MAX_BYTES + 1)  # sparse: it takes no room


def spoil(path):
    path.write_bytes(b"no image")


DAMAGES = pytest.mark.parametrize("damage", [remove, link_nowhere, make_folder, make_huge, spoil])


@DAMAGES
@pytest.mark.parametrize("in_memory", [False, True])
def test_an_image_that_became_unreadable_is_named_and_skipped(pets, damage, in_memory, capfd):
    config = config_of(pets, in_memory=in_memory, crop="center")
    train_source, eval_source = (data.open_source(config, split) for split in (True, False))
    damage(pets / "train/dog/1.png")
    damage(pets / "val/dog/1.png")
    batches = data.make_train(train_source, config, 6, seed=0)
    assert sum(next(batches)["label"].sum() for _ in range(2)) > 0
    (batch,) = data.make_eval(eval_source, config, 6)
    assert batch["mask"].sum() == 5
    assert batch["label"][batch["mask"] == 1].tolist() == [0, 0, 0, 1, 1]
    told = capfd.readouterr().err
    assert told.count("train/dog/1.png") == told.count("val/dog/1.png") == 1


def test_too_many_unreadable_images_stop_the_run_and_say_why(pets):
    config = config_of(pets, max_broken_images=1)
    source = data.open_source(config, train=True)
    for i in range(3):
        (pets / f"train/cat/{i}.png").unlink()
    with pytest.raises(ValueError, match=r"cat/\d.png \(No such file.*max_broken_images"):
        for _, batch in zip(range(3), data.make_train(source, config, 6, seed=0), strict=False):
            assert batch


def test_a_broken_images_name_writes_nothing_on_the_terminal_but_itself(pets, capfd):
    (pets / "train/cat/a\nerror: done\x1b[31m.png").write_bytes(b"no image")
    config = config_of(pets)
    next(data.make_train(data.open_source(config, train=True), config, 7, seed=0))
    told = capfd.readouterr().err
    assert "\x1b" not in told and "\nerror: done" not in told
    assert told.startswith("skipped ") and r"\x1b[31m.png: no image that can be read" in told


# Channels and orientation


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("in_memory", [False, True])
def test_the_length_of_mean_decides_between_grey_and_colour(tmp_path, channels, in_memory):
    write(tmp_path, "train/a/0.png", "train/b/0.png", level=80)
    Image.new("L", (12, 12), 80).save(tmp_path / "train/b/0.png")
    more = {"mean": (0.5,) * channels, "std": (0.2,) * channels, "crop": "center"}
    config = config_of(tmp_path, in_memory=in_memory, eval_split="train", **more)
    source = data.open_source(config, train=True)
    seen = next(data.make_train(source, config, 2, seed=0))["image"]
    (batch,) = data.make_eval(source, config, 2)
    assert seen.shape == batch["image"].shape == (2, *data.input_shape(config))
    assert np.unique(seen).tolist() == np.unique(batch["image"]).tolist() == [80]


def test_images_in_memory_get_the_channels_of_the_network():
    digits = config_of("", source="digits", train_split="test", crop="pad")
    batch = next(data.make_train(data.open_source(digits, True), digits, 4, seed=0))
    assert batch["image"].shape == (4, 8, 8, 3)
    noise = config_of("", source="synthetic", mean=(0.5,), std=(0.2,), crop="pad")
    batch = next(data.make_train(data.open_source(noise, True), noise, 4, seed=0))
    assert batch["image"].shape == (4, 8, 8, 1)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mean": (0.5,) * 2, "std": (0.2,) * 2}, "mean has 2 values.*1, for grey.*3, for colours"),
        ({"mean": (0.5,)}, "mean has 1 values and input.std 3"),
        ({"mean": (0.5,), "std": (0.2,), "pca_lighting": 0.1}, "pca_lighting"),
    ],
)
def test_impossible_channels_are_refused(pets, changes, message):
    config = config_of(pets, **changes)
    source = data.open_source(config, train=True)
    for make in (
        lambda: data.make_train(source, config, 4, seed=0),
        lambda: data.make_eval(source, config, 4),
        lambda: data.load(source, config),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_field_decides_whether_photographs_are_turned(tmp_path, in_memory):
    (tmp_path / "train/a").mkdir(parents=True)
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # light above; turned by a quarter, light on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "train/a/0.jpg", exif=exif)
    for turned in (True, False):
        more = {"exif_orientation": turned, "in_memory": in_memory, "crop": "center"}
        config = config_of(tmp_path, eval_split="train", **more)
        source = data.open_source(config, train=True)
        seen = next(data.make_train(source, config, 1, seed=0))["image"][0]
        (batch,) = data.make_eval(source, config, 1)
        for image in (seen, batch["image"][0]):
            above, right = image[:4].mean(), image[:, 4:].mean()
            assert (right > above) == turned


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("squash", [False, True])
def test_the_fields_decide_how_images_are_resized_before_a_centre_crop(
    tmp_path, in_memory, interpolation, squash
):
    (tmp_path / "train/a").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (21, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "train/a/0.png")
    more = {"interpolation": interpolation, "squash": squash, "crop": "center"}
    config = config_of(tmp_path, eval_split="train", in_memory=in_memory, **more)
    source = data.open_source(config, train=True)
    method = Image.Resampling[interpolation.upper()]
    size = config.resize, config.resize
    if not squash:
        size = config.resize * 40 // 21, config.resize
    left, top = (round((side - config.image_size) / 2) for side in size)
    resized = np.asarray(Image.fromarray(pixels).resize(size, method))
    expected = resized[top : top + config.image_size, left : left + config.image_size]
    (batch,) = data.make_eval(source, config, 1)
    seen = next(data.make_train(source, config, 1, seed=0))["image"][0]
    np.testing.assert_array_equal(batch["image"][0], expected)
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("make", [data.make_train, data.make_eval, data.load])
def test_an_unknown_interpolation_is_told_with_the_right_ones(pets, make):
    config = config_of(pets, interpolation="lanczos")
    arguments = {data.make_train: (1, 0), data.make_eval: (1,), data.load: ()}[make]
    with pytest.raises(ValueError, match="'lanczos': choose one of bilinear, bicubic"):
        make(data.open_source(config, train=True), config, *arguments)


def test_a_run_from_before_the_field_goes_on_without_turning():
    config = common.get_config().input
    assert data.pipeline.image_form(config)["exif_orientation"] is False
    del config["exif_orientation"]
    assert data.pipeline.image_form(config)["exif_orientation"] is False
    for own in (imagenette, small):
        assert own.get_config().input.exif_orientation


def test_photographs_of_a_phone_are_named_with_what_reads_them(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.heic").write_bytes(b"")
    with pytest.raises(
        FileNotFoundError, match=r"no images in .*2 \.heic \(pip install pillow-heif"
    ):
        opened(tmp_path, train=False)


def test_a_single_image_a_class_leaves_none_for_evaluation(tmp_path):
    write(tmp_path, "cat/1.png", "dog/1.png")
    with pytest.raises(ValueError, match="one image a class leaves none for evaluation"):
        opened(tmp_path, train=False)


def test_a_folder_given_as_the_source_is_answered_with_how_to_write_it(tmp_path):
    config = common.get_config().input
    config.source = str(tmp_path)
    with pytest.raises(ValueError, match=f"choose folder:{tmp_path}, tfds:NAME"):
        sources.open_source(config, train=True)
