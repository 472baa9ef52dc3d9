"""Recipes of today, not of the networks' own papers, each with its source.

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/recipes.py:resnet18_cifar10 --workdir=runs/resnet18-cifar10

The name after the colon is one of RECIPES. Nobody has run these at full length here.

  resnet18_cifar10  ResNet-18 with a 3x3 stem, 200 epochs, after main.py of github.com/kuangliu/pytorch-cifar, in
                    the version that has batches of 256. One thing differs: pixels are divided by the standard
                    deviations of configs/common.py. Published: 96 % for "standard ResNet-18 training" in the
                    README of github.com/KellerJordan/cifar10-airbench, which does not give its settings; 93.02 %
                    in an early README of pytorch-cifar, by three learning rates over 350 epochs.
  resnet50_cifar10  the same with 50 layers; 93.62 % in that early README, by the same three rates.
"""

from functools import partial

from configs import common, spaces

SEEDS = 3


def cifar10(depth: int):
    config = common.cifar10()
    config.batch_size = 256
    config.total_epochs = 200.0

    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "cosine"
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay = "all"

    config.model = common.model("resnet", depth=depth, stem="small", num_classes=10)
    return config


RECIPES = {
    "resnet18_cifar10": partial(cifar10, 18),
    "resnet50_cifar10": partial(cifar10, 50),
}


def get_config(recipe="resnet18_cifar10"):
    common.one_of("recipes", recipe, RECIPES)
    return RECIPES[recipe]()


def sweep(recipe="resnet18_cifar10"):
    """Returns the recipe over several seeds."""
    return spaces.product({"seed": range(SEEDS)})
