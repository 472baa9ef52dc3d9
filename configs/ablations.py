"""Does the part that a paper adds earn its place? Networks with and without it, over several seeds.

  python scripts/sweep.py --config=configs/ablations.py:shuffle --workdir=runs/ablations/shuffle
  python scripts/ablation.py --workdir=runs/ablations/shuffle        # the report

The name after the colon is one of ABLATIONS; the default is shuffle.

  googlenet      auxiliary classifiers and BatchNorm, on and off; BatchNorm takes the place of response
                 normalisation and biases, and all have the low learning rate of networks without it
  response_norm  AlexNet with and without local response normalisation
  preactivation  the five orders of a residual unit (arXiv:1603.05027, figure 4)
  cardinality    ResNeXt with 1 to 32 paths, widths of equal cost (arXiv:1611.05431, table 3); the first block of
                 a stage costs a little more with more paths, 7 % at most in this small form
  shuffle        ShuffleNet with and without channel shuffle (arXiv:1707.01083, table 3)
  width          MobileNet's width multipliers (arXiv:1704.04861, table 6)

Small forms of the networks (`configs/small.py`) and its recipe, on CIFAR-10 shrunk to 16 x 16, one epoch:
minutes a run on a laptop, and far from the papers' budgets. With a GPU, train longer, on whole images:

  --config.total_epochs=30 --config.batch_size=128
  --config.input.image_size=32 --config.input.resize=32 --config.input.padding=4
"""

from typing import NamedTuple

from configs import common, small, spaces

SEEDS = 3


class Ablation(NamedTuple):
    network: str  # in configs/small.py
    variants: dict[str, dict]  # label -> what differs, fields of the model


ABLATIONS = {
    "googlenet": Ablation(
        "googlenet",
        {
            "neither": {"form": "paper", "aux_heads": False},
            "auxiliary heads (the paper's)": {"form": "paper", "aux_heads": True},
            "BatchNorm": {"form": "batch_norm", "aux_heads": False},
            "BatchNorm and auxiliary heads": {"form": "batch_norm", "aux_heads": True},
        },
    ),
    "response_norm": Ablation(
        "alexnet",
        {
            "without": {"response_norm": "none"},
            "response normalisation": {"response_norm": "across"},
        },
    ),
    "preactivation": Ablation(
        "preact_resnet",
        {
            "original": {"order": "original"},
            "BN after addition": {"order": "bn_after_addition"},
            "ReLU before addition": {"order": "relu_before_addition"},
            "ReLU-only pre-activation": {"order": "relu_only_preactivation"},
            "full pre-activation": {"order": "full_preactivation"},
        },
    ),
    "cardinality": Ablation(
        "resnext",
        {
            f"{paths} x {width}d": {"cardinality": paths, "base_width": width}
            for paths, width in ((1, 64), (2, 40), (4, 24), (8, 14), (32, 4))
        },
    ),
    "shuffle": Ablation(
        "shufflenet",
        {
            f"g = {groups}, {'shuffle' if shuffle else 'no shuffle'}": {
                "groups": groups,
                "shuffle": shuffle,
            }
            for groups in (3, 8)
            for shuffle in (False, True)
        },
    ),
    "width": Ablation(
        "mobilenet",
        {f"{width:g}": {"width_multiplier": width} for width in (0.25, 0.5, 0.75, 1.0)},
    ),
}


def variants(ablation="shuffle") -> dict[str, dict]:
    """Returns label -> the fields of the config that differ."""
    common.one_of("ablations", ablation, ABLATIONS)
    return {
        label: {f"model.{field}": value for field, value in fields.items()}
        for label, fields in ABLATIONS[ablation].variants.items()
    }


def get_config(ablation="shuffle"):
    common.one_of("ablations", ablation, ABLATIONS)
    network = ABLATIONS[ablation].network
    config = small.get_config(network)
    config.total_epochs = 1.0
    config.log_steps = 100
    config.input = common.cifar10().input
    if network != "alexnet":  # whose poolings need 32
        config.input.image_size = config.input.resize = 16
        config.input.padding = 2
    return config


def sweep(ablation="shuffle"):
    """Returns the runs, seed by seed, so that a sweep that is stopped has compared some seeds fully."""
    return spaces.product({"seed": range(SEEDS)}, list(variants(ablation).values()))
