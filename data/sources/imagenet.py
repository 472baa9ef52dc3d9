"""ImageNet's validation images as they are published: all in one folder, with a file of their labels.

The official file, ILSVRC2012_validation_ground_truth.txt, has a number of 1 to 1,000 for each image, and
the development kit's meta.mat says which synset has which number. That order is not the one of sorted
synsets in which networks are trained, and a wrong one would only show as poor accuracy. So numbers are
read by meta.mat alone, and the synsets of the first images are compared with the published ones.
"""

import io
import os
import re

from data.classes import imagenet
from data.messages import some
from data.sources.files import listing, path_of, read
from data.sources.labels import labels_of

IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
# Of images 1 to 5: research/slim/datasets/imagenet_2012_validation_synset_labels.txt of tensorflow/models
FIRST = ["n01751748", "n09193705", "n02105855", "n04263257", "n03125729"]


class Validation:
    """The images of PATH/SPLIT/ILSVRC2012_val_00000001.JPEG and on, sorted by synset, then by number.

    So they have the order of the same images in a folder a synset.
    """

    def __init__(
        self,
        path: str,
        split: str,
        train_split: str,
        ground_truth: str,
        class_names: list[str] | None = None,
    ):
        """Reads the labels.

        Args:
          path: of the folder or bucket.
          split: to read.
          train_split: the split that names the classes, where it is there.
          ground_truth: see `synsets`.
          class_names: the classes, in place of those.

        Raises:
          ValueError: a file is none of the images, one is missing, or the labels are not theirs.
          OSError: the labels cannot be read.
        """
        root = path_of(path)
        names = listing(root / split).images
        what = f"folder:{path}, {split}"
        numbers = [int(match[1]) for match in map(IMAGE.fullmatch, names) if match]
        if numbers != list(range(1, len(names) + 1)):
            others = [name for name in names if not IMAGE.fullmatch(name)]
            raise ValueError(
                f"{what}: "
                + (f"{some(others, 3)} is none of ImageNet's" if others else "images are missing")
                + f": its {len(names):,} images have to be ILSVRC2012_val_00000001.JPEG and on, "
                "without a gap"
            )
        found = synsets(os.path.expanduser(ground_truth))
        if len(found) != len(names):
            raise ValueError(
                f"{ground_truth} has {len(found):,} labels, {what} {len(names):,} images"
            )
        if class_names is None and split != train_split and (root / train_split).is_dir():
            class_names = listing(root / train_split).folders
        classes = sorted(set(found))
        self.class_names = class_names or classes
        label = dict(zip(classes, labels_of(classes, self.class_names, what), strict=True))
        self._images = sorted(zip(found, names, strict=True))
        self._labels = [label[synset] for synset, _ in self._images]
        self._folder = os.fspath(root / split)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int):
        return read(self.describe(i)), self._labels[i]

    def describe(self, i: int) -> str:
        return os.path.join(self._folder, self._images[i][1])


def is_flat(path: str, split: str) -> bool:
    """Whether a split holds ImageNet's validation images themselves, not folders of classes."""
    folder = path_of(path) / split
    return folder.is_dir() and any(map(IMAGE.fullmatch, listing(folder).images))


def synsets(ground_truth: str) -> list[str]:
    """Returns the synset of each validation image, in the order of their numbers.

    Args:
      ground_truth: a file with a synset a line; or the official one, with meta.mat beside it.

    Raises:
      ValueError: the labels are not those of the validation images.
      OSError: a file cannot be read.
    """
    lines = read(ground_truth).decode("utf-8", "replace").split()
    if all(line.isdecimal() for line in lines):
        synset = _synsets_by_number(os.path.join(os.path.dirname(ground_truth), "meta.mat"))
        lines = [synset.get(int(line), line) for line in lines]
    strange = sorted(set(lines) - imagenet().keys())
    if strange:
        raise ValueError(
            f"{ground_truth}: {some(strange, 3)} not among ImageNet's synsets; it has to have a synset a "
            "line, as n01751748, or the development kit's numbers of 1 to 1,000"
        )
    if lines[: len(FIRST)] != FIRST[: len(lines)]:
        raise ValueError(
            f"{ground_truth}: by it the first images are {', '.join(lines[: len(FIRST)])}, but they are "
            f"{', '.join(FIRST)}: these are the labels of another order, or of other images"
        )
    return lines


def _synsets_by_number(meta: str) -> dict[int, str]:
    """Returns {number: synset} of the development kit's table of synsets."""
    import scipy.io  # which other sources do not wait for

    try:
        content = read(meta)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{meta} is missing: numbers as labels do not say of which synsets they are; put meta.mat of "
            "ILSVRC2012_devkit_t12/data there, or use a file with a synset a line"
        ) from error
    try:
        table = scipy.io.loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
        numbers, names = table["ILSVRC2012_ID"], table["WNID"]
    except (scipy.io.matlab.MatReadError, KeyError, IndexError, ValueError, TypeError) as error:
        raise ValueError(
            f"{meta} is not the development kit's table of synsets ({error})"
        ) from error
    return {int(number): str(name) for number, name in zip(numbers, names, strict=True)}
