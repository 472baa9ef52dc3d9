"""The NASNet search at the paper's size, for clusters: Learning Transferable Architectures (arXiv:1707.07012).

  python scripts/nas.py --config=configs/nas/nasnet.py --workdir=/shared/nasnet --parallel=8
  python train.py --config=configs/nas/nasnet.py --config.model.genotype=/shared/nasnet/ppo.json

Five blocks a cell, 13 operations, addition or concatenation; each child a run of train.py, 20 epochs of a
network with N = 2 and F = 32 on 45,000 images of CIFAR-10; 20,000 children. The paper took 2,000 GPU-days for
it. Nobody has run this here.
"""

from ml_collections import ConfigDict

from configs import nasnet_cifar
from configs.nas import common as nas


def get_config():
    config = nasnet_cifar.get_config()  # 6 @ 768: what the paper trains at the end
    config.nas = nas.get_config()
    config.nas.methods = ("ppo", "random")
    config.nas.seeds = 1
    config.nas.asks = 20_000
    config.nas.batch = 20
    config.nas.children = "runs"
    config.nas.validation = 10  # 5,000 images
    config.nas.space.operations = (
        "id", "conv1x3_3x1", "conv1x7_7x1", "dil3", "avg", "max", "max5", "max7",
        "conv1", "conv3", "sep3", "sep5", "sep7",
    )  # fmt: skip
    config.nas.space.combiners = ("add", "concat")
    config.nas.proxy = ConfigDict(
        {
            "total_epochs": 20.0,
            "model": {
                "cells": 2,
                "aux_head": False,
                "drop_path_keep": 1.0,
            },  # ours: no regularisers
        }
    )
    config.nas.ppo.learning_rate = 3.5e-4
    config.nas.ppo.entropy = 1e-5
    config.nas.evolution.population = 100  # arXiv:1802.01548
    config.nas.evolution.sample = 25
    config.nas.final.cells = ("nasnet_a", "amoebanet_a", "enas")
    config.nas.final.networks = ()
    return config
