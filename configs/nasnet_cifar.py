"""NASNet-A (6 @ 768) on CIFAR-10: Learning Transferable Architectures for Scalable Image Recognition.

Paper: https://arxiv.org/abs/1707.07012, appendix. What Zoph et al. do not print is from the notes beside
TF-slim's model (research/slim/nets/nasnet/nasnet.py).

  python scripts/prepare_data.py cifar10                      # once
  python train.py --config=configs/nasnet_cifar.py --workdir=runs/nasnet_cifar

Published: 3.41 % test error; 2.65 % with cutout, which is not done here (table 1). Not trained here.
"""

from configs import common


def get_config():
    config = common.cifar10()
    config.batch_size = 32  # TF-slim
    config.total_epochs = 600.0  # TF-slim
    config.aux_weight = 0.4  # TF-slim

    config.optimizer.learning_rate = 0.2  # per 256 images: 0.025 at 32
    config.optimizer.momentum = 0.9  # ours, usual
    config.optimizer.schedule = "cosine"  # TF-slim: one period
    config.optimizer.clip_norm = 5.0  # TF-slim
    config.optimizer.weight_decay = 5e-4  # TF-slim
    config.optimizer.decay = "kernels"  # TF-slim

    config.model = common.model("nasnet", num_classes=10)
    config.model.layout = "cifar"
    config.model.cells = 6
    config.model.filters = 32  # 768 / 24
    config.model.stem_filters = 96  # TF-slim
    config.model.dropout = 0.0  # TF-slim
    config.model.drop_path_keep = 0.6  # TF-slim
    config.model.epsilon = 1e-5  # TF-slim, as is bn_momentum
    config.model.bn_momentum = 0.9
    return config
