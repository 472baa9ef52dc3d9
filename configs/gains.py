"""What do the parts of today's recipes gain? ResNet-18 on Imagenette at 64 x 64, each part alone and all together.

  curl -O https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz && tar xzf imagenette2-160.tgz
  python scripts/sweep.py --config=configs/gains.py:small --workdir=runs/gains --parallel=2
  python scripts/ablation.py --workdir=runs/gains        # the report

The name after the colon is one of BUDGETS, epochs and seeds; the default is small. The baseline is
configs/imagenette.py without label smoothing. The values of a part are those of a recipe for ImageNet, and none was
tuned here: label smoothing, mixup, CutMix, TrivialAugment, random erasing and average as in torchvision's for ResNet-50,
RandAugment with torchvision's defaults; binary cross-entropy, stochastic depth and LAMB as in "ResNet strikes back"
(arXiv:2110.00476). All have the same number of epochs, but progressive resizing more of them, for the same time.
No figures are published for this.
"""

from typing import NamedTuple

from configs import common, imagenette, spaces


class Budget(NamedTuple):
    epochs: float
    seeds: int


BUDGETS = {
    "tiny": Budget(2.0, 2),  # to see it work
    "small": Budget(6.0, 3),
    "large": Budget(18.0, 5),
}
BASELINE, TOGETHER = "baseline", "all together, with TrivialAugment"


def variants(budget="small") -> dict[str, dict]:
    """Returns label -> the fields of the config that differ from the baseline's."""
    common.one_of("gains", budget, BUDGETS)
    epochs = BUDGETS[budget].epochs
    steps = 9469 / 64 * epochs
    parts = {
        "label smoothing": {"label_smoothing": 0.1},
        "mixup": {"input.mixup_alpha": 0.2},
        "CutMix": {"input.cutmix_alpha": 1.0},
        "RandAugment": {"input.auto_augment": "ra"},
        "TrivialAugment": {"input.auto_augment": "ta_wide"},
        "random erasing": {"input.random_erase": 0.1},
        # The sum over the classes: the learning rate is for gradients such as the softmax has.
        "binary cross-entropy": {"loss": "bce", "bce_threshold": 0.2, "bce_sum": True},
        "stochastic depth": {"model.drop_path_rate": 0.05},
        # Over 3.9 % of the run, as in torchvision's recipe: 32 / (1 - 0.99891) of 750,600 steps.
        "average of the weights": {"ema_decay": 1 - 1 / (0.039 * steps)},
        "LAMB": {
            "optimizer.name": "lamb",
            # 1.41e-3 at 64 images: A3's 8e-3 at 2,048, by the square root of the batch (arXiv:1904.00962).
            "optimizer.learning_rate": 5.66e-3,
            "optimizer.weight_decay": 0.02,
        },
        # An image takes 5.4 ms of a processor's time at 32 pixels a side, 8.8 at 48 and 12.5 at 64 (medians of 10
        # steps on a core of an AMD EPYC with other work beside, 2026-11-28), so that 1.4 times the epochs take as long.
        "progressive resizing": {
            "input.start_size": 32,
            "input.grow_epochs": (epochs / 4, epochs),
            "input.size_multiple": 16,
            "total_epochs": 1.4 * epochs,
        },
    }
    together = {field: value for part in parts.values() for field, value in part.items()}
    return {BASELINE: {}, **parts, TOGETHER: together}


def get_config(budget="small"):
    common.one_of("gains", budget, BUDGETS)
    config = imagenette.get_config()
    config.total_epochs = BUDGETS[budget].epochs
    config.eval_epochs = 0.0  # after the last step alone
    config.keep_checkpoints = 1
    config.label_smoothing = 0.0

    config.input.image_size = 64
    config.input.resize = 73
    return config


def sweep(budget="small"):
    """Returns the runs, seed by seed, so that a sweep that is stopped has compared some seeds fully."""
    seeds = range(BUDGETS[budget].seeds)
    return spaces.product({"seed": seeds}, list(variants(budget).values()))
