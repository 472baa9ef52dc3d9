"""Names and layouts of PyTorch's networks, in terms of ours."""

import re

import numpy as np

from models import densenet, googlenet, mobilenet, resnet, resnext, shufflenet_v2, vgg
from models.torch_files import short

KNOWN = (
    "torchvision/alexnet, vgg11 to vgg19 and vgg11_bn to vgg19_bn, googlenet, resnet18 to resnet152, "
    "wide_resnet50_2, wide_resnet101_2, resnext50_32x4d and others, densenet121 to densenet201, "
    "shufflenet_v2_x0_5 to x2_0; timm/ the same of vgg, resnet, resnext, densenet, and mobilenetv1_100, "
    "mobilenetv1_100h, mobilenetv1_125, nasnetalarge; akamaster/resnet20 to resnet1202"
)


def describe(name: str):
    """Returns (name of our network, its fields, layers) of LIBRARY/MODEL, but for its classes.

    Layers are (name in PyTorch, path in Flax, side): `side` is that of the maps that a fully connected
    layer sees flattened, as PyTorch orders them (C, side, side), else 1. The classifier is the last.

    Raises:
      ValueError: not one of KNOWN.
    """
    library, _, model = name.partition("/")
    if library == "timm":
        model = model.partition(".")[0]  # without the tag of the weights
    for pattern, libraries, network in _FAMILIES:
        match = re.fullmatch(pattern, model)
        if match and library in libraries:
            try:
                return network(library, *match.groups())
            except KeyError:  # no such depth or width
                break
    raise ValueError(f"unknown network {name!r}; known: {KNOWN}")


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


def _alexnet(library):
    layers = [(f"features.{n}", f"Conv_{i}", 1) for i, n in enumerate((0, 3, 6, 8, 10))]
    layers += [("classifier.1", "Dense_0", 6), ("classifier.4", "Dense_1", 1)]
    layers += [("classifier.6", "Dense_2", 1)]
    return "alexnet", {"form": "single_tower", "pooled_size": 6}, layers


def _vgg(library, depth, batch_norm):
    depth, batch_norm = int(depth), bool(batch_norm)
    layers, n, i = [], 0, 0  # n: PyTorch's number, i: ours
    for convolutions in vgg.STAGES[depth]:
        for _ in range(convolutions):
            layers.append((f"features.{n}", f"Conv_{i}", 1))
            if batch_norm:
                layers.append((f"features.{n + 1}", f"BatchNorm_{i}", 1))
            n, i = n + 2 + batch_norm, i + 1
        n += 1
    names = ("classifier.0", "classifier.3", "classifier.6")
    if library == "timm":
        names = ("pre_logits.fc1", "pre_logits.fc2", "head.fc")
    layers += [(names[0], "Dense_0", 7), (names[1], "Dense_1", 1), (names[2], "Dense_2", 1)]
    return "vgg", {"depth": depth, "batch_norm": batch_norm, "pooled_size": 7}, layers


def _googlenet(library):
    def conv(theirs, ours):
        return [(f"{theirs}.conv", f"{ours}/Conv_0", 1), (f"{theirs}.bn", f"{ours}/BatchNorm_0", 1)]

    layers = [pair for i in range(3) for pair in conv(f"conv{i + 1}", f"ConvReLU_{i}")]
    branches = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
    for i, name in enumerate(googlenet.INCEPTION):
        for j, branch in enumerate(branches):
            layers += conv(f"inception{name}.{branch}", f"Inception_{i}/ConvReLU_{j}")
    for i in range(2):
        theirs, ours = f"aux{i + 1}", f"AuxiliaryHead_{i}"
        layers += conv(f"{theirs}.conv", f"{ours}/ConvReLU_0")
        layers += [(f"{theirs}.fc1", f"{ours}/Dense_0", 4), (f"{theirs}.fc2", f"{ours}/Dense_1", 1)]
    return "googlenet", {"form": "torchvision", "dropout": 0.2}, [*layers, ("fc", "Dense_0", 1)]


