"""Makes tests/pixels.npz: the pixels that torchvision's and timm's own transforms hand to a network.

  pip install torch torchvision timm
  python tests/record_pixels.py

None is needed to run the tests: they make the same files from the rule and compare. Of each image a grid of
GRID x GRID pixels is stored, from corner to corner.
"""

import io
import json
import math
import pathlib
import zlib

import numpy as np
from PIL import Image

FILE = pathlib.Path(__file__).parent / "pixels.npz"
GRID = 16
IMAGES = {  # height and width
    "landscape.png": (187, 301),
    "portrait.jpg": (431, 267),
    "square.png": (256, 256),  # as large as many are resized to
    "smaller than the crop.png": (61, 90),
    "smaller than the crop.jpg": (151, 120),
    "strip.png": (40, 333),
    "large.jpg": (603, 800),
}
TORCHVISION = (
    "ResNet50_Weights.IMAGENET1K_V1",
    "ResNet50_Weights.IMAGENET1K_V2",
    "GoogLeNet_Weights.IMAGENET1K_V1",
    "VGG16_Weights.IMAGENET1K_FEATURES",  # 0 to 255, less the mean
)
TIMM = (  # network, whether at the size for its best accuracy, crop_mode
    ("densenet121.tv_in1k", False, "center"),
    ("resnet50.tv2_in1k", True, "center"),
    ("resnet50.a1_in1k", False, "center"),
    ("resnet50.a1_in1k", True, "center"),
    ("mobilenetv1_100.ra4_e3600_r224_in1k", True, "center"),
    ("nasnetalarge.tf_in1k", False, "center"),
    ("densenet121.tv_in1k", False, "squash"),
    ("resnet50.tv2_in1k", True, "squash"),
    ("resnet50.a1_in1k", True, "squash"),
)


def files() -> dict[str, bytes]:
    """Returns the encoded images of the rule: blocks with sharp edges, and noise.

    Neither is black or white, which a bicubic filter would exceed: what is cut off then depends on which
    side Pillow resizes first, and that on its version.
    """
    encoded = {}
    for name, (height, width) in IMAGES.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        blocks = rng.integers(0, 256, (height // 20 + 1, width // 20 + 1, 3))
        blocks = blocks.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]
        pixels = 64 + (2 * blocks + rng.integers(0, 256, blocks.shape)) // 6
        file = io.BytesIO()
        kind = "PNG" if name.endswith("png") else "JPEG"
        Image.fromarray(pixels.astype(np.uint8)).save(file, kind, quality=90)
        encoded[name] = file.getvalue()
    return encoded


def grid(pixels: np.ndarray) -> np.ndarray:
    """Returns the part [..., GRID, GRID, channels] of images [..., size, size, channels] that is stored."""
    chosen = np.linspace(0, pixels.shape[-2] - 1, GRID).round().astype(int)
    return pixels[..., chosen[:, None], chosen, :]


def of_torchvision(name: str):
    """Returns a transform, and what it says of itself as fields of the section `input` of a config."""
    from torchvision import models

    weights, version = name.split(".")
    transform = models.get_weight(f"{weights}.{version}").transforms()
    return transform, {
        "image_size": transform.crop_size[0],
        "resize": transform.resize_size[0],
        "interpolation": transform.interpolation.value,
        "squash": False,
        "mean": transform.mean,
        "std": transform.std,
    }


def of_timm(name: str, use_test_size: bool, crop_mode: str):
    """Returns what `of_torchvision` does."""
    import timm.data

    published = timm.get_pretrained_cfg(name).to_dict()
    config = timm.data.resolve_data_config(pretrained_cfg=published, use_test_size=use_test_size)
    transform = timm.data.create_transform(**config | {"crop_mode": crop_mode})
    size = config["input_size"][-1]
    return transform, {
        "image_size": size,
        "resize": math.floor(size / config["crop_pct"]),
        "interpolation": config["interpolation"],
        "squash": crop_mode == "squash",
        "mean": config["mean"],
        "std": config["std"],
    }


def main() -> None:
    import timm
    import torchvision

    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files().values()]
    made = {f"torchvision/{name}": of_torchvision(name) for name in TORCHVISION}
    for name, use_test_size, crop_mode in TIMM:
        transform, fields = of_timm(name, use_test_size, crop_mode)
        made[f"timm/{name}, {fields['image_size']}, {crop_mode}"] = transform, fields
    recorded = {}
    for name, (transform, fields) in made.items():
        seen = np.stack([transform(image).numpy().transpose(1, 2, 0) for image in images])
        levels = 255 * (seen * fields["std"] + fields["mean"])
        assert abs(levels - levels.round()).max() < 1e-3, name
        recorded[name] = grid(levels.round().astype(np.uint8))
        print(name, fields, flush=True)
    made_by = {m.__name__: m.__version__ for m in (torchvision, timm)}
    fields = {name: fields for name, (_, fields) in made.items()}
    np.savez_compressed(FILE, made_by=json.dumps(made_by), fields=json.dumps(fields), **recorded)


if __name__ == "__main__":
    main()
