"""The fields that every config has. A config file starts from these and says what its paper says.

The comment behind a field says what it means: --help prints it.
"""

import ast
import pathlib
import re
from typing import Any, NamedTuple

from ml_collections import ConfigDict

MODELS = pathlib.Path(__file__).parents[1] / "models"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def get_config() -> ConfigDict:
    """Returns the shared defaults; `model` holds only what each network has."""
    config = ConfigDict()
    config.init = ""  # weights to start from: DIR, DIR:best, DIR:STEP, LIBRARY/MODEL[:FILE]
    config.seed = 0  # of the initial weights, the order of the images, all draws
    config.batch_size = 256  # over all devices of all processes
    config.accumulate_steps = 1  # parts of a batch that a device computes one after the other
    config.model_devices = 1  # that hold one copy of the network together; 2: AlexNet's towers
    config.total_epochs = 90.0  # length of the run
    config.total_steps = 0  # wins over total_epochs where it is above 0
    config.log_steps = 100  # between two logs; 0: none of their own
    config.log_norms = False  # log the norms of the gradients, before clipping, and parameters, too
    config.log_images = 0  # training images, augmented, drawn for TensorBoard; 20 is usual
    config.wandb = ""  # project of Weights & Biases that gets the log, too; "": none
    config.eval_epochs = 1.0  # between two evaluations
    config.eval_steps = 0  # wins over eval_epochs where it is above 0
    config.eval_last = True  # evaluate after the last step; False, and the two at 0: never
    config.stop_after_evals = 0  # in a row without a better top-1 end the run; 0: none do
    config.eval_train = False  # evaluate on the training images, too, without augmentation
    config.checkpoint_epochs = 1.0  # between two checkpoints
    config.checkpoint_steps = 0  # wins over checkpoint_epochs where it is above 0
    config.keep_checkpoints = 2  # this number of the latest, and the best by top-1
    config.start_timeout = 600  # seconds in which all processes of the run have to have started
    config.lost_timeout = 120  # seconds without a sign of life that end a run of several processes
    config.loss = "softmax"  # or "bce": a sigmoid and binary cross-entropy for each class
    config.bce_threshold = 0.0  # of "bce": targets above are 1, others 0; 1: targets as they are
    config.bce_sum = False  # of "bce": the sum over the classes; False: their mean
    config.class_weights = ()  # one a class, in their order; (): all alike; ("balanced",): by the labels
    config.label_smoothing = 0.0  # weight of all classes alike in the label
    config.aux_weight = 0.3  # of each auxiliary head's loss, where the network has such heads
    config.ema_decay = 0.0  # of a moving average of the weights, which is then judged; 0: none
    config.ema_every = 1  # steps between two updates of the average
    config.ema_warmup = False  # its decay is at most (1 + t) / (10 + t) at update t, from 0

    config.distill = ConfigDict()
    config.distill.teacher = ""  # to learn from: DIR, DIR:best, DIR:STEP, LIBRARY/MODEL[:FILE]
    config.distill.temperature = 4.0  # by which its logits and those of the network are divided
    config.distill.weight = 0.9  # of the loss beside the teacher's answers; the rest: the labels

    config.input = ConfigDict()
    config.input.source = ""  # tfds:NAME, folder:PATH, tar:PATTERN, hf:NAME, digits, synthetic
    config.input.data_dir = ""  # of TFDS; else $TFDS_DATA_DIR, else ~/tensorflow_datasets
    config.input.train_split = "train"  # of TFDS, or a folder's name
    config.input.eval_split = "validation"  # of TFDS, or a folder's name
    config.input.class_names = ""  # of numbers in tar: and hf:; "imagenet", or a file of names
    config.input.image_column = ""  # of hf:; "": the only one of images
    config.input.label_column = ""  # of hf:; "": the only one of classes
    config.input.ground_truth = ""  # labels of ImageNet's validation images, all in one folder
    config.input.image_size = 224  # pixels a side
    config.input.eval_size = 0  # the same in evaluation; 0: image_size
    config.input.start_size = 0  # the same in the first epochs, to grow; 0: image_size
    config.input.grow_epochs = (0.0, 0.0)  # the last of start_size, the first of image_size; from 0
    config.input.size_multiple = 32  # to which the sizes between these two are rounded
    config.input.resize = 256  # the shorter side before a centre crop
    config.input.interpolation = "bilinear"  # or "bicubic"; before a centre crop, as in evaluation
    config.input.squash = False  # True: resize both sides to that length, whatever the shape
    config.input.exif_orientation = False  # True: turn photographs, as torchvision does not
    config.input.crop = "random_resized"  # "random_resized", "scale_jitter", "pad" or "center"
    config.input.min_area = 0.08  # of a random resized crop
    config.input.aspect = "log_uniform"  # or "uniform": of its width to its height, 3/4 to 4/3
    config.input.scales = (256, 480)  # the shorter side under scale jitter
    config.input.padding = 4  # of "pad"
    config.input.flip = True  # mirror half of the training images
    config.input.auto_augment = ""  # "ra": RandAugment; "ra_timm"; "ta_wide": TrivialAugment
    config.input.ra_num_ops = 2  # operations of "ra" and "ra_timm" for each image
    config.input.ra_magnitude = 9  # of "ra", 0 to 30; of "ra_timm", 0 to 10
    config.input.ra_magnitude_std = 0.0  # of "ra_timm", around ra_magnitude; 0.5 is usual
    config.input.color_jitter = 0.0  # of brightness, contrast, saturation; 0.4 is usual
    config.input.hue = 0.0  # most of a turn of the colour circle; 0.1 is usual
    config.input.pca_lighting = 0.0  # standard deviation; 0.1 in AlexNet
    config.input.random_erase = 0.0  # part of the images of which a box is erased; 0.25 is usual
    config.input.random_erase_mode = "const"  # the mean; "rand": one colour; "pixel": noise
    config.input.aug_repeats = 1  # times that an image is in a batch, each augmented anew
    config.input.mixup_alpha = 0.0  # mixes two images by Beta(alpha, alpha); 0: off, 0.2 is usual
    config.input.cutmix_alpha = 0.0  # pastes a part of one into another; 0: off, 1.0 is usual
    config.input.mixup_prob = 1.0  # of mixup or CutMix in a batch
    config.input.mixup_switch_prob = 0.5  # of CutMix in place of mixup, where both are on
    config.input.mean = IMAGENET_MEAN  # of each channel; pixels are 0 to 1 before it is subtracted
    config.input.std = IMAGENET_STD  # by which they are divided then
    config.input.in_memory = False  # decode everything once, at the start
    config.input.threads = 0  # that read and decode; 0: one a core
    config.input.max_broken_images = 10  # more than these stop the run

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # sgd, rmsprop, adamw, lars, lamb, lion or muon
    config.optimizer.learning_rate = 0.1  # per 256 images
    config.optimizer.schedule = "cosine"  # constant, steps, cosine, linear, exponential, polynomial
    config.optimizer.warmup_epochs = 0.0  # in which the learning rate rises
    config.optimizer.warmup_factor = 0.0  # the warm-up starts at this part of the learning rate
    config.optimizer.decay_at = (1 / 3, 2 / 3)  # of "steps": fractions of the run
    config.optimizer.decay_factor = 0.1  # of "steps" and "exponential"
    config.optimizer.decay_epochs = 1.0  # of "exponential"
    config.optimizer.power = 2.0  # of "polynomial"
    config.optimizer.momentum = 0.9  # of "sgd", "rmsprop", "lars" and "muon"
    config.optimizer.nesterov = False  # of "sgd", "rmsprop", "lars" and "muon"
    config.optimizer.rms_decay = 0.9  # of "rmsprop"
    config.optimizer.beta1 = 0.9  # of "adamw", "lamb", "lion" and what "muon" leaves to Adam
    config.optimizer.beta2 = 0.999  # of "adamw", "lamb", "muon"; of "lion", where 0.99 is usual
    config.optimizer.epsilon = 1e-8  # of Adam and "muon"; "rmsprop", where 1.0 is usual on ImageNet
    config.optimizer.trust_coefficient = 1e-3  # of "lars"
    config.optimizer.weight_decay = 1e-4  # L2; of "adamw", "lamb", "lion" and "muon" decoupled
    config.optimizer.decay = "kernels"  # "kernels"; "all": BatchNorm, biases, too; "not_depthwise"
    config.optimizer.clip_norm = 0.0  # 0: no clipping
    config.optimizer.clip_decayed = False  # clip after the decay was added, as TF-slim
    config.optimizer.sam_rho = 0.0  # SAM's distance to a higher loss; 0: off, 0.05 is usual
    config.optimizer.lookahead_steps = 0  # of the fast weights, to one of the slow; 0: off
    config.optimizer.lookahead_rate = 0.5  # how far the slow weights go towards the fast
    config.optimizer.schedule_free = False  # evaluate a mean of the weights, without a schedule
    config.optimizer.freeze = ()  # parts that do not learn, such as ("conv1", "bn1", "stage1")
    config.optimizer.rates = ()  # of groups or parts, of the learning rate: ("biases:2", "conv1:0.1")
    config.optimizer.decays = ()  # the same of weight_decay; in place of what `decay` says
    config.optimizer.freeze_batch_stats = False  # normalise by the running statistics
    config.optimizer.layer_decay = 1.0  # of the learning rate, from a layer to the one before it
    config.optimizer.head_factor = 1.0  # by which the classifier's learning rate is higher

    config.model = ConfigDict()
    return config


