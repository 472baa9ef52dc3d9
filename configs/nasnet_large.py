"""NASNet-A large (6 @ 4032) on ImageNet: Learning Transferable Architectures.

Paper: https://arxiv.org/abs/1707.07012, appendix. What Zoph et al. do not print is from the notes beside
TF-slim's model (research/slim/nets/nasnet/nasnet.py). The paper also evaluates a moving average of the
weights (decay 0.9999), which is not done here.

  python train.py --config=configs/nasnet_large.py --workdir=runs/nasnet_large
  python eval.py --config=configs/nasnet_large.py --workdir=runs/nasnet_large

Published: 17.3 % top-1, 3.8 % top-5 error (82.7 % and 96.2 % accuracy), one crop of 331
(table 2; TF-slim's checkpoint). Not trained here on the full set.
"""

from configs import nasnet_mobile


def get_config():
    config = nasnet_mobile.get_config()  # but for what follows
    config.input.image_size = 331
    config.input.resize = 378  # 0.875 of it is cut out, as in TF-slim

    # Per 256 images: 0.015 * 100 at TF-slim's 1600, 100 replicas of 16.
    config.optimizer.learning_rate = 0.24
    config.optimizer.weight_decay = 5e-5  # TF-slim

    config.model.cells = 6
    config.model.filters = 168  # 4032 / 24
    config.model.stem_filters = 96  # TF-slim
    config.model.skip_reduction = True  # TF-slim
    config.model.drop_path_keep = 0.7  # TF-slim
    return config
