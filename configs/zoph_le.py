"""A network of the space of Neural Architecture Search with Reinforcement Learning, on CIFAR-10.

Paper: https://arxiv.org/abs/1611.01578. The recipe is that of the networks during the search.

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/zoph_le.py --workdir=runs/zoph_le \\
      --config.model.genotype="[[3, 3, 36, 1, []], [5, 5, 48, 1, [1]], [3, 7, 48, 1, [1, 2]]]"

Without a genotype the network is a chain of six layers, which is ours. Published, for genotypes that are
not here: 5.50 % test error of 15 layers, 6.01 % of 20 with strides, 4.47 % of 39 with pooling. Not
trained here.
"""

from configs import common


def get_config():
    config = common.cifar10()  # the augmentation is ours
    config.batch_size = 128  # ours
    config.total_epochs = 50.0  # the paper

    config.optimizer.learning_rate = 0.2  # per 256 images: the paper's 0.1 at our 128
    config.optimizer.momentum = 0.9  # the paper
    config.optimizer.nesterov = True  # the paper
    config.optimizer.schedule = "constant"  # ours
    config.optimizer.weight_decay = 1e-4  # the paper
    config.optimizer.decay = "kernels"  # ours

    config.model = common.model("zoph_le", num_classes=10)
    return config
