"""A trained network learns to tell your own photographs apart: about a hundred of each class do.

  python scripts/import_torch.py --model=torchvision/resnet50 --workdir=runs/imported
  python train.py --config=configs/finetune.py --config.init=runs/imported \\
      --config.input.source=folder:PHOTOS --workdir=runs/mine

PHOTOS/CLASS/*.jpg is enough. The network, the size of its images and their mean and std are those of
what it starts from, a run, LIBRARY/MODEL or LIBRARY/MODEL:FILE; the classifier is new. For other fields
of the network take its own config in place of this one, with the same --config.init.
"""

from configs import common


def get_config():
    config = common.get_config()
    # Few images make few steps an epoch: small batches make more of them, and 30 epochs of 300
    # photographs are 300 steps, minutes on a laptop.
    config.batch_size = 32
    config.total_epochs = 30.0
    config.log_steps = 10
    config.eval_epochs = 2.0
    config.checkpoint_epochs = 2.0
    config.label_smoothing = 0.1  # what a few examples tell apart is not to be believed fully

    config.input.eval_split = "val"
    config.input.exif_orientation = True  # cameras note how they were held
    config.input.image_size = 0  # 0 and (): those of what the run starts from
    config.input.resize = 0  # and with it interpolation and squash
    config.input.mean = ()
    config.input.std = ()
    config.input.crop = "random_resized"
    config.input.min_area = 0.35  # of ImageNet's 0.08 a class with few examples shows too little

    # The weights are to move, but not to forget. The first layers see edges and colours, which are those
    # of all photographs, and move least. On 1,000 photographs at 32 x 32 (docs/transfer.md) a quarter of
    # this rate, with a decay of 0.7 and a factor of 10 below, was 6 points behind (one seed, and the
    # statistics frozen in both).
    config.optimizer.learning_rate = 0.2
    config.optimizer.nesterov = True
    config.optimizer.warmup_epochs = 2.0  # while the new classifier sends back noise
    config.optimizer.weight_decay = 1e-4
    config.optimizer.layer_decay = 0.85
    config.optimizer.head_factor = 3.0  # only the classifier starts at random
    config.optimizer.clip_norm = 1.0  # networks without BatchNorm take this rate, too
    # Photographs of another kind have other means and variances. True for batches of a few images, which
    # say less of those than all of ImageNet has.
    config.optimizer.freeze_batch_stats = False

    config.model.name = ""  # that of what the run starts from
    config.model.num_classes = 0  # that of the data
    return config
