"""A search for cells on scikit-learn's handwritten digits: minutes on two cores.

  python scripts/nas.py --config=configs/nas/digits.py --workdir=runs/nas
  python train.py --config=configs/nas/digits.py --config.model.genotype=runs/nas/ppo.json

The first searches, and reports. The second trains one cell, as the search does at its end;
configs/nas/digits.py:resnet is a network made by hand.
"""

from configs import digits
from configs.nas import common as nas


def get_config(network="nasnet"):
    config = digits.get_config()
    nas.network(config, network, "nas/digits")

    config.nas = nas.get_config()
    config.nas.asks = 30
    config.nas.batch = 5
    config.nas.objective.cost = ""  # counting would take longer than the training
    config.nas.space.nodes = 4
    config.nas.proxy = nas.short_training(batch_size=16, total_steps=80, learning_rate=0.4)
    config.nas.evolution.population = 20
    config.nas.evolution.sample = 5
    config.nas.sharing.seeds = 2
    config.nas.final.seeds = 1
    config.nas.final.cells = ("nasnet_a",)
    config.nas.final.parameters = 78_000  # of ResNet-8, the embedded default
    return config
