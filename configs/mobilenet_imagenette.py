"""MobileNet's widths and resolutions on small photographs: figure 4 of the paper, within a laptop's reach.

Paper: https://arxiv.org/abs/1704.04861, section 4.2: accuracy against multiply-adds of 16 models, 4 widths
times 4 resolutions, there on ImageNet. Imagenette (https://github.com/fastai/imagenette) at 16 to 32 pixels,
two epochs each, with the recipe of configs/small.py, none of the paper.

  curl -O https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz && tar xzf imagenette2-160.tgz
  python scripts/sweep.py --config=configs/mobilenet_imagenette.py --workdir=runs/mobilenets
  python scripts/sweep.py results --workdir=runs/mobilenets --x=multiply_adds

No figures are published for this.
"""

from configs import small, spaces


def get_config():
    return small.get_config("mobilenet")


def sweep():
    return spaces.product(
        {"model.width_multiplier": (0.125, 0.25, 0.5)},
        spaces.together({"input.image_size": (16, 24, 32), "input.resize": (18, 27, 36)}),
        {"seed": range(3)},
    )
