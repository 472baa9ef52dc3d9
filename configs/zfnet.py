"""ZFNet on ImageNet: Visualizing and Understanding Convolutional Networks.

Paper: https://arxiv.org/abs/1311.2901. Zeiler and Fergus lower the learning rate by hand (section 3);
the epochs here are a choice of ours, as is AlexNet's weight decay: the paper prints none.

  python train.py --config=configs/zfnet.py --workdir=runs/zfnet
  python eval.py --config=configs/zfnet.py --workdir=runs/zfnet --crops=10

Published: 38.4 % top-1, 16.5 % top-5 error of one network, validation set (table 2); 37.5 %, 16.0 %
with --config.model.wide=True. pytorchcv, by a recipe of its own: 39.79 %, 17.27 %, one centre crop. Not
trained here on the full set.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 128  # section 3
    config.total_epochs = 70.0  # section 3

    config.input.source = "tfds:imagenet2012"
    # Section 3: crops of 224 x 224 at a shorter side of 256. The paper takes the four corners and the
    # centre, mirrored too; here the place is random.
    config.input.crop = "scale_jitter"
    config.input.scales = (256, 256)
    # Section 3: pixels less their mean (here one a channel, not one a pixel), "roughly in the
    # [-128, 128] range", for which the initialisation and the limit of conv1's filters are meant.
    config.input.std = (1 / 255,) * 3

    config.optimizer.learning_rate = 0.02  # per 256 images: 0.01 at the paper's 128 (section 3)
    config.optimizer.momentum = 0.9  # section 3
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (25 / 70, 45 / 70, 60 / 70)
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay = "all"

    config.model = common.model("zfnet", num_classes=1000)
    config.model.filter_rms = 0.1  # section 3
    config.model.dropout = 0.5  # section 3, on the hidden fully connected layers
    config.model.initialization = "paper"  # section 3
    return config