def cifar10() -> ConfigDict:
    """Returns `get_config()` with CIFAR-10 as He et al. augment it (arXiv:1512.03385, section 4.2)."""
    config = get_config()
    config.batch_size = 128
    config.log_steps = 100
    config.eval_epochs = 5.0
    config.checkpoint_epochs = 5.0

    config.input.source = "tfds:cifar10"
    config.input.eval_split = "test"
    config.input.image_size = 32
    config.input.resize = 32
    config.input.crop = "pad"
    config.input.padding = 4
    config.input.mean = (0.4914, 0.4822, 0.4465)
    config.input.std = (0.2470, 0.2435, 0.2616)
    config.input.in_memory = True
    return config


class Field(NamedTuple):
    default: Any  # None: there is none
    meaning: str


def model(name: str, **fields) -> ConfigDict:
    """Returns the fields of the network `name`: the defaults of its class, and those that are given.

    Args:
      name: of a file in models/.
      **fields: of the class `Model` there; those without default have to be given.

    Raises:
      ValueError: there is no such network or field, or one is missing; the message lists the right ones.
    """
    known = fields_of(name)
    wrong = sorted(set(fields) - set(known))
    missing = [field for field in known if known[field].default is None and field not in fields]
    if wrong or missing:
        what = f"has no field {', '.join(wrong)}" if wrong else f"needs {', '.join(missing)}"
        raise ValueError(f"model {name!r} {what}; its fields: {', '.join(known)}")
    defaults = {field: known[field].default for field in known}
    config = ConfigDict({"name": name} | defaults | {field: fields[field] for field in missing})
    config.update(fields)
    return config


