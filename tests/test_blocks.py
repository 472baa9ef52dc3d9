"""Whole small networks, in training, are those that NumPy computes by the papers' formulas.

Fewer blocks are enough: their numbers are changed where no field does it. Networks with published
weights are compared with PyTorch's, in evaluation, in test_torch_weights.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import (
    Reference,
    Run,
    average_pool,
    close,
    max_pool,
    padded,
    relu,
    response_norm,
    windows,
)

import models
from models import (
    densenet,
    googlenet,
    mobilenet,
    preact_resnet,
    resnet,
    resnext,
    shufflenet,
    shufflenet_v2,
)

CLASSES = 5


def pictures(side, spread=1.0, number=3):
    return np.random.default_rng(1).normal(0, spread, (number, side, side, 3)).astype(np.float32)


def compare(monkeypatch, reference, name, images, progress=1.0, largest_scale=1.5, **fields):
    """Compares a network with `reference(layers, images)`, which returns the logits."""
    module = models.create(name, num_classes=CLASSES, **fields)
    layers = Reference(Run(module, images, monkeypatch, progress, largest_scale))
    layers.see("logits", reference(layers, np.float64(images)))
    layers.compare()


# AlexNet, ZFNet, VGG. Their pixels are far from 0, so that response normalisation acts.


@pytest.mark.parametrize("towers, stem", [("across", "imagenet"), ("tower", "small")])
def test_alexnet(monkeypatch, towers, stem):
    def response(x):
        parts = np.split(x, 2, -1) if towers == "tower" else [x]
        return np.concatenate([response_norm(part, alpha=1e-4, k=2) for part in parts], -1)

    def reference(layers, x):
        kernel, stride = (11, 4) if stem == "imagenet" else (5, 2)
        x = layers.see("conv1", relu(layers.conv(x, 96, kernel, stride, padding=2)))
        x = max_pool(response(x), 3, 2)
        x = layers.see("conv2", relu(layers.conv(x, 256, 5, groups=2)))
        x = max_pool(response(x), 3, 2)
        x = layers.see("conv3", relu(layers.conv(x, 384, 3)))
        x = layers.see("conv4", relu(layers.conv(x, 384, 3, groups=2)))
        x = layers.see("conv5", relu(layers.conv(x, 256, 3, groups=2)))
        x = max_pool(x, 3, 2).reshape(len(x), -1)
        x = layers.drop(layers.see("fc6", relu(layers.dense(x, 16))), 0.5)
        x = layers.drop(layers.see("fc7", relu(layers.dense(x, 16))), 0.5)
        return layers.dense(x, CLASSES)

    images = pictures(63 if stem == "imagenet" else 31, 100.0)
    fields = {"hidden": 16, "response_norm": towers, "stem": stem}
    compare(monkeypatch, reference, "alexnet", images, **fields)


def test_alexnet_of_a_single_tower(monkeypatch):
    def reference(layers, x):
        x = layers.see("conv1", relu(layers.conv(x, 64, 11, 4, padding=2)))
        x = layers.see("conv2", relu(layers.conv(max_pool(x, 3, 2), 192, 5)))
        x = layers.see("conv3", relu(layers.conv(max_pool(x, 3, 2), 384, 3)))
        x = layers.see("conv4", relu(layers.conv(x, 256, 3)))
        x = layers.see("conv5", relu(layers.conv(x, 256, 3)))
        x = max_pool(x, 3, 2).reshape(len(x), -1)
        x = layers.see("fc6", relu(layers.dense(layers.drop(x, 0.4), 16)))
        x = layers.see("fc7", relu(layers.dense(layers.drop(x, 0.4), 16)))
        return layers.dense(x, CLASSES)

    fields = {"form": "single_tower", "hidden": 16, "dropout": 0.4}
    compare(monkeypatch, reference, "alexnet", pictures(63), **fields)


def rescale(kernel, limit):
    """Returns filters whose root mean square is at most `limit` (ZFNet, section 3)."""
    rms = np.sqrt(np.square(kernel).mean((0, 1, 2)))
    return np.where(rms > limit, kernel * limit / rms, kernel)


@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_zfnet(monkeypatch, stem):
    limit = 0.117  # about half of the filters are above it
    padding, of_conv2 = (1, (2, 0)) if stem == "imagenet" else (3, (1, 2))  # its stride, padding

    def reference(layers, x):
        x = layers.conv(x, 96, 7, 2, padding, change=lambda kernel: rescale(kernel, limit))
        x = layers.see("conv1", relu(x))
        x = response_norm(max_pool(x, 3, 2, padding="ceil"), alpha=1e-4, k=2)
        x = layers.see("conv2", relu(layers.conv(x, 256, 5, *of_conv2)))
        x = response_norm(max_pool(x, 3, 2, padding="ceil"), alpha=1e-4, k=2)
        for i, features in enumerate((384, 384, 256), 3):
            x = layers.see(f"conv{i}", relu(layers.conv(x, features, 3)))
        x = max_pool(x, 3, 2).reshape(len(x), -1)
        x = layers.drop(layers.see("fc6", relu(layers.dense(x, 16))), 0.5)
        x = layers.drop(layers.see("fc7", relu(layers.dense(x, 16))), 0.5)
        return layers.dense(x, CLASSES)

    images = pictures(63 if stem == "imagenet" else 30, 100.0)
    fields = {"hidden": 16, "filter_rms": limit, "stem": stem}
    compare(monkeypatch, reference, "zfnet", images, **fields)


def test_zfnets_filters_get_the_gradient_of_the_rescaled_ones_times_a_constant():
    module = models.create("zfnet", num_classes=CLASSES, hidden=4)
    random, x = np.random.default_rng(0), pictures(63)
    draw = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda leaf: random.normal(0, 0.1, leaf.shape).astype("float32"), draw)
    name, kernel = next((n, v["kernel"]) for n, v in params.items() if len(v["kernel"]) == 7)
    weights = random.normal(0, 1, (len(x), 30, 30, 96))

    def loss(params):
        return (models.features(module, {"params": params}, x)["conv1"] * weights).sum()

    found = jax.jit(jax.grad(loss))(params)[name]["kernel"]
    scale = np.minimum(1, 0.1 / np.sqrt(np.square(kernel).mean((0, 1, 2))))
    assert scale.min() < 1 and scale.max() == 1
    seen = windows(padded(np.float64(x), (7, 7), (2, 2), 1, 0.0), (7, 7), (2, 2))
    y = np.tensordot(seen, rescale(kernel, 0.1), ((3, 4, 5), (2, 0, 1))) + params[name]["bias"]
    gradient = np.tensordot(seen, weights * (y > 0), ((0, 1, 2), (0, 1, 2))) * scale
    close(found, gradient.transpose(1, 2, 0, 3), "kernel")


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg(monkeypatch, batch_norm):
    def reference(layers, x):
        for stage, width in enumerate((64, 128, 256, 512, 512), 1):
            for _ in range(2 if stage == 1 else 1):
                x = layers.conv(x, width, 3)
                x = relu(layers.norm(x) if batch_norm else x)
            x = max_pool(layers.see(f"stage{stage}", x), 2, 2)
        x = x.reshape(len(x), -1)
        x = layers.drop(layers.see("fc6", relu(layers.dense(x, 16))), 0.5)
        x = layers.drop(layers.see("fc7", relu(layers.dense(x, 16))), 0.5)
        return layers.dense(x, CLASSES)

    fields = {"stages": (2, 1, 1, 1, 1), "hidden": 16, "batch_norm": batch_norm}
    compare(monkeypatch, reference, "vgg", pictures(32), **fields)


# GoogLeNet


def inception(x, widths, conv, kernel_5x5):
    one, reduce_3x3, three, reduce_5x5, five, projection = widths
    branches = [
        conv(x, one, 1),
        conv(conv(x, reduce_3x3, 1), three, 3),
        conv(conv(x, reduce_5x5, 1), five, kernel_5x5),
        conv(max_pool(x, 3, 1, padding=1), projection, 1),
    ]
    return np.concatenate(branches, axis=-1)


@pytest.mark.parametrize(
    "form, stem",
    [
        ("paper", "imagenet"),
        ("paper", "small"),
        ("batch_norm", "imagenet"),
        ("torchvision", "imagenet"),
    ],
)
def test_googlenet(monkeypatch, form, stem):
    modules = {"4a": (5, 2, 3, 2, 4, 3), "4d": (3, 4, 4, 3, 2, 5), "5a": (6, 3, 4, 2, 5, 3)}
    monkeypatch.setattr(googlenet, "INCEPTION", modules)
    kernel_5x5, last_pooling = (3, 2) if form == "torchvision" else (5, 3)

    def reference(layers, x):
        def conv(x, *geometry):
            x = layers.conv(x, *geometry)
            return relu(x if form == "paper" else layers.norm(x, epsilon=1e-3))

        def response(x):  # Caffe's alpha of 1e-4 is divided by the five channels
            return response_norm(x, alpha=1e-4 / 5, k=1) if form == "paper" else x

        def head(x):  # sees maps of 6 x 6; torchvision averages them to 4 x 4
            if stem == "small":  # of 4 x 4, smaller than the paper's window
                x = average_pool(x, 4, 3)
            elif form == "torchvision":
                x = average_pool(x, 2, 1)[:, [0, 1, 3, 4]][:, :, [0, 1, 3, 4]]
            else:
                x = average_pool(x, 5, 3)
            x = conv(x, 128, 1).reshape(len(x), -1)
            return layers.dense(layers.drop(relu(layers.dense(x, 1024)), 0.7), CLASSES)

        x = layers.see("conv1", conv(x, 64, 3 if stem == "small" else 7, 2))
        if stem == "imagenet":
            x = max_pool(x, 3, 2, padding="ceil")
        x = response(conv(conv(response(x), 64, 1), 192, 3))
        x = max_pool(layers.see("conv2", x), 3, 2, padding="ceil")
        for name, widths in modules.items():
            if name in ("4a", "5a"):
                x = max_pool(x, 3 if name == "4a" else last_pooling, 2, padding="ceil")
            x = layers.see(f"inception{name}", inception(x, widths, conv, kernel_5x5))
            if name in ("4a", "4d"):
                layers.see({"4a": "aux1", "4d": "aux2"}[name], head(x))
        return layers.dense(layers.drop(x.mean((1, 2)), 0.4), CLASSES)

    images = pictures(32 if stem == "small" else 96, 100.0)
    compare(monkeypatch, reference, "googlenet", images, form=form, stem=stem)


# Residual networks


def pad_channels(x, features, stride):
    """Shortcut A: subsampled, and zeros in the channels that are missing."""
    x = x[:, ::stride, ::stride]
    return np.pad(x, [(0, 0)] * 3 + [(0, features - x.shape[-1])])


def imagenet_stem(layers, x, width):
    """conv1 and the pooling of table 1 in the papers on ResNet, ResNeXt and DenseNet."""
    x = relu(layers.norm(layers.conv(x, width, 7, 2)))
    return layers.see("stem", max_pool(x, 3, 2, padding=1))


@pytest.mark.parametrize(
    "fields",
    [
        {"shortcut": "A"},
        {"shortcut": "A", "shortcut_zeros": "around"},
        {"shortcut": "C"},
        {"residual": False, "drop_path_rate": 0.6},
        {"shortcut": "A", "drop_path_rate": 0.6},
    ],
)
def test_resnet_of_cifar(monkeypatch, fields):
    monkeypatch.setattr(resnet, "blocks_per_stage", lambda *_: (1, 1))

    def block(layers, x, width, stride):
        y = relu(layers.norm(layers.conv(x, width, 3, stride)))
        y = layers.norm(layers.conv(y, width, 3))
        if not fields.get("residual", True):
            return relu(y)
        y = layers.drop(
            y, fields.get("drop_path_rate", 0) * stride / 2, True
        )  # of 2, the second has it
        if fields["shortcut"] == "C":
            return relu(y + layers.norm(layers.conv(x, width, 1, stride)))
        x = pad_channels(x, width, stride)
        return relu(y + (np.roll(x, 8, -1) if "shortcut_zeros" in fields and stride == 2 else x))

    def reference(layers, x):
        x = layers.see("stem", relu(layers.norm(layers.conv(x, 16, 3))))
        x = layers.see("stage1", block(layers, x, 16, 1))
        x = layers.see("stage2", block(layers, x, 32, 2))
        return layers.dense(x.mean((1, 2)), CLASSES)

    compare(monkeypatch, reference, "resnet", pictures(8), layout="cifar", depth=8, **fields)


def residual_block(layers, x, convolutions, rate=0):
    """Figure 5: each convolution and BN, ReLU between; shortcut B, a 1x1 where the shape changes.

    Without the convolutions where they are dropped, at `rate` (arXiv:1603.09382).
    """
    features = convolutions[-1][0]
    stride = max(stride for _, _, stride, *_ in convolutions)
    y = x
    for i, (width, kernel, step, *groups) in enumerate(convolutions):
        y = layers.conv(relu(y) if i else y, width, kernel, step, None, *groups)
        y = layers.norm(y)
    y = layers.drop(y, rate, True)
    if x.shape[-1] != features or stride > 1:
        x = layers.norm(layers.conv(x, features, 1, stride))
    return relu(y + x)


@pytest.mark.parametrize(
    "fields",
    [
        {"depth": 18},
        {"depth": 18, "stem": "small"},
        {"depth": 50, "drop_path_rate": 0.6},
        {"depth": 50, "bottleneck_stride": "1x1"},
    ],
)
def test_resnet_of_imagenet(monkeypatch, fields):
    monkeypatch.setattr(resnet, "blocks_per_stage", lambda *_: (2, 1))

    def reference(layers, x):
        def block(x, width, stride, number):
            if fields["depth"] == 18:
                return residual_block(layers, x, [(width, 3, stride), (width, 3, 1)])
            of_1x1, of_3x3 = (stride, 1) if "bottleneck_stride" in fields else (1, stride)
            convolutions = [(width, 1, of_1x1), (width, 3, of_3x3), (4 * width, 1, 1)]
            return residual_block(
                layers, x, convolutions, fields.get("drop_path_rate", 0) * number / 3
            )

        if "stem" in fields:
            x = layers.see("stem", relu(layers.norm(layers.conv(x, 64, 3))))
        else:
            x = imagenet_stem(layers, x, 64)
        x = layers.see("stage1", block(block(x, 64, 1, 1), 64, 1, 2))
        x = layers.see("stage2", block(x, 128, 2, 3))
        return layers.dense(x.mean((1, 2)), CLASSES)

    compare(monkeypatch, reference, "resnet", pictures(16), **fields)


@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_resnext(monkeypatch, layout):
    monkeypatch.setattr(resnext, "blocks_per_stage", lambda *_: (2, 1))
    paths, width, rate = 3, 2, 0.6 if layout == "cifar" else 0.0

    def reference(layers, x):
        def block(x, stage, stride, number):
            grouped, features = paths * width * stage, 256 * stage
            convolutions = [(grouped, 1, 1), (grouped, 3, stride, paths), (features, 1, 1)]
            return residual_block(layers, x, convolutions, rate * number / 3)

        if layout == "imagenet":
            x = imagenet_stem(layers, x, 64)
        else:
            x = layers.see("stem", relu(layers.norm(layers.conv(x, 64, 3))))
        x = layers.see("stage1", block(block(x, 1, 1, 1), 1, 1, 2))
        x = layers.see("stage2", block(x, 2, 2, 3))
        return layers.dense(x.mean((1, 2)), CLASSES)

    fields = {"layout": layout, "cardinality": paths, "base_width": width, "drop_path_rate": rate}
    side = 16 if layout == "imagenet" else 8
    compare(monkeypatch, reference, "resnext", pictures(side), **fields)


def preactivation_unit(layers, x, convolutions, order, option, first, rate):
    """Figure 4 of the paper, with two or three convolutions; `first`: the stem was the activation."""
    features = convolutions[-1][0]
    stride = max(stride for *_, stride in convolutions)
    before, after, end = {
        "original": ([], ["BN"], ["ReLU"]),
        "bn_after_addition": ([], [], ["BN", "ReLU"]),
        "relu_before_addition": ([], ["BN", "ReLU"], []),
        "relu_only_preactivation": (["ReLU"], ["BN"], []),
        "full_preactivation": (["BN", "ReLU"], [], []),
    }[order]

    def each(x, steps):
        for step in steps:
            x = layers.norm(x) if step == "BN" else relu(x)
        return x

    y = x if first else each(x, before)
    shortcut = x
    if stride > 1 or x.shape[-1] != features:  # appendix: these, too, read the activations
        if option == "A":
            shortcut = pad_channels(y, features, stride)
        else:
            shortcut = each(layers.conv(y, features, 1, stride), [s for s in after if s == "BN"])
    for i, geometry in enumerate(convolutions):
        y = layers.conv(each(y, ["BN", "ReLU"]) if i else y, *geometry)
    return each(layers.drop(each(y, after), rate, True) + shortcut, end)


@pytest.mark.parametrize(
    "fields",
    [
        {"order": "original", "block": "basic"},
        {"order": "bn_after_addition", "bottleneck_stride": "1x1"},
        {"order": "relu_before_addition", "block": "basic", "drop_path_rate": 0.6},
        {"order": "relu_only_preactivation"},
        {"block": "basic", "shortcut": "A", "drop_path_rate": 0.6},
        {},
        {"layout": "imagenet", "first_unit_norm": True},
    ],
)
def test_preactivation_resnet(monkeypatch, fields):
    monkeypatch.setattr(preact_resnet, "blocks_per_stage", lambda *_: (1, 2))
    order = fields.get("order", "full_preactivation")

    def reference(layers, x):
        def unit(x, width, stride, number, first=False):
            of_1x1, of_3x3 = (stride, 1) if "bottleneck_stride" in fields else (1, stride)
            convolutions = [(width, 1, of_1x1), (width, 3, of_3x3), (4 * width, 1, 1)]
            if "block" in fields:
                convolutions = [(width, 3, stride), (width, 3, 1)]
            option = fields.get("shortcut", "B")
            rate = fields.get("drop_path_rate", 0) * number / 3
            return preactivation_unit(layers, x, convolutions, order, option, first, rate)

        if "layout" in fields:
            width, x = 64, imagenet_stem(layers, x, 64)
        else:
            width, x = 16, layers.see("stem", relu(layers.norm(layers.conv(x, 16, 3))))
        x = layers.see("stage1", unit(x, width, 1, 1, "first_unit_norm" not in fields))
        x = layers.see("stage2", unit(unit(x, 2 * width, 2, 2), 2 * width, 1, 3))
        if order == "full_preactivation":
            x = layers.norm(x)
        if order in ("full_preactivation", "relu_only_preactivation"):
            x = relu(x)
        return layers.dense(layers.see("last", x).mean((1, 2)), CLASSES)

    side = 32 if "layout" in fields else 8
    compare(monkeypatch, reference, "preact_resnet", pictures(side), **{"layout": "cifar"} | fields)


# DenseNet


@pytest.mark.parametrize(
    "layout, bottleneck", [("cifar", False), ("cifar", True), ("imagenet", True)]
)
def test_densenet(monkeypatch, layout, bottleneck):
    monkeypatch.setattr(densenet, "layers_per_block", lambda *_: (2, 1))
    growth_rate = 4

    def activate(layers, x):
        return relu(layers.norm(x))

    def reference(layers, x):
        if layout == "imagenet":
            x = imagenet_stem(layers, x, 2 * growth_rate)
        else:
            x = layers.see("stem", layers.conv(x, 2 * growth_rate if bottleneck else 16, 3))
        for block, dense_layers in enumerate((2, 1), 1):
            for _ in range(dense_layers):
                y = x
                if bottleneck:
                    y = layers.conv(activate(layers, y), 4 * growth_rate, 1)
                    y = layers.drop(y, 0.2)
                y = layers.drop(layers.conv(activate(layers, y), growth_rate, 3), 0.2)
                x = np.concatenate([x, y], axis=-1)
            layers.see(f"block{block}", x)
            if block == 1:
                features = x.shape[-1] // 2 if bottleneck else x.shape[-1]
                x = layers.drop(layers.conv(activate(layers, x), features, 1), 0.2)
                x = average_pool(x, 2, 2)
        x = layers.see("last", activate(layers, x))
        return layers.dense(x.mean((1, 2)), CLASSES)

    fields = {"layout": layout, "growth_rate": growth_rate, "bottleneck": bottleneck}
    side = 16 if layout == "imagenet" else 8
    compare(monkeypatch, reference, "densenet", pictures(side), dropout=0.2, **fields)


# MobileNet and ShuffleNet


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"padding": "symmetric", "activation": "relu6", "head_conv": True},
        {"stem": "small"},
        {"separable": False},
    ],
)
def test_mobilenet(monkeypatch, fields):
    body = ((1, 32), (2, 64), (1, 64))  # stride, channels
    monkeypatch.setattr(mobilenet, "BODY", body)
    padding = None if "padding" in fields else "SAME"
    strides = (1, 1, 1, 1) if "stem" in fields else (2, 1, 2, 1)

    def reference(layers, x):
        def unit(x, *geometry, groups=1):
            x = layers.conv(x, *geometry, padding=padding, groups=groups)
            x = relu(layers.norm(x, epsilon=1e-3, momentum=0.9997))
            return np.minimum(x, 6) if "activation" in fields else x

        x = layers.see("stem", unit(x, 16, 3, strides[0]))
        for i, (stride, (_, channels)) in enumerate(zip(strides[1:], body, strict=True), 2):
            if "separable" in fields:
                x = unit(x, channels // 2, 3, stride)
            else:
                x = unit(x, x.shape[-1], 3, stride, groups=x.shape[-1])
                x = unit(x, channels // 2, 1)
            layers.see(f"conv{i}", x)
        if "head_conv" in fields:
            x = layers.see("head_conv", unit(x, 1024, 1))
        return layers.dense(layers.drop(x.mean((1, 2)), 0.3), CLASSES)

    fields = {"width_multiplier": 0.5, "dropout": 0.3} | fields
    # By larger scales some values are above 6, where ReLU6 cuts.
    compare(monkeypatch, reference, "mobilenet", pictures(16), largest_scale=4.0, **fields)


def shuffle_unit(layers, x, features, stride, groups, shuffled, first):
    """Figure 2 of the paper: no ReLU after the depthwise convolution."""
    bottleneck = -(-features // (4 * groups)) * groups
    y = layers.conv(x, bottleneck, 1, groups=1 if first else groups)
    y = relu(layers.norm(y))
    if shuffled:  # channel i of group g becomes channel g of group i
        n = bottleneck // groups
        y = y[..., [g * n + i for i in range(n) for g in range(groups)]]
    y = layers.norm(layers.conv(y, bottleneck, 3, stride, groups=bottleneck))
    left = features if stride == 1 else features - x.shape[-1]
    y = layers.norm(layers.conv(y, left, 1, groups=groups))
    if stride == 1:
        return relu(x + y)
    return relu(np.concatenate([average_pool(x, 3, 2, padding=1), y], axis=-1))


def small_or_pooled_stem(layers, x, width, stem):
    x = relu(layers.norm(layers.conv(x, width, 3, 2 if stem == "imagenet" else 1)))
    return layers.see("stem", max_pool(x, 3, 2, padding=1) if stem == "imagenet" else x)


@pytest.mark.parametrize("groups, shuffled, stem", [(2, False, "small"), (3, True, "imagenet")])
def test_shufflenet(monkeypatch, groups, shuffled, stem):
    monkeypatch.setattr(shufflenet, "UNITS", (2, 1))
    # A quarter of table 1's channels, and their multiples of 4 x groups.
    widths = {2: (56, 104), 3: (60, 120)}[groups]

    def reference(layers, x):
        x = small_or_pooled_stem(layers, x, 6, stem)
        for stage, features in enumerate(widths, 2):
            for i in range(4 - stage):
                first = stage == 2 and i == 0
                x = shuffle_unit(layers, x, features, 1 if i else 2, groups, shuffled, first)
            layers.see(f"stage{stage}", x)
        return layers.dense(x.mean((1, 2)), CLASSES)

    fields = {"groups": groups, "scale": 0.25, "shuffle": shuffled, "stem": stem}
    images = pictures(8 if stem == "small" else 32)
    compare(monkeypatch, reference, "shufflenet", images, **fields)


@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_shufflenet_v2(monkeypatch, stem):
    monkeypatch.setitem(shufflenet_v2.CHANNELS, 0.5, (8, 12, 20))
    monkeypatch.setattr(shufflenet_v2, "UNITS", (2, 1))

    def reference(layers, x):
        def conv(x, *geometry, groups=1):
            return layers.norm(layers.conv(x, *geometry, groups=groups))

        def unit(x, features, stride):
            """Figure 3c and d."""
            half = features // 2
            if stride == 1:
                left, x = x[..., :half], x[..., half:]
            else:
                left = relu(conv(conv(x, x.shape[-1], 3, 2, groups=x.shape[-1]), half, 1))
            x = conv(relu(conv(x, half, 1)), half, 3, stride, groups=half)
            x = relu(conv(x, half, 1))
            return np.stack([left, x], -1).reshape(*x.shape[:-1], features)  # shuffled

        x = small_or_pooled_stem(layers, x, 24, stem)
        x = layers.see("stage2", unit(unit(x, 8, 2), 8, 1))
        x = layers.see("stage3", unit(x, 12, 2))
        x = layers.see("conv5", relu(conv(x, 20, 1)))
        return layers.dense(x.mean((1, 2)), CLASSES)

    images = pictures(8 if stem == "small" else 32)
    compare(monkeypatch, reference, "shufflenet_v2", images, width_multiplier=0.5, stem=stem)


# Searched networks


class Cells:
    """The cells of NASNet: section 3, figure 4 and appendix A.4."""

    def __init__(self, layers, filters, drop):
        self.layers, self.filters, self.drop = layers, filters, drop

    def norm(self, x):
        return self.layers.norm(x, epsilon=1e-5, momentum=0.9)

    def conv(self, x, features, kernel, stride=1, **more):
        return self.layers.conv(x, features, kernel, stride, padding="SAME", **more)

    def point(self, x):
        return self.norm(self.conv(x, self.filters, 1))

    def operation(self, name, x, stride):
        filters = self.filters
        if name == "id":
            if stride == 1 and x.shape[-1] == filters:
                return x
            name = "conv1"
        if name in ("avg", "max", "max5", "max7"):
            if name == "avg":
                x = average_pool(x, 3, stride, padding="SAME", count_zeros=False)
            else:
                x = max_pool(x, int(name[3:] or 3), stride, padding="SAME")
            return x if x.shape[-1] == filters else self.point(x)
        if name.startswith("sep"):
            for step in (stride, 1):
                channels = x.shape[-1]
                x = self.conv(relu(x), channels, int(name[3:]), step, groups=channels)
                x = self.point(x)
            return x
        if name in ("conv1x3_3x1", "conv1x7_7x1"):
            side = int(name[-3])
            x = self.conv(relu(x), filters, (1, side), (1, stride))
            return self.norm(self.conv(x, filters, (side, 1), (stride, 1)))
        side, dilation = {"conv1": (1, 1), "conv3": (3, 1), "dil3": (3, 2)}[name]
        return self.norm(self.conv(relu(x), filters, side, stride, dilation=dilation))

    def halve(self, x):
        """Two 1x1 of stride 2, the second one pixel further down and right; zeros beyond the edge."""
        shifted = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
        left = self.conv(x, self.filters // 2, 1, 2)
        right = self.conv(shifted, self.filters - self.filters // 2, 1, 2)
        return self.norm(np.concatenate([left, right], axis=-1))

    def cell(self, nodes, output, x, previous, stride):
        if previous is None:
            previous = x
        elif previous.shape[1] != x.shape[1]:
            previous = self.halve(relu(previous))
        elif previous.shape[-1] != self.filters:
            previous = self.point(relu(previous))
        states = [previous, self.point(relu(x))]
        for node in nodes:
            terms = []
            for name, i in (node[:2], node[2:4]):
                term = self.operation(name, states[i], stride if i < 2 else 1)
                terms.append(term if name == "id" else self.drop(term))
            together = np.concatenate(terms, -1) if "concat" in node[4:] else terms[0] + terms[1]
            states.append(together)
        side = states[-1].shape[1]
        return np.concatenate([self.match(states[i], side) for i in output], axis=-1)

    def match(self, x, side):
        if x.shape[1] != side:
            return self.halve(x)
        return x if x.shape[-1] == self.filters else self.point(x)


GENOTYPES = {
    "poolings and separable": (
        ((("sep3", 1, "avg", 0), ("max", 2, "id", 0)), (0, 2, 3)),
        ((("max", 0, "conv1x7_7x1", 1), ("id", 1, "avg", 2)), (2, 3)),
    ),
    "the others": (
        ((("sep5", 1, "conv1x3_3x1", 0, "concat"), ("dil3", 2, "max5", 1)), (1, 3)),
        ((("max7", 0, "sep7", 1), ("conv3", 1, "conv1", 2, "add")), (0, 2, 3)),
    ),
}


@pytest.mark.parametrize("genotype", GENOTYPES)
def test_nasnet(monkeypatch, genotype):
    normal, reduction = GENOTYPES[genotype]
    filters, keep_at_end, progress = 4, 0.6, 0.5

    def reference(layers, x):
        outputs = [None, layers.norm(layers.conv(x, 4, 3), epsilon=1e-5)]
        layers.see("stem", outputs[-1])

        def add(cell, group, stride):
            # ScheduledDropPath: more often in later cells, of which there are 5, and in later steps.
            rate = progress * (len(outputs) - 1) / 5 * (1 - keep_at_end)
            cells = Cells(layers, filters * 2**group, lambda y: layers.drop(y, rate, True))
            outputs.append(cells.cell(*cell, outputs[-1], outputs[-2], stride))

        add(normal, 0, 1)
        layers.see("cells1", outputs[-1])
        for group in (1, 2):
            add(reduction, group, 2)
            layers.see(f"reduction{group}", outputs[-1])
            add(normal, group, 1)
            layers.see(f"cells{group + 1}", outputs[-1])
            if group == 1:
                layers.see("aux", head(layers, outputs[-1]))
        x = layers.see("last", relu(outputs[-1]))
        return layers.dense(layers.drop(x.mean((1, 2)), 0.3), CLASSES)

    def head(layers, x):
        x = average_pool(relu(x), 5, 3)
        x = relu(layers.norm(layers.conv(x, 128, 1)))
        x = relu(layers.norm(layers.conv(x, 768, x.shape[1], padding=0)))
        return layers.dense(x.mean((1, 2)), CLASSES)

    fields = {"layout": "cifar", "cells": 1, "filters": filters, "stem_filters": 4}
    fields |= {"genotype": (normal, reduction), "dropout": 0.3, "drop_path_keep": keep_at_end}
    fields |= {"epsilon": 1e-5, "bn_momentum": 0.9}
    compare(monkeypatch, reference, "nasnet", pictures(16), progress, **fields)


def test_the_stem_cells_of_nasnet_count_for_the_depth_of_drop_path(monkeypatch):
    fields = {"cells": 1, "filters": 4, "stem_filters": 4, "aux_head": False, "dropout": 0.0}
    genotype = GENOTYPES["poolings and separable"]
    fields |= {"genotype": genotype, "drop_path_keep": 0.6}
    module, images, keeps = models.create("nasnet", num_classes=CLASSES, **fields), pictures(64), []

    def toss(key, p, shape):
        keeps.append(float(p))
        return jnp.ones(shape, bool)

    monkeypatch.setattr(jax.random, "bernoulli", toss)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    jax.eval_shape(lambda x: module.init(keys, x, train=True), images)
    expected = [1 - (1 - 0.6) * cell / 7 for cell in range(1, 8)]  # two in the stem, five
    np.testing.assert_allclose(list(dict.fromkeys(keeps)), expected)


def test_zoph_le(monkeypatch):
    genotype = ((3, 3, 4, 1, ()), (1, 5, 6, 2, (1,)), (7, 1, 4, 1, (1, 2)), (3, 3, 4, 3, (0,)))

    def concatenate(*maps):
        side = max(x.shape[1] for x in maps)
        missing = [(0, side - x.shape[1]) for x in maps]
        return np.concatenate(
            [np.pad(x, [(0, 0), m, m, (0, 0)]) for x, m in zip(maps, missing, strict=True)], -1
        )

    def reference(layers, x):
        maps = [x]
        for i, (height, width, filters, stride, inputs) in enumerate(genotype, 1):
            x = concatenate(*(maps[j] for j in inputs or (0,)))
            x = layers.conv(x, filters, (height, width), stride, padding="SAME")
            maps.append(layers.see(f"layer{i}", relu(layers.norm(x))))
        x = layers.see("last", concatenate(maps[3], maps[4]))
        return layers.dense(x.mean((1, 2)), CLASSES)

    compare(monkeypatch, reference, "zoph_le", pictures(8), genotype=genotype)
