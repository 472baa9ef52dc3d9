"""The fields that every config has. A config file starts from these and says what its paper says."""

from ml_collections import ConfigDict

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def get_config() -> ConfigDict:
    """Returns the shared defaults; `model` holds only what each network has."""
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 256  # over all devices of all processes
    config.total_epochs = 90.0
    config.total_steps = 0  # wins over total_epochs where it is above 0
    config.log_steps = 100
    config.eval_epochs = 1.0
    config.eval_steps = 0  # wins over eval_epochs where it is above 0
    config.checkpoint_epochs = 1.0
    config.checkpoint_steps = 0
    config.keep_checkpoints = 2  # the latest so many, and the best by top-1
    config.label_smoothing = 0.0

    config.input = ConfigDict()
    config.input.source = ""  # tfds:NAME, folder:PATH, digits or synthetic
    config.input.data_dir = ""  # of TFDS; else $TFDS_DATA_DIR, else ~/tensorflow_datasets
    config.input.train_split = "train"
    config.input.eval_split = "validation"
    config.input.image_size = 224
    config.input.resize = 256  # the shorter side before a centre crop
    config.input.crop = "random_resized"  # "scale_jitter", "pad" or "center"
    config.input.min_area = 0.08  # of a random resized crop
    config.input.scales = (256, 480)  # the shorter side under scale jitter
    config.input.padding = 4  # of "pad"
    config.input.flip = True
    config.input.color_jitter = 0.0  # strength; 0.4 is usual
    config.input.pca_lighting = 0.0  # standard deviation; 0.1 in AlexNet
    config.input.mean = IMAGENET_MEAN
    config.input.std = IMAGENET_STD
    config.input.in_memory = False  # decode everything once, at the start
    config.input.threads = 0  # that read and decode; 0: one a core
    config.input.max_broken_images = 10  # more than these stop the run

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # "rmsprop" or "adamw"
    config.optimizer.learning_rate = 0.1  # per 256 images
    config.optimizer.schedule = "cosine"  # constant, steps, linear, exponential, polynomial
    config.optimizer.warmup_epochs = 0.0
    config.optimizer.warmup_factor = 0.0  # the warm-up starts at this part of the learning rate
    config.optimizer.decay_at = (1 / 3, 2 / 3)  # of "steps": fractions of the run
    config.optimizer.decay_factor = 0.1  # of "steps" and "exponential"
    config.optimizer.decay_epochs = 1.0  # of "exponential"
    config.optimizer.power = 2.0  # of "polynomial"
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.rms_decay = 0.9
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.999
    config.optimizer.epsilon = 1e-8  # 1.0 is usual for RMSProp on ImageNet
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay = "kernels"  # or "all": biases and BatchNorm, too
    config.optimizer.clip_norm = 0.0  # 0: no clipping

    config.model = ConfigDict()
    return config


def resnet(depth: int, num_classes: int) -> ConfigDict:
    """Returns the fields of models/resnet.py."""
    return ConfigDict(
        {
            "name": "resnet",
            "num_classes": num_classes,
            "depth": depth,
            "layout": "imagenet",
            "residual": True,
            "shortcut": "B",
            "bottleneck_stride": "3x3",
            "zero_init_last": False,
            "dtype": "float32",
        }
    )
