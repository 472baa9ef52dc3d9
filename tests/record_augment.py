"""Makes tests/augment.npz: what torchvision's and timm's own augmentations do to small images.

  pip install torch torchvision timm
  python tests/record_augment.py

None is needed to run the tests: they compare pixels where an augmentation is a function of numbers that
are given, and distributions where it draws them.
"""

import itertools
import pathlib
import random

import numpy as np

FILE = pathlib.Path(__file__).parent / "augment.npz"
SIZE = 32, 48
DRAWS = 20_000
QUANTILES = np.linspace(0, 1, 101)
FILL = 124, 116, 104
FACTORS = {"brightness": 1.3, "contrast": 0.6, "saturation": 1.7, "hue": 0.2}
BINS = 9, 30  # of the magnitudes, of which torchvision has 31
TIMM_MAGNITUDES = 3.7, 9.8  # at 10 Pillow refuses Posterize
EVERY = 3  # pixel of timm's is stored


def photographs() -> np.ndarray:
    """Returns uint8 [4, 24, 20, 3]: noise, a slope, dark noise of few values, and one colour."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (24, 20, 3))
    slope = np.stack(np.meshgrid(np.arange(20) * 9, np.arange(24) * 7), -1).sum(-1) // 2
    slope = np.stack([slope, 200 - slope // 2, 30 + slope // 3], -1)
    dark = rng.integers(20, 60, (24, 20, 3)) // 5 * 5
    colour = np.full((24, 20, 3), (200, 100, 50))
    return np.stack([noise, slope, dark, colour]).astype(np.uint8)


def boxes(erased: np.ndarray) -> dict[str, np.ndarray]:
    """Returns how masks [draws, height, width] of boxes are distributed."""
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    whole = rows > 0
    return {
        "area": np.quantile(erased.mean((1, 2)), QUANTILES),
        "aspect": np.quantile(np.log(rows[whole] / columns[whole]), QUANTILES),
        "places": erased.mean(0).astype(np.float32),
    }


def main() -> None:
    import timm.data
    import torch
    from timm.data.random_erasing import RandomErasing
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode, autoaugment, functional

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    recorded = {}

    mixup = timm.data.Mixup(mixup_alpha=0.2, cutmix_alpha=0.0)
    shares = [mixup._params_per_batch()[0] for _ in range(DRAWS)]
    recorded["mixup/share"] = np.quantile(shares, QUANTILES)
    pasted = np.zeros((DRAWS, *SIZE), bool)
    for mask in pasted:
        share = np.random.beta(1.0, 1.0)
        (top, bottom, left, right), _ = timm.data.mixup.cutmix_bbox_and_lam((3, *SIZE), share)
        mask[top:bottom, left:right] = True
    recorded |= {f"cutmix/{name}": value for name, value in boxes(pasted).items()}

    erase = RandomErasing(probability=0.6, mode="const", device="cpu")
    erased = erase(torch.ones(DRAWS, 1, *SIZE))[:, 0].numpy() == 0
    recorded |= {f"erasing/{name}": value for name, value in boxes(erased).items()}

    images = torch.from_numpy(photographs()).permute(0, 3, 1, 2)
    for order in itertools.permutations(FACTORS):
        jittered = images / 255
        for name in order:
            jittered = getattr(functional, f"adjust_{name}")(jittered, FACTORS[name])
        recorded[f"jitter/{' '.join(order)}"] = jittered.permute(0, 2, 3, 1)[:, ::5, ::5].numpy()

    for policy in (transforms.RandAugment(), transforms.TrivialAugmentWide()):
        sizes = [(24, 20)] if isinstance(policy, transforms.RandAugment) else []
        for name, (values, signed) in policy._augmentation_space(31, *sizes).items():
            values = values.double().numpy() * np.ones(31)
            made = f"{type(policy).__name__}/{name}"
            recorded[f"space/{made}"] = np.array([*values, signed])
            for number, sign in itertools.product(BINS, (1, -1) if signed else (1,)):
                changed = autoaugment._apply_op(
                    images, name, sign * float(values[number]), InterpolationMode.NEAREST, None
                )
                recorded[f"{made}/{sign * number}"] = changed.permute(0, 2, 3, 1).numpy()
    np.savez_compressed(FILE, **recorded | of_timm())


def of_timm() -> dict[str, np.ndarray]:
    """Returns what each operation of timm's RandAugment does, by "timm/NAME/MAGNITUDE/SIGN"."""
    from PIL import Image
    from timm.data import auto_augment

    recorded = {}
    names = auto_augment.rand_augment_choices("", increasing=True)
    for name, magnitude, sign in itertools.product(names, TIMM_MAGNITUDES, (1, -1)):
        auto_augment._randomly_negate = lambda value, sign=sign: sign * value
        options = {"img_mean": FILL, "interpolation": Image.Resampling.BILINEAR}
        change = auto_augment.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams=options)
        changed = [np.array(change(Image.fromarray(image))) for image in photographs()]
        changed = np.stack(changed)[:, ::EVERY, ::EVERY]
        made = f"timm/{name}/{magnitude}"
        if sign == 1 or (changed != recorded[f"{made}/1"]).any():
            recorded[f"{made}/{sign}"] = changed
    return recorded


if __name__ == "__main__":
    main()
