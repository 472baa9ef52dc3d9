"""Labels by the names of classes."""

import collections
import difflib
import os

import numpy as np

from data.classes import CLASSES
from data.messages import some, tell_once
from data.sources.files import read

OF_FOLDERS = "Rename the folders to those classes, or take them away"
OF_NUMBERS = "--config.input.class_names says what the numbers of the classes mean"


def labels_of(
    found: list[str], class_names: list[str], what: str, remedy: str = OF_FOLDERS
) -> list[int]:
    """Returns the label of each class of `found`; raises ValueError for one that has none."""
    if found == class_names:
        return list(range(len(found)))
    label = {name: i for i, name in enumerate(class_names)}
    unknown = [name for name in found if name not in label]
    if unknown:
        near = difflib.get_close_matches(unknown[0], class_names)
        raise ValueError(
            f"{what}: {some(unknown)} not among the {len(class_names)} classes of the training "
            f"({some(class_names)})"
            + (f"; near {unknown[0]}: {', '.join(near)}" if near else "")
            + f". {remedy}"
        )
    return [label[name] for name in found]


def names_of(classes: str) -> list[str]:
    """Returns the names of numbered classes.

    Args:
      classes: a set of data.CLASSES, such as imagenet; or a file with a name a line, that of number 0 first.

    Raises:
      ValueError: two classes have one name.
      OSError: the file cannot be read.
    """
    if classes in CLASSES:
        return CLASSES[classes]
    try:
        lines = read(os.path.expanduser(classes)).decode("utf-8", "replace").splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"input.class_names {classes!r}: no such file, and none of {', '.join(CLASSES)}"
        ) from error
    names = [line.strip() for line in lines if line.strip()]
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"input.class_names {classes!r}: {some(twice)} more than once")
    return names


def by_number(
    numbers: np.ndarray, names: list[str], class_names: list[str], what: str
) -> np.ndarray:
    """Returns int32 [N], the labels of images into `class_names`, by their numbers [N] into `names`.

    Raises:
      ValueError: a number has no name, or its name is not among `class_names`.
    """
    used = np.unique(numbers)
    if used[0] < 0 or used[-1] >= len(names):
        wrong = used[0] if used[0] < 0 else used[-1]
        raise ValueError(f"{what}: label {wrong}, and the {len(names)} classes are 0 and on")
    labels = np.zeros(len(names), np.int32)
    labels[used] = labels_of([names[i] for i in used], class_names, what, OF_NUMBERS)
    return labels[numbers]


def check_all_there(numbers: np.ndarray, names: list[str], what: str, are_named: bool) -> None:
    """Looks for classes without an image to train on.

    Told where the classes have names; without names a gap means labels that do not begin at 0, or a part
    of the set alone, and raises ValueError.
    """
    empty = [names[i] for i in np.setdiff1d(np.arange(len(names)), numbers)]
    if empty and not are_named:
        raise ValueError(
            f"{what}: no image of class {some(empty)}, of numbers that begin at 0: if that is how it is to "
            f"be, {OF_NUMBERS}"
        )
    if empty:
        tell_once(f"{what}: no image of {some(empty)}")
