"""AlexNet on ImageNet: ImageNet Classification with Deep Convolutional Neural Networks.

Paper (NIPS 2012, not on arXiv): https://papers.nips.cc/paper/4824. Krizhevsky, Sutskever and Hinton
lower the learning rate when the validation error stalls, three times in about 90 epochs (section 5);
the epochs here, 30, 60 and 80, are a choice of ours.

  python train.py --config=configs/alexnet.py --workdir=runs/alexnet
  python eval.py --config=configs/alexnet.py --workdir=runs/alexnet --crops=10

Published: 40.7 % top-1, 18.2 % top-5 error of one network, 10 crops, validation set (table 2). Caffe's
copy: 42.9 %, 19.8 %, one centre crop (bvlc_alexnet). Not trained here on the full set.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 128  # section 5
    config.total_epochs = 90.0  # section 5, "roughly"

    config.input.source = "tfds:imagenet2012"
    # Section 4.1: a random 224 x 224 of the image at a shorter side of 256 (the paper first cuts out
    # the central 256 x 256).
    config.input.crop = "scale_jitter"
    config.input.scales = (256, 256)
    config.input.pca_lighting = 0.1  # section 4.1
    # Section 2: pixels of 0 to 255 less their mean (here one a channel, not one a pixel), for which the
    # initialisation and the response normalisation are meant; not scaled to unit variance.
    config.input.std = (1 / 255,) * 3

    config.optimizer.learning_rate = 0.02  # per 256 images: 0.01 at the paper's 128 (section 5)
    config.optimizer.momentum = 0.9  # section 5
    config.optimizer.schedule = "steps"
    config.optimizer.decay_at = (30 / 90, 60 / 90, 80 / 90)
    config.optimizer.weight_decay = 5e-4  # section 5
    config.optimizer.decay = "all"  # section 5 has one rule for all; Caffe spares the biases

    config.model = common.model("alexnet", num_classes=1000)
    config.model.form = "grouped"  # figure 2: the two GPUs
    config.model.conv1_padding = 2  # 224 x 224 gives the paper's 55 x 55
    config.model.dropout = 0.5  # section 4.2
    config.model.initialization = "paper"  # section 5
    return config
