"""NASNet-A large (6 @ 4032) on ImageNet: Learning Transferable Architectures.

Paper: https://arxiv.org/abs/1707.07012, appendix. What Zoph et al. do not print is from the notes beside
TF-slim's model (research/slim/nets/nasnet/nasnet.py). The paper also evaluates a moving average of the
weights (decay 0.9999), which is not done here.

  python train.py --config=configs/nasnet_large.py --workdir=runs/nasnet_large
  python eval.py --config=configs/nasnet_large.py --workdir=runs/nasnet_large

Published: 17.3 % top-1, 3.8 % top-5 error (82.7 % and 96.2 % accuracy), one crop of 331
(table 2; TF-slim's checkpoint). Not trained here on the full set.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 1600  # TF-slim: 100 replicas of 16, in step
    config.total_steps = 250_000  # TF-slim: the length that ScheduledDropPath assumes
    config.label_smoothing = 0.1
    config.aux_weight = 0.4

    config.input.source = "tfds:imagenet2012"
    config.input.image_size = 331
    config.input.resize = 378  # 0.875 of it is cut out, as in TF-slim
    config.input.crop = "random_resized"
    config.input.min_area = 0.08  # ours, as are the colours: Inception's, about TF-slim's
    config.input.color_jitter = 0.4
    config.input.mean = (0.5, 0.5, 0.5)  # -1 to 1, as in TF-slim
    config.input.std = (0.5, 0.5, 0.5)

    config.optimizer.name = "rmsprop"
    config.optimizer.rms_decay = 0.9
    config.optimizer.epsilon = 1.0
    config.optimizer.momentum = 0.9  # ours, usual beside them
    # Per 256 images: 0.015 * 100 at TF-slim's 1600.
    config.optimizer.learning_rate = 0.24
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_factor = 0.97  # every 2.4 epochs, TF-slim
    config.optimizer.decay_epochs = 2.4
    config.optimizer.clip_norm = 10.0  # TF-slim
    config.optimizer.weight_decay = 5e-5  # TF-slim
    config.optimizer.decay = "kernels"  # TF-slim: depthwise ones, too

    config.model = common.model("nasnet", num_classes=1000)
    config.model.cells = 6
    config.model.filters = 168  # 4032 / 24
    config.model.stem_filters = 96  # TF-slim
    config.model.skip_reduction = True  # TF-slim
    config.model.drop_path_keep = 0.7  # TF-slim
    config.model.dropout = 0.5
    return config
