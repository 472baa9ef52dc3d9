"""Names of pytorchcv's networks, which have published weights for ImageNet, CIFAR and SVHN."""

from models import (
    densenet,
    mobilenet,
    preact_resnet,
    resnet,
    resnext,
    shufflenet,
    shufflenet_v2,
    vgg,
)

CIFAR_BLOCKS = dict.fromkeys(("20", "56", "110", "1202"), "basic") | dict.fromkeys(
    ("164bn", "272bn", "542bn", "1001"), "bottleneck"
)
WIDTHS = {"wd4": 0.25, "wd2": 0.5, "w3d4": 0.75, "w1": 1.0}


def describe_alexnet(library, b):
    """Describes `alexnet`, or `alexnetb`, as `weights.describe` does."""
    fields = {"form": "ungrouped", "conv1_padding": 0, "response_alpha": 2e-5}
    if b:
        fields = {"form": "single_tower", "pooled_size": 6}
    return "alexnet", fields | {"ceil_pooling": True}, five_convolutions()


def describe_zfnet(library, b):
    """Describes `zfnet`, or the wide `zfnetb`."""
    fields = {"filter_rms": 0.0, "response_alpha": 2e-5, "normalise_first": True}
    return "zfnet", {"wide": bool(b)} | fields, five_convolutions()


def five_convolutions():
    units = ("1.unit1", "2.unit1", "3.unit1", "3.unit2", "3.unit3")
    layers = [(f"features.stage{unit}.conv", f"conv{i}", 1) for i, unit in enumerate(units, 1)]
    return layers + fully_connected(6)


def fully_connected(side):
    layers = [(f"output.fc{i}.fc", f"fc{5 + i}", side if i == 1 else 1) for i in (1, 2)]
    return [*layers, ("output.fc3", "fc8", 1)]


def describe_vgg(library, depth):
    """Describes a VGG, say `vgg16`."""
    layers = []
    for stage, convolutions in enumerate(vgg.STAGES[int(depth)], 1):
        for i in range(1, convolutions + 1):
            layers += conv_and_bn(f"features.stage{stage}.unit{i}", f"{stage}_{i}")
    return "vgg", {"depth": int(depth), "pooled_size": 7}, layers + fully_connected(7)


def describe_bn_vgg(library, depth, b):
    """Describes a VGG with BatchNorm, say `bn_vgg16`, or `bn_vgg16b` whose convolutions have biases."""
    name, fields, layers = describe_vgg(library, depth)
    return name, fields | {"batch_norm": True, "conv_bias": bool(b)}, layers


def describe_resnet(library, size):
    """Describes a ResNet, say `resnet50`, or `resnet50b` with strides in the 3x3."""
    depth = int(size.strip("bc"))
    fields = {"depth": depth, "bottleneck_stride": stride_in(size)}
    stem = conv_and_bn("features.init_block.conv")
    return "resnet", fields, stem + residual(resnet.STAGES[depth])


def describe_resnet_cifar(library, size):
    """Describes a ResNet, say `resnet20_cifar10`, or with bottlenecks, say `resnet164bn_cifar10`."""
    fields, stages = cifar(size)
    layers = conv_and_bn("features.init_block") + residual(stages)
    if fields.pop("block") == "basic":
        return "resnet", fields, layers
    return "preact_resnet", fields | {"order": "original"}, layers


def describe_preresnet(library, size):
    """Describes a pre-activation ResNet, say `preresnet50`, or `preresnet50b` with strides in the 3x3."""
    depth = int(size.strip("b"))
    fields = {
        "depth": depth,
        "block": "basic" if depth in (18, 34) else "bottleneck",
        "bottleneck_stride": stride_in(size),
        "first_unit_norm": True,
    }
    stem = conv_and_bn("features.init_block")
    return "preact_resnet", fields, stem + preactivated(preact_resnet.STAGES[depth])


def describe_preresnet_cifar(library, size):
    """Describes a pre-activation ResNet, say `preresnet20_cifar10` or `preresnet164bn_cifar10`."""
    fields, stages = cifar(size)
    fields |= {"stem_norm": False, "first_unit_norm": True}
    return "preact_resnet", fields, [("features.init_block", "conv1", 1), *preactivated(stages)]


def stride_in(size):
    return "3x3" if size.endswith("b") else "1x1"


def cifar(size):
    """Returns the fields that the networks of this size for 32 x 32 images share, and their stages."""
    block, depth = CIFAR_BLOCKS[size], int(size.removesuffix("bn"))
    stages = preact_resnet.blocks_per_stage("cifar", depth, block)
    return {"depth": depth, "layout": "cifar", "block": block}, stages


def describe_resnext(library, depth, cardinality, base_width, cifar):
    """Describes a ResNeXt, say `resnext50_32x4d` or `resnext29_32x4d_cifar10`."""
    fields = {
        "depth": int(depth),
        "cardinality": int(cardinality),
        "base_width": int(base_width),
        "layout": "cifar" if cifar else "imagenet",
    }
    stem = conv_and_bn("features.init_block" if cifar else "features.init_block.conv")
    stages = resnext.blocks_per_stage(fields["layout"], int(depth))
    return "resnext", fields, stem + residual(stages)


