"""Plain against residual networks of growing depth: the experiment of deep residual learning.

Paper: https://arxiv.org/abs/1512.03385, sections 4.1 and 4.2, figures 4 and 6. The two kinds have the same
layers and the same parameters (shortcut A has none) and differ in one field, `model.residual`.

  python scripts/depth_experiment.py --preset=quick          # trains all, writes the report
  python scripts/sweep.py --config=configs/depth.py:paper --workdir=DIR --launcher=slurm  # on a cluster

The name after the colon is one of PRESETS; the default is quick.

  quick     the embedded digits, 20 and 56 layers, minutes a seed on two cores
  laptop    CIFAR-10 shrunk to 16 x 16, 20 and 56 layers, 24 epochs: about a night on two cores
  paper     CIFAR-10 as in section 4.2: 20, 32, 44, 56 and 110 layers, 64,000 steps
  imagenet  ImageNet as in section 4.1: 18 and 34 layers

All networks of a preset share one schedule. So all warm up, where the paper warms up 110 layers alone. The
short run of laptop has a cosine schedule, and batches of 32 for more steps: residual networks of 56 layers
begin more slowly than those of 20.
The paper found its length on a split into 45,000 and 5,000 images; here all 50,000 are trained on.
"""

from typing import NamedTuple

from configs import cifar10, common, digits, resnet, spaces


class Preset(NamedTuple):
    depths: tuple[int, ...]
    seeds: int
    epochs: float
    evaluations: int  # over the run, of test and training images


PRESETS = {
    "quick": Preset((20, 56), seeds=5, epochs=30.0, evaluations=10),
    "laptop": Preset((20, 56), seeds=3, epochs=24.0, evaluations=6),
    "paper": Preset((20, 32, 44, 56, 110), seeds=5, epochs=64_000 * 128 / 50_000, evaluations=20),
    "imagenet": Preset((18, 34), seeds=3, epochs=90.0, evaluations=18),
}


def get_config(preset="quick"):
    common.one_of("depth", preset, PRESETS)
    depths, _, epochs, evaluations = PRESETS[preset]
    if preset == "quick":
        config = digits.get_config()
        config.optimizer.warmup_epochs = 5.0  # with 1, some ResNets of 56 layers lag at the end
    elif preset == "imagenet":
        config = resnet.get_config()
        config.model = common.model("resnet", depth=depths[0], num_classes=1000)
    else:
        config = cifar10.get_config()
        config.optimizer.warmup_factor = 0.1  # section 4.2: 0.01 for about 400 iterations
        config.optimizer.warmup_epochs = 400 * 128 / 50_000
    if preset == "laptop":
        config.batch_size = 32
        config.log_steps = 400
        config.input.image_size = config.input.resize = 16
        config.input.padding = 2
        config.optimizer.schedule = "cosine"
        config.optimizer.warmup_epochs = 1.0
    config.model.depth = depths[0]
    config.model.shortcut = "A"
    config.eval_train = True
    config.keep_checkpoints = 2 if preset == "imagenet" else evaluations
    config.update(length(epochs, evaluations))
    return config


def length(epochs: float, evaluations: int) -> dict:
    """Returns the fields that make a run so long, with evenly spaced evaluations and checkpoints."""
    return {
        "total_steps": 0,
        "total_epochs": float(epochs),
        "eval_steps": 0,
        "eval_epochs": epochs / evaluations,
        "checkpoint_steps": 0,
        "checkpoint_epochs": epochs / evaluations,
    }


def sweep(preset="quick", depths=(), seeds=0):
    """Returns the runs, seed by seed, so that a sweep that is stopped has compared some seeds fully."""
    chosen = PRESETS[preset]
    return spaces.product(
        {
            "seed": range(seeds or chosen.seeds),
            "model.depth": depths or chosen.depths,
            "model.residual": (False, True),
        }
    )
