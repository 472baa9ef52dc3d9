"""The fields that every search has, and the small network of cells that searches on two cores train."""

from ml_collections import ConfigDict

from configs import common


def network(config: ConfigDict, name: str, file: str) -> None:
    """Sets config.model to cells of which a search compiles all at once, or to the ResNet-8 beside them.

    Args:
      config: of the images and the training.
      name: "nasnet" or "resnet".
      file: of the config, for the message.

    Raises:
      ValueError: it is neither.
    """
    common.one_of(file, name, ("nasnet", "resnet"))
    if name == "resnet":
        config.model = common.model("resnet", num_classes=10, depth=8, layout="cifar", shortcut="A")
        return
    config.model = common.model(
        "nasnet",
        num_classes=10,
        layout="cifar",
        cells=1,
        filters=16,
        stem_filters=16,
        aux_head=False,
        dropout=0.0,
        epsilon=1e-5,
        bn_momentum=0.9,
    )


def short_training(batch_size: int, total_steps: int, learning_rate: float) -> ConfigDict:
    """Returns nas.proxy for such cells: the learning rate is constant, so that weights can be shared, too."""
    return ConfigDict(
        {
            "batch_size": batch_size,
            "total_steps": total_steps,
            "optimizer": {
                "schedule": "constant",
                "warmup_epochs": 0.0,
                "weight_decay": 0.0,
                "learning_rate": learning_rate,
            },
            "model": {"filters": 8, "stem_filters": 8},
        }
    )


def get_config() -> ConfigDict:
    """Returns the section `nas` of a config; the rest of the config trains what the search has found."""
    nas = ConfigDict()
    nas.methods = ("random", "evolution", "reinforce", "ppo")
    nas.seeds = 5  # searches of each method
    nas.asks = 100  # genotypes that a search asks for
    nas.batch = 10  # of them at a time: what a controller learns from at once
    nas.children = "compiled"  # all children in one network; "runs": each a run of train.py
    nas.validation = 20  # per cent of the training images that reward, and do not train, a child
    nas.proxy = ConfigDict()  # what of the config is different for a child

    nas.space = ConfigDict()
    nas.space.kind = "cells"  # "layers": the space of Zoph and Le
    nas.space.nodes = 5
    nas.space.operations = ("id", "avg", "max", "sep3", "sep5")  # ENAS's; NASNet's are 13
    nas.space.combiners = ("add",)  # and "concat", which children in one compiled network have not

    # The reward is accuracy * (cost / target) ** exponent (arXiv:1807.11626, equation 2), with a
    # negative exponent; 0: accuracy alone.
    nas.objective = ConfigDict()
    nas.objective.cost = "multiply_adds"  # or "parameters"; "": costs are not counted
    nas.objective.target = 0.0
    nas.objective.exponent = 0.0

    nas.evolution = ConfigDict()
    nas.evolution.population = 50
    nas.evolution.sample = 15
    nas.reinforce = ConfigDict()
    nas.reinforce.hidden = 100  # arXiv:1707.07012
    nas.reinforce.learning_rate = 0.005  # ours, for hundreds of children, not tens of thousands
    nas.reinforce.entropy = 0.01  # ours, as before
    nas.reinforce.baseline = 0.95  # arXiv:1707.07012
    nas.ppo = nas.reinforce.copy_and_resolve_references()
    nas.ppo.learning_rate = 0.002  # ours
    nas.ppo.passes = 4  # ours
    nas.ppo.clip = 0.2  # arXiv:1707.06347

    # Weight sharing, after ENAS (arXiv:1802.03268).
    nas.sharing = ConfigDict()
    nas.sharing.seeds = 0  # searches; 0: none
    nas.sharing.method = "reinforce"  # the controller, with its fields
    nas.sharing.rounds = 20  # of training the weights, then the controller
    nas.sharing.steps = 100  # of the weights in a round
    nas.sharing.clip_norm = 5.0  # of all their gradients together; ours. 0: no clipping
    nas.sharing.batches = 10  # of the controller in a round, of nas.batch genotypes each
    nas.sharing.final = 20  # genotypes drawn at the end; the best of them is trained alone
    nas.sharing.ranked = 40  # children trained alone, to compare the rankings

    # What is trained at the end, by train.py: networks of about `final.parameters` parameters.
    nas.final = ConfigDict()
    nas.final.parameters = 0  # 0: as many as config.model gives
    nas.final.seeds = 3  # trainings of each network
    nas.final.searches = 1  # of each method, the best first: what each of them found
    nas.final.drawn = 1  # genotypes that nobody chose, to see what a search is worth
    nas.final.cells = ("nasnet_a", "amoebanet_a", "enas")  # published, of models/genotypes
    nas.final.networks = ("resnet",)  # made by hand: CONFIG.py:NETWORK
    return nas
