"""GoogLeNet on ImageNet: Going Deeper with Convolutions.

Paper: https://arxiv.org/abs/1409.4842, section 6. Szegedy et al. print neither the first learning rate
nor the batch size, the weight decay or the length: these are those of Caffe's bvlc_googlenet. The paper
also averages the weights (Polyak), which is not done here: without it, the learning rate that Caffe's
quick recipe lowers to zero in 60 epochs is the better choice:

  python train.py --config=configs/googlenet.py --workdir=runs/googlenet
  python train.py --config=configs/googlenet.py --workdir=runs/googlenet-quick \\
      --config.total_epochs=60 --config.optimizer.schedule=polynomial --config.optimizer.power=0.5
  python eval.py --config=configs/googlenet.py --workdir=runs/googlenet --crops=10

Published: 10.07 % top-5 error of one network with one crop, 9.15 % with 10 (table 3, validation set);
bvlc_googlenet, by the quick recipe: 31.3 % top-1, 11.1 % top-5, one centre crop. Not trained here on
the full set.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 32  # Caffe's
    config.total_epochs = 250.0  # Caffe's
    config.aux_weight = 0.3  # section 5

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "random_resized"  # section 6: 8 % to 100 % of the area, aspect 3/4 to 4/3
    config.input.min_area = 0.08
    config.input.color_jitter = 0.4  # section 6, "photometric distortions"; the strength is ours
    config.input.mean = (0.5, 0.5, 0.5)  # -1 to 1, as in TF-slim; the paper subtracts the mean
    config.input.std = (0.5, 0.5, 0.5)

    config.optimizer.learning_rate = 0.08  # per 256 images: 0.01 at Caffe's 32
    config.optimizer.momentum = 0.9  # section 6
    config.optimizer.schedule = "exponential"  # section 6: 4 % less every 8 epochs
    config.optimizer.decay_factor = 0.96
    config.optimizer.decay_epochs = 8.0
    config.optimizer.weight_decay = 2e-4  # Caffe's
    config.optimizer.decay = "kernels"  # Caffe spares the biases

    config.model = common.model("googlenet", num_classes=1000)
    config.model.form = "paper"
    config.model.dropout = 0.4  # section 5
    return config
