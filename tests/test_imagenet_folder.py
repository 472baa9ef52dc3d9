"""ImageNet's validation images as published, in one folder: their labels are the right ones, or refused."""

import numpy as np
import pytest
import scipy.io

import data
from configs import common
from data.classes import imagenet as classes
from data.sources.imagenet import FIRST

SYNSETS = [*FIRST, FIRST[1]]  # of six images
NUMBERS = [7, 2, 5, 900, 31, 2]  # no kit's own


@pytest.fixture
def flat(tmp_path):
    """Returns a folder with six images in val/, beside the training folders of their synsets."""
    for i in range(6):
        path = tmp_path / "val" / f"ILSVRC2012_val_{i + 1:08d}.JPEG"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"image %d" % (i + 1))
    for name in FIRST:
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1.JPEG").write_bytes(b"")
    return tmp_path


def kit(folder, numbers=NUMBERS, table=None):
    """Writes the files of a development kit; by default with a number above 1,000, as the real one has."""
    table = table or {**dict(zip(NUMBERS, SYNSETS, strict=True)), 1001: "n00001740"}
    folder.mkdir()
    dtype = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    synsets = np.array([(number, wnid, "x") for number, wnid in table.items()], dtype)
    scipy.io.savemat(folder / "meta.mat", {"synsets": synsets[:, None]})
    truth = folder / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("".join(f"{number}\n" for number in numbers))
    return truth


def lines(folder, synsets=SYNSETS):
    path = folder / "synsets.txt"
    path.write_text("\n".join(synsets))
    return path


def opened(root, ground_truth="", class_names=None, **changes):
    config = common.get_config().input
    config.update(source=f"folder:{root}", eval_split="val", ground_truth=str(ground_truth))
    config.update(changes)
    return data.open_source(config, False, class_names)


@pytest.mark.parametrize("labels", [lines, lambda root: kit(root / "kit")])
def test_images_have_the_synsets_of_the_file_in_the_order_of_folders(flat, labels):
    source = opened(flat, labels(flat))
    assert source.class_names == sorted(FIRST)
    found = [(source[i][0], source.class_names[source[i][1]]) for i in range(len(source))]
    assert found == sorted(
        ((b"image %d" % (i + 1), synset) for i, synset in enumerate(SYNSETS)),
        key=lambda pair: pair[::-1],
    )
    assert source.describe(0) == str(flat / "val/ILSVRC2012_val_00000001.JPEG")


def test_the_order_is_that_of_the_same_images_in_folders(flat, tmp_path):
    source = opened(flat, lines(flat))
    for i, synset in enumerate(SYNSETS):
        path = tmp_path / "folders" / "val" / synset / f"ILSVRC2012_val_{i + 1:08d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image %d" % (i + 1))
    other = opened(tmp_path / "folders")
    assert [source[i] for i in range(6)] == [other[i] for i in range(6)]


def test_labels_are_those_of_a_network_of_all_classes(flat):
    source = opened(flat, lines(flat), list(classes()))
    assert source[0] == (b"image 1", 65)
    assert len(source.class_names) == 1000


def test_a_part_of_it_keeps_the_labels(flat):
    whole = opened(flat, lines(flat))
    half = opened(flat, lines(flat), eval_split="val[:50%]")
    assert len(half) == 3
    assert {half[i] for i in range(3)} <= {whole[i] for i in range(6)}


def test_the_training_folders_stay_as_they_are(flat):
    config = common.get_config().input
    config.update(source=f"folder:{flat}", ground_truth=str(lines(flat)))
    source = data.open_source(config, train=True)
    assert len(source) == 5 and source.class_names == sorted(FIRST)


IN_ORDER = {name: i + 1 for i, name in enumerate(classes())}
WRONG = {
    "another order": (
        [*FIRST[1:], FIRST[0], FIRST[0]],
        "first images are n0919.*but they are n0175",
    ),
    "too few": (SYNSETS[:5], "5 labels.*val 6 images"),
    "no synset": ([*FIRST, "tench"], "tench not among ImageNet's synsets"),
    "names of files": (
        [f"ILSVRC2012_val_{i}.JPEG" for i in range(6)],
        "not among.*a synset a line",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_labels_that_are_not_theirs_are_refused(flat, name):
    synsets, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        opened(flat, lines(flat, synsets))


def test_numbers_of_another_order_are_refused(flat):
    sorted_order = [IN_ORDER[name] for name in SYNSETS]
    table = dict(enumerate(sorted(classes())[::-1], 1))
    with pytest.raises(ValueError, match="another order"):
        opened(flat, kit(flat / "kit", sorted_order, table))
    with pytest.raises(ValueError, match="0 not among ImageNet's synsets"):
        opened(flat, kit(flat / "other", [*NUMBERS[:5], 0]))


def test_numbers_alone_are_refused_with_the_remedy(flat):
    truth = kit(flat / "kit")
    (flat / "kit/meta.mat").write_bytes(b"no table")
    with pytest.raises(ValueError, match="meta.mat is not the development kit's table"):
        opened(flat, truth)
    (flat / "kit/meta.mat").unlink()
    with pytest.raises(FileNotFoundError, match="meta.mat is missing.*put meta.mat of ILSVRC2012"):
        opened(flat, truth)
    with pytest.raises(FileNotFoundError, match="no images in.*--config.input.ground_truth=FILE"):
        opened(flat)


def test_a_missing_image_or_another_file_is_refused(flat):
    truth = lines(flat)
    (flat / "val/ILSVRC2012_val_00000003.JPEG").unlink()
    with pytest.raises(ValueError, match="images are missing: its 5 images"):
        opened(flat, truth)
    (flat / "val/photo.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="photo.jpg is none of ImageNet's"):
        opened(flat, truth)