def architectures() -> list[str]:
    """Returns the names that `model` accepts."""
    return [f.stem for f in sorted(MODELS.glob("*.py")) if "\nclass Model(" in f.read_text("utf-8")]


def fields_of(name: str) -> dict[str, Field]:
    """Returns the fields of the class `Model` of models/NAME.py.

    The file is read, not imported: to import a network takes ten times as long as all of a config.
    """
    file = MODELS / f"{name}.py"
    text = file.read_text("utf-8") if file.is_file() else ""
    classes = [node for node in ast.parse(text).body if getattr(node, "name", "") == "Model"]
    if not classes:
        raise ValueError(f"unknown model {name!r}; available: {', '.join(architectures())}")
    lines = text.splitlines()
    return {
        node.target.id: Field(
            default=node.value and _literal(node.value, f"models/{name}.py, {node.target.id}"),
            meaning=lines[node.end_lineno - 1][node.end_col_offset :].lstrip(" #"),
        )
        for node in classes[0].body
        if isinstance(node, ast.AnnAssign)
    }


def _literal(node: ast.expr, where: str):
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{where}: let the default be a literal, such as 0.5") from None


def comments(file: pathlib.Path) -> dict[str, str]:
    """Returns the comments behind the fields of a config file: {"input.crop": ..., ...}."""
    found = re.findall(r"^ +(?:config\.)?([\w.]+) = .*?  # (.+)$", file.read_text("utf-8"), re.M)
    return dict(found)


def one_of(file: str, name, choices) -> None:
    """Raises ValueError that lists the choices where FILE:NAME is none of them."""
    if str(name) not in map(str, choices):
        raise ValueError(f"configs/{file}.py:{name}: choose one of {', '.join(map(str, choices))}")