def _residual_layers(stages, block, shortcut, convolutions, fc="fc"):
    """The names that ResNets and ResNeXts share; `shortcut` is (convolution, BatchNorm) in a block."""
    layers, i = [("conv1", "Conv_0", 1), ("bn1", "BatchNorm_0", 1)], 0
    for stage, blocks in enumerate(stages, 1):
        for b in range(blocks):
            theirs, ours = f"layer{stage}.{b}", f"{block}_{i}"
            for j in range(convolutions):
                layers.append((f"{theirs}.conv{j + 1}", f"{ours}/Conv_{j}", 1))
                layers.append((f"{theirs}.bn{j + 1}", f"{ours}/BatchNorm_{j}", 1))
            layers.append((f"{theirs}.downsample.0", f"{ours}/{shortcut[0]}", 1))
            layers.append((f"{theirs}.downsample.1", f"{ours}/{shortcut[1]}", 1))
            i += 1
    return [*layers, (fc, "Dense_0", 1)]


def _resnet(library, depth):
    depth = int(depth)
    block, convolutions = ("BasicBlock", 2) if depth in (18, 34) else ("BottleneckBlock", 3)
    shortcut = ("Shortcut_0/Conv_0", "Shortcut_0/BatchNorm_0")
    layers = _residual_layers(resnet.STAGES[depth], block, shortcut, convolutions)
    return "resnet", {"depth": depth}, layers


