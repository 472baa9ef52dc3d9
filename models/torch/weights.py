"""Names and layouts of PyTorch's networks, in terms of ours."""

import re

import numpy as np

from models.torch import (
    alexnet,
    densenet,
    googlenet,
    mobilenet,
    nasnet,
    published,
    pytorchcv,
    resnet,
    resnext,
    shufflenet_v2,
    vgg,
)
from models.torch.files import short

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PREPROCESSING = ("image_size", "resize", "interpolation", "squash", "mean", "std")
_BOTH = ("torchvision", "timm")
_FAMILIES = (  # pattern of the name, libraries, what describes it
    (r"alexnet", ("torchvision",), alexnet.describe),
    (r"vgg(\d+)(_bn)?", _BOTH, vgg.describe),
    (r"googlenet", ("torchvision",), googlenet.describe),
    (r"resnet(\d+)", _BOTH, resnet.describe),
    (r"resnet(\d+)", ("akamaster",), resnet.describe_cifar),
    (r"wide_resnet(\d+)_(\d)", _BOTH, resnext.describe_wide),
    (r"resnext(\d+)_(\d+)x(\d+)d", _BOTH, resnext.describe),
    (r"densenet(\d+)", _BOTH, densenet.describe),
    (r"shufflenet_v2_x(\d)_(\d)", ("torchvision",), shufflenet_v2.describe),
    (r"mobilenetv1_(\d+)(h)?", ("timm",), mobilenet.describe),
    (r"nasnetalarge", ("timm",), nasnet.describe),
    *pytorchcv.FAMILIES,
)
LIBRARIES = tuple(dict.fromkeys(library for _, libraries, _ in _FAMILIES for library in libraries))


def describe(name: str):
    """Returns (name of our network, its fields, layers) of LIBRARY/MODEL, but for its classes.

    Layers are (name in PyTorch, path in Flax, side): `side` is that of the maps that a fully connected
    layer sees flattened, as PyTorch orders them (C, side, side), else 1. The classifier is the last.

    Raises:
      ValueError: no such network; the message names those that may be meant.
    """
    library, _, model = name.partition("/")
    model = model.partition(".")[0]  # without the tag of the weights
    for pattern, libraries, describe_family in _FAMILIES:
        match = re.fullmatch(pattern, model)
        if match and library in libraries:
            try:
                return describe_family(library, *match.groups())
            except KeyError:  # no such depth or width
                break
    raise ValueError(
        f"unknown network {name!r}{published.near(name)}; `python scripts/import_torch.py --list` lists "
        "those with published weights"
    )


def preprocessing(name: str) -> dict:
    """Returns what the published weights of a network expect: fields of the section `input` of a config.

    Where none of that name are known, they are those of its library's default ones, else what nearly all
    expect. mean and std are those of pixels from 0 to 1.

    Args:
      name: LIBRARY/MODEL or LIBRARY/MODEL.TAG.
    """
    one = published.find(name) or published.find(name.partition(".")[0])
    if one is not None:
        return {field: getattr(one, field) for field in PREPROCESSING}
    resizing = {"resize": 256, "interpolation": "bilinear", "squash": False}
    return {"image_size": 224, **resizing, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def convert(layers, tensors: dict[str, np.ndarray], variables) -> dict:
    """Returns the variables whose values are those of a PyTorch state dict.

    Args:
      layers: from `describe`.
      tensors: maps canonical names to arrays.
      variables: "params" and "batch_stats" of the network, for their shapes.

    Raises:
      ValueError: a tensor is missing, left over or of another shape; the message names it.
    """
    counters = ("num_batches_tracked", "n_averaged")  # the latter of an averaged model
    unused = {name for name in tensors if not name.endswith(counters)}
    converted = {"params": {}, "batch_stats": {}}
    missing, wrong = [], []
    for prefix, path, side in layers:
        for collection, leaf, suffix in _TENSORS:
            like = _get(variables.get(collection, {}), path).get(leaf)
            if like is None:
                continue
            name = f"{prefix}.{suffix}"
            unused.discard(name)
            if name not in tensors:
                missing.append(name)
                continue
            tensor = np.asarray(tensors[name])
            shapes = torch_shapes(like.shape, side)
            if tensor.shape not in shapes:
                wrong.append(f"{name} is {tensor.shape}, not {shapes[0]}")
                continue
            if leaf == "kernel":
                tensor = tensor.reshape(shapes[-1]).transpose(2, 3, 1, 0).reshape(like.shape)
            target = converted[collection]
            for part in path.split("/"):
                target = target.setdefault(part, {})
            target[leaf] = tensor.astype(np.float32)
    problems = [
        f"{what}: {', '.join(map(short, names[:5]))}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for what, names in (
            ("missing", missing),
            ("left over", sorted(unused)),
            ("another shape", wrong),
        )
        if names
    ]
    if problems:
        raise ValueError(f"the weights do not fit the network; {'; '.join(problems)}")
    return converted


def torch_names(layers, variables) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the state dict that `convert` takes."""
    return {
        f"{prefix}.{suffix}": torch_shapes(like.shape, side)[0]
        for prefix, path, side in layers
        for collection, leaf, suffix in _TENSORS
        if (like := _get(variables.get(collection, {}), path).get(leaf)) is not None
    }


def canonical(layers, state_dict) -> dict:
    """Returns a state dict under the names of `describe`.

    What wrappers (DataParallel, torch.compile, FSDP) put into a name is dropped wherever it stands, and
    DenseNet's layers are spelled as its current code does. Where the whole network lies under a name, as
    Lightning's "model.fc.weight", that is dropped, too, and so are the tensors outside (metrics).

    Raises:
      ValueError: two tensors get one name, or there are several networks.
    """
    names = {}
    for name in state_dict:
        parts = (part for part in name.split(".") if part not in _WRAPPERS)
        new = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", ".".join(parts))
        if names.setdefault(new, name) != name:
            raise ValueError(f"two weights are one: {short(names[new])} and {short(name)}")

    classifier = f"{layers[-1][0]}.weight"
    roots = [new.removesuffix(classifier) for new in names if f".{new}".endswith(f".{classifier}")]
    if "" in roots or not roots:
        root = ""
    elif len(roots) == 1:
        root = roots[0]
    else:
        raise ValueError(
            f"the weights are those of several networks: {', '.join(map(short, roots[:5]))}; "
            "keep the tensors of one"
        )
    return {
        new.removeprefix(root): state_dict[name]
        for new, name in names.items()
        if new.startswith(root)
    }


def torch_shapes(shape: tuple[int, ...], side: int) -> list[tuple[int, ...]]:
    """Returns PyTorch's shapes of an array: a matrix may be a convolution's kernel there, too."""
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return [(outputs, inputs, height, width)]
    if len(shape) == 2:
        inputs, outputs = shape
        return [(outputs, inputs), (outputs, inputs // side**2, side, side)]
    return [shape]


# Names of the modules that wrap another: DataParallel, torch.compile, checkpointing, FSDP.
_WRAPPERS = {"module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}
_TENSORS = (  # collection, leaf in Flax, suffix in PyTorch
    ("params", "kernel", "weight"),
    ("params", "scale", "weight"),
    ("params", "bias", "bias"),
    ("batch_stats", "mean", "running_mean"),
    ("batch_stats", "var", "running_var"),
)


def _get(tree, path: str) -> dict:
    for part in path.split("/"):
        tree = tree.get(part, {})
    return tree
