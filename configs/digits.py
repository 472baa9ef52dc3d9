"""A small residual network on scikit-learn's handwritten digits: the embedded default.

  python train.py --config=configs/digits.py

Under a minute on two cores; docs/results.md has the accuracy over five seeds. No download.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 128
    config.total_steps = 330  # about 30 epochs
    config.log_steps = 55
    config.eval_steps = 55
    config.checkpoint_steps = 55

    config.input.source = "digits"
    config.input.eval_split = "test"
    config.input.image_size = 8
    config.input.resize = 8
    config.input.crop = "pad"
    config.input.padding = 1
    config.input.flip = False  # a mirrored 2 is no 2
    config.input.mean = (0.31,)
    config.input.std = (0.38,)
    config.input.in_memory = True

    config.optimizer.learning_rate = 0.2
    config.optimizer.nesterov = True
    config.optimizer.warmup_epochs = 1.0
    config.optimizer.weight_decay = 5e-4

    config.model = common.model("resnet", depth=8, num_classes=10)
    config.model.layout = "cifar"
    config.model.shortcut = "A"
    return config