def _cifar_resnet(library, depth):
    stages = {d: ((d - 2) // 6,) * 3 for d in (20, 32, 44, 56, 110, 1202)}[int(depth)]
    fields = {"depth": int(depth), "layout": "cifar", "shortcut": "A", "shortcut_zeros": "around"}
    return "resnet", fields, _residual_layers(stages, "BasicBlock", ("", ""), 2, fc="linear")


def _resnext(library, depth, cardinality, base_width):
    fields = {
        "depth": int(depth),
        "cardinality": int(cardinality),
        "base_width": int(base_width),
    }
    stages = resnext.STAGES[int(depth)]
    return "resnext", fields, _residual_layers(stages, "Block", ("Conv_3", "BatchNorm_3"), 3)


def _wide_resnet(library, depth, factor):
    return _resnext(library, depth, 1, 64 * int(factor))


def _densenet(library, depth):
    depth, layers, i = int(depth), [], 0
    layers += [("features.conv0", "Conv_0", 1), ("features.norm0", "BatchNorm_0", 1)]
    for block, dense_layers in enumerate(densenet.BLOCKS[depth]):
        for n in range(dense_layers):
            theirs = f"features.denseblock{block + 1}.denselayer{n + 1}"
            for j in range(2):
                layers.append((f"{theirs}.norm{j + 1}", f"DenseLayer_{i}/BatchNorm_{j}", 1))
                layers.append((f"{theirs}.conv{j + 1}", f"DenseLayer_{i}/Conv_{j}", 1))
            i += 1
        theirs, ours = f"features.transition{block + 1}", f"Transition_{block}"
        layers += [
            (f"{theirs}.norm", f"{ours}/BatchNorm_0", 1),
            (f"{theirs}.conv", f"{ours}/Conv_0", 1),
        ]
    layers += [("features.norm5", "BatchNorm_1", 1), ("classifier", "Dense_0", 1)]
    return "densenet", {"depth": depth, "growth_rate": 48 if depth == 161 else 32}, layers


def _shufflenet_v2(library, whole, tenths):
    multiplier = int(whole) + int(tenths) / 10
    shufflenet_v2.CHANNELS[multiplier]
    layers, n = [("conv1.0", "Conv_0", 1), ("conv1.1", "BatchNorm_0", 1)], 0
    for stage, units in enumerate(shufflenet_v2.UNITS, 2):
        for u in range(units):
            pairs = [f"branch2.{p}" for p in (0, 3, 5)]
            if u == 0:
                pairs = ["branch1.0", "branch1.2", *pairs]
            for j, conv in enumerate(pairs):
                branch, _, number = conv.partition(".")
                theirs = f"stage{stage}.{u}.{branch}"
                layers.append((f"{theirs}.{number}", f"Unit_{n}/Conv_{j}", 1))
                layers.append((f"{theirs}.{int(number) + 1}", f"Unit_{n}/BatchNorm_{j}", 1))
            n += 1
    layers += [("conv5.0", "Conv_1", 1), ("conv5.1", "BatchNorm_1", 1), ("fc", "Dense_0", 1)]
    return "shufflenet_v2", {"width_multiplier": multiplier}, layers


def _mobilenet(library, hundredths, head_conv):
    fields = {
        "width_multiplier": int(hundredths) / 100,
        "head_conv": bool(head_conv),
        "padding": "symmetric",
        "activation": "relu6",
        "epsilon": 1e-5,
        "bn_momentum": 0.9,
    }
    layers = [("conv_stem", "Conv_0", 1), ("bn1", "BatchNorm_0", 1)]
    stage = unit = 0
    for i, (stride, _) in enumerate(mobilenet.BODY):
        stage, unit = (stage + 1, 0) if stride == 2 else (stage, unit)
        theirs, ours = f"blocks.{stage}.{unit}", f"SeparableConv_{i}"
        layers += [
            (f"{theirs}.conv_dw", f"{ours}/Conv_0", 1),
            (f"{theirs}.bn1", f"{ours}/BatchNorm_0", 1),
        ]
        layers += [
            (f"{theirs}.conv_pw", f"{ours}/Conv_1", 1),
            (f"{theirs}.bn2", f"{ours}/BatchNorm_1", 1),
        ]
        unit += 1
    if head_conv:
        layers += [("conv_head", "Conv_1", 1), ("bn2", "BatchNorm_1", 1)]
    return "mobilenet", fields, [*layers, ("classifier", "Dense_0", 1)]


def _nasnet_large(library):
    fields = {
        "cells": 6,
        "filters": 168,
        "stem_filters": 96,
        "skip_reduction": True,
        "padded_average": True,
        "aux_head": False,
        "bn_momentum": 0.9,
    }
    names = ["cell_stem_0", "cell_stem_1"]
    for group in range(3):
        names += [f"reduction_cell_{group - 1}"] if group else []
        names += [f"cell_{6 * group + i}" for i in range(6)]
    layers = [("conv0.conv", "Conv_0", 1), ("conv0.bn", "BatchNorm_0", 1)]
    for i, theirs in enumerate(names):
        ours, adjusted = f"Cell_{i}", 0
        factorized = i == 1 or names[i - 1].startswith("reduction") or i == 2
        if factorized:
            reduction = f"{ours}/FactorizedReduction_0"
            layers.append((f"{theirs}.path_1.conv", f"{reduction}/Conv_0", 1))
            layers.append((f"{theirs}.path_2.conv", f"{reduction}/Conv_1", 1))
            layers.append((f"{theirs}.final_path_bn", f"{reduction}/BatchNorm_0", 1))
        elif i > 1:
            layers.append((f"{theirs}.conv_prev_1x1.conv", f"{ours}/Conv_0", 1))
            layers.append((f"{theirs}.conv_prev_1x1.bn", f"{ours}/BatchNorm_0", 1))
            adjusted = 1
        layers.append((f"{theirs}.conv_1x1.conv", f"{ours}/Conv_{adjusted}", 1))
        layers.append((f"{theirs}.conv_1x1.bn", f"{ours}/BatchNorm_{adjusted}", 1))
        for node in range(5):
            for side in ("left", "right"):
                for j in range(2):
                    operation = f"{theirs}.comb_iter_{node}_{side}"
                    separable = f"{operation}.separable_{j + 1}"
                    ours_ = f"{ours}/node{node + 2}_{side}"
                    layers.append((f"{separable}.depthwise_conv2d", f"{ours_}/Conv_{2 * j}", 1))
                    layers.append((f"{separable}.pointwise_conv2d", f"{ours_}/Conv_{2 * j + 1}", 1))
                    layers.append((f"{operation}.bn_sep_{j + 1}", f"{ours_}/BatchNorm_{j}", 1))
    return "nasnet", fields, [*layers, ("last_linear", "Dense_0", 1)]


_BOTH = ("torchvision", "timm")
_FAMILIES = (  # pattern of the name, libraries, network
    (r"alexnet", ("torchvision",), _alexnet),
    (r"vgg(\d+)(_bn)?", _BOTH, _vgg),
    (r"googlenet", ("torchvision",), _googlenet),
    (r"resnet(\d+)", _BOTH, _resnet),
    (r"resnet(\d+)", ("akamaster",), _cifar_resnet),
    (r"wide_resnet(\d+)_(\d)", _BOTH, _wide_resnet),
    (r"resnext(\d+)_(\d+)x(\d+)d", _BOTH, _resnext),
    (r"densenet(\d+)", _BOTH, _densenet),
    (r"shufflenet_v2_x(\d)_(\d)", ("torchvision",), _shufflenet_v2),
    (r"mobilenetv1_(\d+)(h)?", ("timm",), _mobilenet),
    (r"nasnetalarge", ("timm",), _nasnet_large),
)
