"""Published weights: where they lie, what they expect of images, how good they are said to be.

published.csv has a row for each; tests/record_published.py makes it, and says what the facts are from.
"""

import csv
import dataclasses
import difflib
import functools
import importlib.resources


@dataclasses.dataclass(frozen=True)
class Published:
    """Weights that anyone can fetch, and what their publisher says of them."""

    name: str  # LIBRARY/MODEL.TAG, or LIBRARY/MODEL where a library has one file a model
    address: str  # https://..., or hf:REPOSITORY/FILE on the Hugging Face hub
    digest: str  # "sha256:" or "sha1:" and hexadecimal digits, at least the first 8; "" where none is known
    parameters: int  # without those of auxiliary heads
    image_size: int  # what the network sees of an image, pixels
    resize: int  # before the centre of it is cut out, pixels of the shorter side
    interpolation: str  # of that resize: "bilinear" or "bicubic"
    squash: bool  # that resize makes a square of the whole image
    mean: tuple[float, ...]  # of pixels from 0 to 1, red, green, blue
    std: tuple[float, ...]
    top1: (
        float | None
    )  # percent right of the data's validation or test images, each seen as above, once
    top5: float | None
    data: str  # whose classes it knows: "imagenet", "cifar10", "cifar100" or "svhn"
    licence: str  # of the weights; "" where their publisher states none
    source: str  # of the facts


@functools.cache
def networks() -> dict[str, Published]:
    """Returns all published weights by name.

    Of a model the first are timm's default ones, and torchvision's oldest, IMAGENET1K_V1: those of the
    papers' recipe, which its `pretrained=True` meant before there were others.
    """
    with (importlib.resources.files("models.torch") / "published.csv").open(
        encoding="utf-8"
    ) as file:
        return {row["name"]: _parsed(row) for row in csv.DictReader(file)}


def find(name: str) -> Published | None:
    """Returns the published weights of that name: LIBRARY/MODEL.TAG, or LIBRARY/MODEL for its first ones."""
    if name in networks():
        return networks()[name]
    return next((one for one in networks().values() if one.name.startswith(f"{name}.")), None)


def near(name: str) -> str:
    """Returns " (did you mean timm/resnet50?)" for a name like that of published weights, else ""."""
    known = dict.fromkeys(one.partition(".")[0] for one in networks())
    model = name.rpartition("/")[2]
    found = [one for one in known if one.endswith(f"/{model}")]  # of another library
    found = found or difflib.get_close_matches(name, known | networks(), n=2, cutoff=0.75)
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def _parsed(row: dict[str, str]) -> Published:
    """Returns the network of a row of the table."""
    numbers = {field: int(row[field]) for field in ("parameters", "image_size", "resize")}
    colours = {field: tuple(map(float, row[field].split())) for field in ("mean", "std")}
    percent = {field: float(row[field]) if row[field] else None for field in ("top1", "top5")}
    return Published(**row | numbers | colours | percent | {"squash": row["squash"] == "yes"})
