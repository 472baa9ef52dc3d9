"""Sets of Hugging Face's library `datasets`: a folder of parquet files, a saved set, or one of the hub."""

import os
import sys

import numpy as np

from data.sources.files import read
from data.sources.labels import OF_NUMBERS, by_number, check_all_there, labels_of, names_of


class HuggingFace:
    """A split of such a set, whose images are read one by one from the library's memory-mapped tables.

    The label is a ClassLabel, which names the classes; an integer; or a text, and then the classes are
    the training split's texts, sorted.
    """

    def __init__(
        self,
        name: str,
        split: str,
        train_split: str,
        columns: tuple[str, str] = ("", ""),
        classes: str = "",
        class_names: list[str] | None = None,
    ):
        """Opens the set, and reads its labels.

        Args:
          name: NAME or NAME:CONFIG of the hub, or a folder.
          split: to read.
          train_split: the split that says which classes there are, where the label's column does not.
          columns: of image and label, each "" where only one fits.
          classes: what numbers mean, see `names_of`; by default what the set says.
          class_names: of the network, which the labels then have.

        Raises:
          ValueError: `datasets` is not installed, the set has no such split or columns, or an image no label.
          FileNotFoundError: there is no such set.
        """
        what = f"hf:{name}, {split}"
        sets = _open(name)
        if split not in sets:
            raise ValueError(
                f"hf:{name} has no split {split!r}, but {', '.join(sets)} (see input.train_split and "
                'input.eval_split; "train[:80%]" and "train[80%:]" cut one)'
            )
        features = sets[split].features
        image = _column(what, "image", columns[0], _images(features), features)
        label = _column(what, "label", columns[1], _labels(features), features)
        values = _values(sets[split], label, what)
        names = names_of(classes) if classes else getattr(features[label], "names", None)
        are_named = names is not None
        if not are_named:
            of_training = sets.get(train_split, sets[split])
            names = _names(_values(of_training, label, f"hf:{name}, {train_split}"))
        if isinstance(values[0], str):
            values = labels_of(values, names, what, OF_NUMBERS)
        numbers = np.array(values)
        if split == train_split:
            check_all_there(numbers, names, what, are_named)
        self.class_names = class_names or names
        self.labels = by_number(numbers, names, self.class_names, what)
        self._images = _encoded(sets[split], image)
        self._column, self._what = image, what

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        image = self._images[int(i)][self._column]
        if isinstance(image, dict):
            image = image["bytes"] or (image["path"] and read(image["path"]))
        if not image:
            raise ValueError("no image in this row")
        return image, int(self.labels[i])

    def describe(self, i: int) -> str:
        return f"{self._what}, row {i}"


def _open(name: str):
    """Returns the splits of a set by name."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError("hf: needs the library datasets: pip install -e '.[hf]'") from error
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # its errors come as exceptions, too
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    path = os.path.expanduser(name)
    try:
        if not os.path.isdir(path):
            hub, _, config = name.partition(":")
            return datasets.load_dataset(hub, config or None)
        if os.path.exists(os.path.join(path, "dataset_dict.json")):
            return datasets.load_from_disk(path)
        if os.path.exists(os.path.join(path, "state.json")):
            return {"train": datasets.load_from_disk(path)}
        return datasets.load_dataset(path)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"hf:{name} is no folder of this disk with images in parquet files, and no set that is in the "
            f"cache or can be had from the hub ({error})"
        ) from error
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        raise ValueError(f"hf:{name} cannot be read: {error.__cause__ or error}") from error


def _images(features) -> list[str]:
    """Returns the columns that hold images: by their type, or files as bytes, alone or beside a path."""
    import datasets

    binary = [datasets.Value("binary"), datasets.Value("large_binary")]
    typed = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    return typed or [
        name
        for name, kind in features.items()
        if kind in binary or (isinstance(kind, dict) and kind.get("bytes") in binary)
    ]


def _labels(features) -> list[str]:
    """Returns the columns of classes: by their type, or by the name that labels usually have."""
    import datasets

    typed = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    return typed or [name for name in ("label", "labels", "class", "cls") if name in features]


def _column(what: str, role: str, given: str, found: list[str], features) -> str:
    """Returns the column that is given, or the only one found; raises ValueError for none or several."""
    if given in features:
        return given
    if given or len(found) != 1:
        raise ValueError(
            f"{what}: "
            + (f"no column {given!r}" if given else f"{len(found)} columns may be the {role}")
            + f": name one of {', '.join(features)} by --config.input.{role}_column"
        )
    return found[0]


def _values(rows, column: str, what: str) -> list[int] | list[str]:
    """Returns a column of labels; raises ValueError where one is missing, or they are no labels."""
    values = rows.select_columns([column]).with_format("arrow")[:][column].to_pylist()
    missing = sum(value is None for value in values)
    if missing:
        raise ValueError(f"{what}: {missing:,} images have no {column}")
    if type(values[0]) not in (int, str):
        raise ValueError(
            f"{what}: column {column} holds {values[0]!r}, no number or name of a class"
        )
    return values


def _names(values: list[int] | list[str]) -> list[str]:
    if isinstance(values[0], str):
        return sorted(set(values))
    return [str(number) for number in range(max(values) + 1)]


def _encoded(rows, column: str):
    """Returns rows with the files of their images, which the library would decode otherwise."""
    import datasets

    rows = rows.select_columns([column])
    if isinstance(rows.features[column], datasets.Image):
        return rows.cast_column(column, datasets.Image(decode=False))
    return rows
