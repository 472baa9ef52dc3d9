"""Few photographs: is a network that was published for other images a better start than none?

  python scripts/sweep.py --config=configs/transfer.py --workdir=runs/transfer \\
      --config.input.source=folder:imagenette2-160
  python scripts/transfer.py --workdir=runs/transfer        # the report

ResNet-20 at 32 x 32 on about 10, 30 and 100 photographs a class of Imagenette, from the weights that
akamaster published for CIFAR-10 by the recipe of configs/finetune.py, and from nothing by that of
configs/small.py, equally many steps. A seed draws photographs of its own, the same for both.
"""

from configs import common, finetune, small

SEEDS = 5
CLASSES = 10
PER_CLASS = (10, 30, 100)
PUBLISHED, SCRATCH = "CIFAR-10's weights", "from scratch"
WEIGHTS = "akamaster/resnet20:resnet20-12fca82f.th"


def get_config():
    config = finetune.get_config()
    config.init = WEIGHTS
    config.total_steps = 300
    config.eval_steps = 300
    config.checkpoint_steps = 300
    config.keep_checkpoints = 1
    config.input.source = "folder:imagenette2-160"
    config.input.eval_split = "val"
    config.input.image_size = 32  # as the weights have seen images, in both
    config.input.resize = 32
    config.input.mean = common.IMAGENET_MEAN
    config.input.std = common.IMAGENET_STD
    config.model = small.get_config("resnet").model
    config.model.num_classes = CLASSES
    config.model.shortcut_zeros = "around"  # as akamaster has them
    return config


def sweep():
    """Returns the runs, seed by seed, so that a sweep that is stopped has compared some seeds fully."""
    recipe = small.get_config("resnet").optimizer
    from_scratch = {"init": ""} | {f"optimizer.{k}": v for k, v in differing(recipe).items()}
    return [
        {"seed": seed, "input.train_split": photographs(seed, number), **start}
        for seed in range(SEEDS)
        for number in PER_CLASS
        for start in ({}, from_scratch)
    ]


def differing(recipe) -> dict:
    """Returns the fields of an optimizer that are other than those of configs/finetune.py."""
    ours = finetune.get_config().optimizer
    return {field: value for field, value in recipe.items() if ours[field] != value}


def photographs(seed: int, per_class: int) -> str:
    """Returns the split: a part of the training images of which no two seeds of one size share any."""
    number = CLASSES * per_class
    return f"train[{seed * number}:{(seed + 1) * number}]"