def residual(stages):
    """The names that ResNets and ResNeXts share after the stem."""
    layers = []
    for theirs, ours in units(stages):
        for j in (1, 2, 3):
            layers += conv_and_bn(f"{theirs}.body.conv{j}", j, f"{ours}/")
        layers += conv_and_bn(f"{theirs}.identity_conv", "", f"{ours}/shortcut/")
    return [*layers, ("output", "fc", 1)]


def preactivated(stages):
    """The same of networks with pre-activation."""
    layers = []
    for theirs, ours in units(stages):
        for j in (1, 2, 3):
            layers += conv_and_bn(f"{theirs}.body.conv{j}", j, f"{ours}/")
        layers.append((f"{theirs}.identity_conv", f"{ours}/shortcut/conv", 1))
    return [*layers, ("features.post_activ.bn", "last_bn", 1), ("output", "fc", 1)]


def units(stages, first=1):
    """Returns (theirs, ours) of the units of all stages; ours count from `first`."""
    return [
        (f"features.stage{stage}.unit{unit}", f"stage{stage + first - 1}/block{unit}")
        for stage, count in enumerate(stages, 1)
        for unit in range(1, count + 1)
    ]


def conv_and_bn(theirs, n=1, path=""):
    return [(f"{theirs}.conv", f"{path}conv{n}", 1), (f"{theirs}.bn", f"{path}bn{n}", 1)]


def describe_densenet(library, depth):
    """Describes a DenseNet, say `densenet121`."""
    fields = {"depth": int(depth), "growth_rate": 48 if depth == "161" else 32}
    stem = conv_and_bn("features.init_block")
    return "densenet", fields, stem + dense(densenet.BLOCKS[int(depth)], ("conv1", "conv2"))


def describe_densenet_cifar(library, depth, growth_rate, bc):
    """Describes a DenseNet, say `densenet40_k12_cifar10` or `densenet100_k12_bc_cifar10`."""
    fields = {
        "depth": int(depth),
        "growth_rate": int(growth_rate),
        "layout": "cifar",
        "bottleneck": bool(bc),
        "compression": not bc,
    }
    blocks = densenet.layers_per_block("cifar", int(depth), bool(bc))
    layers = dense(blocks, ("conv1", "conv2") if bc else ("conv",))
    return "densenet", fields, [("features.init_block", "conv1", 1), *layers]


def dense(blocks, convolutions):
    """The names that all DenseNets share after the stem."""
    layers = []
    for block, dense_layers in enumerate(blocks, 1):
        if block > 1:
            transition = f"features.stage{block}.trans{block}.conv"
            layers += conv_and_bn(transition, "", f"transition{block - 1}/")
        for n in range(1, dense_layers + 1):
            for j, conv in enumerate(convolutions, 1):
                unit = f"features.stage{block}.unit{n}.{conv}"
                layers += conv_and_bn(unit, j, f"block{block}/layer{n}/")
    return [*layers, ("features.post_activ.bn", "last_bn", 1), ("output", "fc", 1)]


def describe_mobilenet(library, width):
    """Describes a MobileNet, say `mobilenet_wd2` of half the width."""
    fields = {
        "width_multiplier": WIDTHS[width],
        "padding": "symmetric",
        "epsilon": 1e-5,
        "bn_momentum": 0.9,
    }
    layers = conv_and_bn("features.init_block")
    stage, unit = 1, 0
    for i, (stride, _) in enumerate(mobilenet.BODY, 2):
        stage, unit = (stage + 1, 1) if stride == 2 else (stage, unit + 1)
        for part, kind, bn in (("dw_conv", "depthwise", "bn1"), ("pw_conv", "pointwise", "bn2")):
            theirs = f"features.stage{stage}.unit{unit}.{part}"
            layers += [
                (f"{theirs}.conv", f"conv{i}/{kind}", 1),
                (f"{theirs}.bn", f"conv{i}/{bn}", 1),
            ]
    return "mobilenet", fields, [*layers, ("output", "fc", 1)]


def describe_shufflenet(library, groups, width):
    """Describes a ShuffleNet, say `shufflenet_g3_w1`."""
    shufflenet.CHANNELS[int(groups)]
    fields = {"groups": int(groups), "scale": WIDTHS[width], "pooled_last": True}
    layers = conv_and_bn("features.init_block")
    for theirs, ours in units(shufflenet.UNITS, first=2):
        for j, part in enumerate(("compress", "dw", "expand"), 1):
            layers.append((f"{theirs}.{part}_conv{j}", f"{ours}/conv{j}", 1))
            layers.append((f"{theirs}.{part}_bn{j}", f"{ours}/bn{j}", 1))
    return "shufflenet", fields, [*layers, ("output", "fc", 1)]


