"""Images that are given one by one: files by name, or what Python has of them."""

import os
from collections.abc import Iterable

import numpy as np
from PIL import Image

from data import sources


class Images:
    """A source of images without labels: paths, encoded files, Pillow's images, or uint8 arrays.

    An array is [height, width] or [height, width, 1 or 3].
    """

    class_names = ()

    def __init__(self, images: Iterable):
        self._images = [images] if isinstance(images, str | bytes | os.PathLike) else list(images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int):
        image = self._images[i]
        if isinstance(image, str | os.PathLike):
            return sources.read(os.path.expanduser(image)), 0
        if isinstance(image, Image.Image):
            image = np.asarray(image.convert("RGB"))
        if isinstance(image, np.ndarray):
            return _pixels(image), 0
        return image, 0

    def describe(self, i: int) -> str:
        image = self._images[i]
        return os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {i}"


def _pixels(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(
            f"an array of {image.dtype} {image.shape} is no image: give uint8 [height, width, 1 or 3]"
        )
    return image


def find_images(paths: Iterable[str]) -> list[str]:
    """Returns the files of `paths`, and in place of a folder the images in it and below, sorted.

    What a folder holds beside images is told, by reason.

    Raises:
      FileNotFoundError: there is no such file or folder, or no image in a folder.
    """
    found = []
    for path in map(os.path.expanduser, paths):
        place = sources.path_of(path)
        if place.is_dir():
            found += sources.images_below(path)
        elif place.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no image and no folder {path}")
    return found
