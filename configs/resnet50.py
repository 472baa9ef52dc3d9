"""ResNet-50 v1.5 on ImageNet after the 90-epoch recipe of NVIDIA's examples.

Paper: https://arxiv.org/abs/1512.03385. Recipe: NVIDIA DeepLearningExamples, ConvNets, ResNet-50 v1.5, from its
configs.yml; without the mixup that its 250 epochs have. Two things differ: theirs starts the convolutions with He's
fan-in, ours with fan-out, as torchvision does; theirs has batches of 2,048 or more, ours of 256 with the learning
rate scaled in proportion (--config.batch_size=2048 is theirs).

  python scripts/prepare_data.py imagenet2012 --manual_dir=DIR-WITH-THE-TWO-TARS   # once
  python train.py --config=configs/resnet50.py --workdir=runs/resnet50

Published: 77.1 % top-1 (one centre crop, 90 epochs). Not trained here on the full set. Learning rate
and weight decay around the recipe's, as a grid, or searched with --optimize=eval/top1:

  python scripts/sweep.py --config=configs/resnet50.py --workdir=runs/resnet50-rates --dry_run
"""

from configs import common, spaces


def get_config():
    config = common.get_config()
    config.batch_size = 256
    config.total_epochs = 90.0
    config.label_smoothing = 0.1

    config.input.source = "tfds:imagenet2012"
    config.input.crop = "random_resized"

    config.optimizer.learning_rate = 0.256  # per 256 images
    config.optimizer.momentum = 0.875
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 8.0
    config.optimizer.weight_decay = 1 / 32768
    config.optimizer.decay = "kernels"  # not BatchNorm

    config.model = common.model("resnet", depth=50, num_classes=1000)
    return config


def sweep():
    return spaces.product(
        {
            "optimizer.learning_rate": (0.128, 0.256, 0.512),
            "optimizer.weight_decay": (1 / 65536, 1 / 32768, 1 / 16384),
        }
    )


def space():
    return {
        "optimizer.learning_rate": spaces.Range(0.05, 1.0, log=True),
        "optimizer.weight_decay": spaces.Range(1e-6, 1e-3, log=True),
    }