def describe_shufflenet_v2(library, width):
    """Describes a ShuffleNet v2, say `shufflenetv2_w1`."""
    branches = {
        "right": ("compress_{}1", "dw_{}2", "expand_{}3"),
        "left": ("dw_{}4", "expand_{}5"),
    }
    layers = conv_and_bn("features.init_block.conv")
    for theirs, ours in units(shufflenet_v2.UNITS, first=2):
        for side, parts in branches.items():
            for j, part in enumerate(parts, 1):
                for kind in ("conv", "bn"):
                    ours_ = f"{ours}/{side}_{kind}{j}"
                    layers.append((f"{theirs}.{part.format(kind)}", ours_, 1))
    layers += conv_and_bn("features.final_block", 5)
    fields = {"width_multiplier": WIDTHS[width], "ceil_pooling": True}
    return "shufflenet_v2", fields, [*layers, ("output", "fc", 1)]


def describe_shufflenet_v2b(library):
    """Describes `shufflenetv2b_wd2`."""
    branches = {"right": ("conv1", "dconv", "conv2"), "left": ("shortcut_dconv", "shortcut_conv")}
    layers = conv_and_bn("features.init_block.conv")
    for theirs, ours in units(shufflenet_v2.UNITS, first=2):
        for side, parts in branches.items():
            for j, part in enumerate(parts, 1):
                layers += conv_and_bn(f"{theirs}.{part}", j, f"{ours}/{side}_")
    layers += conv_and_bn("features.final_block", 5)
    return "shufflenet_v2", {"width_multiplier": 0.5}, [*layers, ("output", "fc", 1)]


def describe_nasnet(library, cells, penultimate_filters):
    """Describes NASNet-A, `nasnet_4a1056` or `nasnet_6a4032`."""
    large = cells == "6"
    fields = {
        "cells": int(cells),
        "filters": int(penultimate_filters) // 24,
        "stem_filters": 96 if large else 32,
        "skip_reduction": large,
        "aux_head": False,
        "bn_momentum": 0.9,
    }
    names = {"stem1_unit": "stem1", "stem2_unit": "stem2"}
    for group in range(3):
        ours = [f"reduction{group}"] if group else []
        ours += [f"cell{group * int(cells) + i + 1}" for i in range(int(cells))]
        names |= {f"stage{group + 1}.unit{i}": name for i, name in enumerate(ours, 1)}
    layers = conv_and_bn("features.init_block")
    for theirs, ours in names.items():
        theirs = f"features.{theirs}"
        layers += conv_and_bn(f"{theirs}.conv1x1", "", f"{ours}/")
        layers += conv_and_bn(f"{theirs}.conv1x1_prev", "", f"{ours}/previous_")
        for i, side in enumerate(("left", "right"), 1):
            layers.append((f"{theirs}.path.path{i}.conv", f"{ours}/previous/{side}", 1))
        layers.append((f"{theirs}.path.bn", f"{ours}/previous/bn", 1))
        for node in range(5):
            for side in ("left", "right"):
                for j in (1, 2):
                    separable = f"{theirs}.comb{node}_{side}.conv{j}"
                    ours_ = f"{ours}/node{node + 2}_{side}"
                    layers.append((f"{separable}.conv.dw_conv", f"{ours_}/sep{j}_depthwise", 1))
                    layers.append((f"{separable}.conv.pw_conv", f"{ours_}/sep{j}_pointwise", 1))
                    layers.append((f"{separable}.bn", f"{ours_}/bn{j}", 1))
    return "nasnet", fields, [*layers, ("output.fc", "fc", 1)]


DATA = "(?:cifar10|cifar100|svhn)"
FAMILIES = tuple(  # pattern of the name, libraries, what describes it
    (pattern, ("pytorchcv",), describe)
    for pattern, describe in (
        (r"alexnet(b?)", describe_alexnet),
        (r"zfnet(b?)", describe_zfnet),
        (r"vgg(\d+)", describe_vgg),
        (r"bn_vgg(\d+)(b?)", describe_bn_vgg),
        (r"resnet(18|34|bc26b|50b?|101b?|152b?)", describe_resnet),
        (rf"resnet(\w+)_{DATA}", describe_resnet_cifar),
        (r"preresnet(18|34|50b?|101b?|152b?|200b?)", describe_preresnet),
        (rf"preresnet(\w+)_{DATA}", describe_preresnet_cifar),
        (r"resnext(50|101)_(\d+)x(\d+)d()", describe_resnext),
        (rf"resnext(20|29|272)_(\d+)x(\d+)d(_{DATA})", describe_resnext),
        (r"densenet(121|161|169|201)", describe_densenet),
        (rf"densenet(40|100|190|250)_k(\d+)(_bc)?_{DATA}", describe_densenet_cifar),
        (r"mobilenet_(\w+)", describe_mobilenet),
        (r"shufflenet_g(\d)_(\w+)", describe_shufflenet),
        (r"shufflenetv2_(wd2|w1)", describe_shufflenet_v2),
        (r"shufflenetv2b_wd2", describe_shufflenet_v2b),
        (r"nasnet_(4)a(1056)", describe_nasnet),
        (r"nasnet_(6)a(4032)", describe_nasnet),
    )
)
