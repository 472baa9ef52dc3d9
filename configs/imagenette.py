"""ResNet-18 on Imagenette, ten easily told classes of ImageNet, straight from a folder.

Paper: https://arxiv.org/abs/1512.03385. Data: https://github.com/fastai/imagenette.

  curl -O https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz && tar xzf imagenette2-160.tgz
  python train.py --config=configs/imagenette.py --workdir=runs/imagenette

Your own images go the same way: --config.input.source=folder:PATH with PATH/train/CLASS/*.jpg and
PATH/val/CLASS/*.jpg, and --config.model.num_classes. The default size, 96 x 96, suits a laptop; on
a GPU take --config.input.image_size=128 --config.input.resize=146.
"""

from configs import common


def get_config():
    config = common.get_config()
    config.batch_size = 64
    config.total_epochs = 15.0
    config.log_steps = 20
    config.label_smoothing = 0.1

    config.input.source = "folder:imagenette2-160"
    config.input.exif_orientation = True  # as your own photographs need it
    config.input.eval_split = "val"
    config.input.image_size = 96
    config.input.resize = 110
    config.input.crop = "random_resized"
    config.input.min_area = 0.35  # gentler than ImageNet's 0.08, for a short run

    config.optimizer.learning_rate = 0.2
    config.optimizer.nesterov = True
    config.optimizer.warmup_epochs = 1.0
    config.optimizer.weight_decay = 5e-4

    config.model = common.model("resnet", depth=18, num_classes=10)
    return config
