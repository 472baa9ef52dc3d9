"""Plain against residual networks of 20 and 56 layers: the depth experiment on the embedded digits.

Paper: https://arxiv.org/abs/1512.03385, section 4.2 and figure 6 (there on CIFAR-10). The two kinds have
the same layers and the same parameters (shortcut A has none) and differ in one field.

  python scripts/sweep.py --config=configs/depth.py --workdir=runs/depth --launcher=local
"""

from configs import digits, spaces


def get_config():
    return digits.get_config()


def sweep():
    return spaces.product(
        {"model.residual": (False, True), "model.depth": (20, 56), "seed": range(5)}
    )
