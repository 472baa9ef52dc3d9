"""NASNet-A mobile (4 @ 1056) on ImageNet: Learning Transferable Architectures.

Paper: https://arxiv.org/abs/1707.07012, appendix. What Zoph et al. do not print is from the notes beside
TF-slim's model (research/slim/nets/nasnet/nasnet.py). The paper also evaluates a moving average of the
weights (decay 0.9999), which is not done here.

  python train.py --config=configs/nasnet_mobile.py --workdir=runs/nasnet_mobile
  python eval.py --config=configs/nasnet_mobile.py --workdir=runs/nasnet_mobile

Published: 26.0 % top-1, 8.4 % top-5 error (74.0 % and 91.6 % accuracy), one crop of 224
(table 2; TF-slim's checkpoint). Not trained here on the full set.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 1600  # TF-slim: 50 replicas of 32, in step
    config.total_steps = 250_000  # TF-slim: the length that ScheduledDropPath assumes
    config.label_smoothing = 0.1
    config.aux_weight = 0.4

    config.input.source = "tfds:imagenet2012"
    config.input.image_size = 224
    config.input.resize = 256  # 0.875 of it is cut out, as in TF-slim
    config.input.crop = "random_resized"
    config.input.min_area = 0.08  # ours, as are the colours: Inception's, about TF-slim's
    config.input.color_jitter = 0.4
    config.input.mean = (0.5, 0.5, 0.5)  # -1 to 1, as in TF-slim
    config.input.std = (0.5, 0.5, 0.5)

    config.optimizer.name = "rmsprop"
    config.optimizer.rms_decay = 0.9
    config.optimizer.epsilon = 1.0
    config.optimizer.momentum = 0.9  # ours, usual beside them
    # Per 256 images: 0.04 * 50 at TF-slim's 1600.
    config.optimizer.learning_rate = 0.32
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_factor = 0.97  # every 2.4 epochs, TF-slim
    config.optimizer.decay_epochs = 2.4
    config.optimizer.clip_norm = 10.0  # TF-slim
    config.optimizer.weight_decay = 4e-5  # TF-slim
    config.optimizer.decay = "kernels"  # TF-slim: depthwise ones, too

    config.model = common.model("nasnet", num_classes=1000)
    config.model.cells = 4
    config.model.filters = 44  # 1056 / 24
    config.model.stem_filters = 32
    config.model.dropout = 0.5
    return config
