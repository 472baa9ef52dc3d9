"""The networks are those of the papers: their shapes, their fields, their answers, their gradients."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from flax.traverse_util import flatten_dict

import analysis
import models
from analysis import summary
from configs import small
from models import layers, preact_resnet, resnet, resnext
from models.genotypes import cells

SMALL_CELL = (  # genotypes: two nodes are enough to see every path of the code
    ((("sep3", 1, "avg", 0), ("max", 2, "id", 0)), (0, 2, 3)),
    ((("max", 0, "conv1x7_7x1", 1), ("id", 1, "avg", 2)), (2, 3)),
)
CELL_OF_LAST_ALONE = (  # the cell before last is not used
    ((("sep3", 1, "id", 1), ("avg", 2, "max", 1)), (2, 3)),
    ((("sep5", 1, "max", 1),), (2,)),
)
SKIPS = ((3, 3, 4, 1, ()), (1, 5, 4, 2, (1,)), (3, 1, 4, 1, (1, 2)), (3, 3, 4, 3, (0,)))

# A tiny form of each architecture, and the side of its images; of others that of configs/small.py.
TINY = {name: (small.NETWORKS[name][1], 32) for name in models.available()} | {
    "alexnet": ({"stem": "small", "hidden": 16, "initialization": "he"}, 32),
    "densenet": ({"layout": "cifar", "depth": 10, "growth_rate": 4, "dropout": 0.2}, 8),
    "googlenet": ({"stem": "small"}, 32),
    "mobilenet": ({"stem": "small", "width_multiplier": 0.25, "dropout": 0.5}, 32),
    "nasnet": (
        {"layout": "cifar", "cells": 1, "filters": 4, "stem_filters": 4, "genotype": SMALL_CELL},
        16,
    ),
    "preact_resnet": ({"layout": "cifar", "depth": 8, "block": "basic"}, 8),
    "resnet": ({"layout": "cifar", "depth": 8}, 8),
    "resnext": ({"layout": "cifar", "depth": 11, "cardinality": 4}, 8),
    "shufflenet": ({"stem": "small", "scale": 0.25}, 32),
    "shufflenet_v2": ({"stem": "small", "width_multiplier": 0.5}, 32),
    "vgg": ({"depth": 11, "hidden": 16}, 32),
    "zfnet": ({"stem": "small", "hidden": 16, "initialization": "he"}, 32),
    "zoph_le": ({"genotype": SKIPS}, 8),
}
LONG_TO_COMPILE = {"googlenet", "mobilenet", "nasnet", "resnext", "shufflenet", "shufflenet_v2"}


def tiny(name, **fields):
    """Returns (module, images), the images random."""
    small, side = TINY[name]
    module = models.create(name, **{"num_classes": 5} | small | fields)
    return module, normal(1, (4, side, side, 3))


def variables_of(module, images):
    """Returns random variables; to compile the initialisers would take longer than the tests."""
    shapes = models.shapes(module, images.shape[1:])
    random = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return random.normal(0, scale, leaf.shape).astype(leaf.dtype)
        return np.full(leaf.shape, float(path[-1].key in ("scale", "var")), leaf.dtype)

    return {c: jax.tree.map_with_path(draw, shapes[c]) for c in shapes if c != "aux_logits"}


def shapes_of(name, side, **fields):
    """Returns the shape of each feature map of one image, without its first dimension."""
    module = models.create(name, num_classes=10, **fields)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = models.shapes(module, (side, side, 3))
    maps = jax.eval_shape(lambda v, x: models.features(module, v, x), variables, image)
    return {key: value.shape[1:] for key, value in maps.items()}


@pytest.mark.parametrize("name", TINY)
def test_parameters_statistics_and_logits_are_float32_whatever_the_computation(name):
    module, images = tiny(name, num_classes=7, dtype="bfloat16")
    variables = models.shapes(module, images.shape[1:])
    # Without a random key: evaluation draws nothing.
    logits = jax.eval_shape(module.apply, variables, images)
    assert logits.shape == (4, 7)
    training = jax.eval_shape(
        lambda v, x: module.apply(
            v, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
        ),
        variables,
        images,
    )
    dtypes = {x.dtype for x in jax.tree.leaves((logits, variables, training))}
    assert dtypes == {jnp.dtype("float32")}
    maps = jax.eval_shape(lambda v, x: models.features(module, v, x), variables, images)
    assert len(maps) > 3
    assert all(value.shape[0] == 4 for value in maps.values())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LONG_TO_COMPILE else ())
        for name in TINY
    ],
)
def test_every_parameter_learns_and_only_dropout_is_random(name):
    module, images = tiny(name)

    def loss_and_logits(params, rest, images, key):
        logits, updates = module.apply(
            {"params": params, **rest},
            images,
            train=True,
            mutable=["batch_stats", "aux_logits"],
            rngs={"dropout": key},
        )
        heads = [logits, *jax.tree.leaves(updates.get("aux_logits", {}))]
        log_likelihoods = [jax.nn.log_softmax(head)[jnp.arange(4), jnp.arange(4)] for head in heads]
        return -sum(each.mean() for each in log_likelihoods), logits

    variables = variables_of(module, images)
    params = variables.pop("params")
    step = jax.jit(jax.grad(loss_and_logits, has_aux=True))
    gradients, logits = step(params, variables, images, jax.random.key(2))
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(gradient).all(), jax.tree_util.keystr(path)
        assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)
    _, others = step(params, variables, images, jax.random.key(3))
    assert np.isfinite(logits).all()
    assert (np.abs(logits - others).max() > 0) == (getattr(module, "dropout", 0) > 0)


@pytest.mark.parametrize(
    "name, fields, side, expected",
    [
        ("alexnet", {}, 224, {"conv1": 55, "conv2": 27, "conv3": 13, "conv5": 13}),
        ("alexnet", {"conv1_padding": 0}, 227, {"conv1": 55, "conv2": 27, "conv3": 13}),
        ("alexnet", {"form": "single_tower"}, 227, {"conv1": 56, "conv2": 27, "conv3": 13}),
        ("zfnet", {}, 224, {"conv1": 110, "conv2": 26, "conv3": 13, "conv5": 13}),
        ("vgg", {"depth": 11}, 224, {f"stage{i + 1}": 224 >> i for i in range(5)}),
        (
            "googlenet",
            {},
            224,
            {"conv1": 112, "conv2": 56, "inception3b": 28, "inception4e": 14, "inception5b": 7},
        ),
        ("resnet", {"depth": 18}, 224, {"stem": 56, "stage1": 56, "stage2": 28, "stage4": 7}),
        ("resnet", {"depth": 8, "layout": "cifar"}, 32, {"stage1": 32, "stage2": 16, "stage3": 8}),
        ("mobilenet", {}, 224, {"stem": 112, "conv4": 56, "conv12": 14, "conv13": 7, "conv14": 7}),
        ("shufflenet", {}, 224, {"stem": 56, "stage2": 28, "stage3": 14, "stage4": 7}),
        ("shufflenet_v2", {}, 224, {"stem": 56, "stage2": 28, "stage4": 7, "conv5": 7}),
    ],
)
def test_maps_have_the_published_sizes(name, fields, side, expected):
    shapes = shapes_of(name, side, **fields)
    assert {key: shapes[key][0] for key in expected} == expected
    assert all(len(shape) == 1 or shape[0] == shape[1] for shape in shapes.values())


@pytest.mark.parametrize("name, side", [("alexnet", 224), ("zfnet", 224)])
def test_fc6_sees_maps_of_6_x_6(name, side):
    module = models.create(name, num_classes=10)
    params = models.shapes(module, (side, side, 3))["params"]
    assert params["fc6"]["kernel"].shape == (6 * 6 * 256, 4096)


@pytest.mark.parametrize(
    "depth, growth_rate, widths",
    [(121, 32, (256, 512, 1024, 1024)), (161, 48, (384, 768, 2112, 2208))],
)
@pytest.mark.slow
def test_densenet_grows_to_the_published_widths(depth, growth_rate, widths):
    shapes = shapes_of("densenet", 224, depth=depth, growth_rate=growth_rate)
    assert shapes["stem"] == (56, 56, 2 * growth_rate)
    sides = (56, 28, 14, 7)
    expected = {f"block{i + 1}": (sides[i], sides[i], widths[i]) for i in range(4)}
    assert {key: shapes[key] for key in expected} == expected


@pytest.mark.parametrize(
    "fields, side, expected",
    [
        (
            {},
            224,
            ((28, 88), (28, 264), (14, 352), (14, 528), (7, 704), (7, 1056)),
        ),
        (
            {"filters": 168, "stem_filters": 96, "skip_reduction": True},
            331,
            ((42, 336), (42, 1008), (21, 1344), (21, 2016), (11, 2688), (11, 4032)),
        ),
        (
            {"filters": 32, "stem_filters": 96, "layout": "cifar"},
            32,
            ((32, 96), (32, 192), (16, 256), (16, 384), (8, 512), (8, 768)),
        ),
    ],
)
@pytest.mark.slow
def test_nasnet_has_the_shapes_of_tf_slims_tests(fields, side, expected):
    shapes = shapes_of("nasnet", side, cells=1, **fields)  # their number changes no shape
    names = ("stem", "cells1", "reduction1", "cells2", "reduction2", "cells3")
    assert shapes.pop("last") == shapes["cells3"]
    assert shapes == {n: (a, a, c) for n, (a, c) in zip(names, expected, strict=True)}


# Layers


def test_channel_shuffle_reads_the_channels_across_the_groups():
    shuffled = layers.channel_shuffle(jnp.arange(6.0).reshape(1, 1, 1, 6), 3)
    assert shuffled.ravel().tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize("alpha, k", [(1e-4, 2.0), (1e-4 / 5, 1.0)])  # the paper's, Caffe's
def test_response_normalisation_of_five_channels_by_hand(alpha, k):
    x = np.array([1, 2, 3, 4, 5], np.float64) * 10
    squares = 100 * np.array([1 + 4 + 9, 1 + 4 + 9 + 16, 55, 4 + 9 + 16 + 25, 9 + 16 + 25])
    expected = x / (k + alpha * squares) ** 0.75
    normalised = layers.local_response_norm(jnp.asarray(x.reshape(1, 1, 1, 5)), alpha=alpha, k=k)
    np.testing.assert_allclose(normalised.ravel(), expected, rtol=1e-5)


def test_adaptive_pooling_has_the_windows_of_pytorch():
    rows = jnp.eye(14).reshape(1, 14, 1, 14) * jnp.ones((1, 1, 14, 1))
    pooled = np.asarray(layers.adaptive_average_pool(rows, 4))[0, :, 0]
    assert [np.flatnonzero(row).tolist() for row in pooled] == [
        list(range(0, 4)),
        list(range(3, 7)),
        list(range(7, 11)),
        list(range(10, 14)),
    ]
    np.testing.assert_allclose(pooled.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("side, pooled", [(112, 56), (113, 56), (55, 27), (56, 28), (14, 7)])
def test_pooling_of_caffe_rounds_up(side, pooled):
    x = jnp.arange(side, dtype=jnp.float32).reshape(1, side, 1, 1) * jnp.ones((1, 1, side, 1))
    y = layers.max_pool_ceil(x, 3, 2)
    assert y.shape == (1, pooled, pooled, 1)
    assert y[0, 0, 0, 0] == 2  # the first window starts at 0
    assert y[0, -1, 0, 0] == side - 1  # the last is cut where it hangs over


def test_padding_decides_which_pixels_a_stride_of_2_sees():
    pixel = jnp.zeros((1, 8, 8, 1)).at[0, 2, 2, 0].set(1)

    def seen_by(padding):
        conv = layers.conv(1, 3, 2, padding=padding, kernel_init=nn.initializers.ones)
        y = conv.init_with_output(jax.random.key(0), pixel)[0]
        return sorted({int(i) for i in np.argwhere(np.asarray(y))[:, 1]})

    assert seen_by(None) == [1]  # rows 1 to 3
    assert seen_by("SAME") == [0, 1]  # rows 0 to 2, 2 to 4


# Residual networks


def conv_and_norm():
    conv = functools.partial(layers.conv, dtype="float32")
    return {"conv": conv, "norm": layers.batch_norm(False, dtype="float32")}


@pytest.mark.parametrize("zeros, before", [("after", 0), ("around", 2)])
def test_shortcut_a_subsamples_and_pads_with_zeros(zeros, before):
    x = normal(0, (2, 4, 4, 4))
    y = resnet.Shortcut(8, 2, "A", zeros, **conv_and_norm()).apply({}, x)
    assert y.shape == (2, 2, 2, 8)
    assert jnp.array_equal(y[..., before : before + 4], x[:, ::2, ::2])
    assert jnp.abs(y).sum() == jnp.abs(x[:, ::2, ::2]).sum()


def blocks():
    own = conv_and_norm()
    shortcut = functools.partial(resnet.Shortcut, option="B", zeros="after", **own)
    fields = {**own, "last_scale": nn.initializers.ones, "shortcut": shortcut}
    unit = functools.partial(preact_resnet.Unit, option="B", first=False, **own)
    basic, bottleneck = ((8, 3, 1), (8, 3, 1)), ((2, 1, 1), (2, 3, 1), (8, 1, 1))
    return {
        "basic": (resnet.BasicBlock(8, 1, **fields), nn.relu),
        "bottleneck": (resnet.BottleneckBlock(2, 1, stride_in="3x3", **fields), nn.relu),
        "resnext": (resnext.Block(4, 8, 1, 2, **own), nn.relu),
        "preact basic": (unit(basic, "full_preactivation"), lambda x: x),
        "preact bottleneck": (unit(bottleneck, "full_preactivation"), lambda x: x),
        "preact original": (unit(basic, "original"), nn.relu),
    }


@pytest.mark.parametrize("name", blocks())
def test_a_block_whose_branch_is_zero_is_the_identity(name):
    block, after = blocks()[name]
    x = normal(0, (2, 4, 4, 8))
    variables = block.init(jax.random.key(1), x)
    assert not jnp.array_equal(block.apply(variables, x), after(x))
    variables["params"] = jax.tree.map(jnp.zeros_like, variables["params"])
    assert jnp.array_equal(block.apply(variables, x), after(x))


@pytest.mark.parametrize(
    "order, norms",  # of the stem 1, of three units, of two shortcuts or none, at the end
    [
        ("original", 1 + 3 * 2 + 2),
        ("bn_after_addition", 1 + 3 * 2),
        ("relu_before_addition", 1 + 3 * 2 + 2),
        ("relu_only_preactivation", 1 + 3 * 2 + 2),
        ("full_preactivation", 1 + 1 + 2 * 2 + 1),
    ],
)
def test_the_five_orders_differ_in_their_batch_norms_alone(order, norms):
    module, images = tiny("preact_resnet", order=order)
    variables = variables_of(module, images)
    logits = jax.jit(module.apply)(variables, images)
    assert np.isfinite(logits).all()
    shapes = [p.shape for p in jax.tree.leaves(variables["params"])]
    kernels = [shape for shape in shapes if len(shape) == 4]
    assert sorted(kernels) == sorted(
        [(3, 3, 3, 16), (3, 3, 16, 16), (3, 3, 16, 16), (3, 3, 16, 32), (3, 3, 32, 32)]
        + [(3, 3, 32, 64), (3, 3, 64, 64), (1, 1, 16, 32), (1, 1, 32, 64)]
    )
    assert len(shapes) - len(kernels) - 2 == 2 * norms  # without the classifier


def test_the_orders_here_are_all_that_there_are():
    assert len(preact_resnet.ORDERS) == 5


# Searched cells


@pytest.mark.parametrize(
    "fields",
    [
        {"genotype": CELL_OF_LAST_ALONE},
        *({"genotype": "", "cell": cell} for cell in cells.PUBLISHED),
    ],
)
@pytest.mark.slow
def test_a_searched_cell_is_a_model_without_new_code(fields):
    module, _ = tiny("nasnet", **fields)
    images = jnp.ones((2, 32, 32, 3))
    variables = models.shapes(module, images.shape[1:])
    assert jax.eval_shape(module.apply, variables, images).shape == (2, 5)
    assert {"cell1", "reduction2", "cell3"} <= set(variables["params"])
    normal, _ = module.genotype or cells.PUBLISHED[module.cell]
    width = 4 * module.filters * len(normal[1])  # the output concatenates these nodes
    assert variables["params"]["fc"]["kernel"].shape[0] == width


def test_an_unknown_operation_is_answered_with_those_that_there_are():
    genotype = ((("sep9", 0, "id", 1),), (2,))
    module, images = tiny("nasnet", genotype=(genotype, genotype))
    with pytest.raises(ValueError, match="'sep9'.*id, avg, max, sep3, sep5, sep7, conv1x7_7x1"):
        models.shapes(module, images.shape[1:])


def test_paths_are_dropped_more_often_as_training_goes_on():
    cell = {"dropout": 0.0, "aux_head": False}
    module, images = tiny("nasnet", **cell, drop_path_keep=0.5)
    never, _ = tiny("nasnet", **cell, drop_path_keep=1.0)
    variables = variables_of(module, images)

    def train(module, progress, key):
        schedule = {"schedule": {"progress": progress}}
        return module.apply(
            variables | schedule, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )[0]

    dropping = jax.jit(functools.partial(train, module))
    whole = jax.jit(functools.partial(train, never))(1.0, jax.random.key(0))
    first = dropping(0.0, jax.random.key(0))
    np.testing.assert_allclose(first, whole, rtol=1e-4, atol=1e-5)
    one, other = dropping(1.0, jax.random.key(0)), dropping(1.0, jax.random.key(1))
    assert jnp.abs(one - other).max() > 1e-3
    assert jnp.abs(one - whole).max() > 1e-3


# ResNet's own fields


def network(**fields):
    model = models.create("resnet", **{"num_classes": 10, "depth": 8, "layout": "cifar"} | fields)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_bfloat16_computes_in_bfloat16_and_answers_nearly_alike():
    x = normal(1, (4, 8, 8, 3))
    model, variables = network()
    low, _ = network(dtype="bfloat16")
    maps = jax.eval_shape(lambda x: models.features(low, variables, x), x)
    assert {value.dtype for value in maps.values()} == {jnp.dtype("bfloat16")}
    difference = jnp.abs(
        jax.jit(low.apply)(variables, x) - jax.jit(model.apply)(variables, x)
    ).max()
    assert 0 < difference < 0.2


def test_zero_init_makes_each_block_start_as_its_shortcut():
    x = jnp.abs(normal(1, (2, 8, 8, 3)))
    model, variables = network(zero_init_last=True, shortcut="A", depth=8)
    run = jax.jit(lambda v, x: (model.apply(v, x), models.features(model, v, x)))
    found, maps = run(variables, x)
    expected = maps["stem"][:, ::4, ::4].mean((1, 2))  # two subsampling shortcuts, then the mean
    dense = variables["params"]["fc"]
    logits = expected @ dense["kernel"][:16] + dense["bias"]
    assert jnp.allclose(found, logits, atol=1e-5)


def test_zero_init_leaves_plain_networks_alone():
    model, variables = network(zero_init_last=True, residual=False)
    assert jnp.abs(jax.jit(model.apply)(variables, jnp.ones((1, 8, 8, 3)))).max() > 0


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"name": "resnot"}, "available: .*resnet"),
        ({"name": "resnet", "dpeth": 50}, "'dpeth'.*depth"),
    ],
)
def test_a_wrong_name_or_field_is_answered_with_the_right_ones(fields, message):
    with pytest.raises(ValueError, match=message):
        models.create(num_classes=10, **fields)


@pytest.mark.parametrize(
    "theirs, ours, fields",
    [
        ("resnet50", "resnet", {"depth": 50}),
        ("ResNet50V2", "preact_resnet", {"depth": 50}),
        ("timm/resnet50.a1_in1k", "resnet", {"depth": 50}),
        ("vgg16_bn", "vgg", {"depth": 16, "batch_norm": True}),
        ("DenseNet121", "densenet", {"depth": 121, "growth_rate": 32}),
        ("mobilenetv1_100", "mobilenet", {"width_multiplier": 1.0, "activation": "relu6"}),
        ("shufflenet_v2_x1_0", "shufflenet_v2", {"width_multiplier": 1.0}),
        ("resnext50_32x4d", "resnext", {"depth": 50, "cardinality": 32, "base_width": 4}),
        ("wide_resnet50_2", "resnext", {"depth": 50, "cardinality": 1, "base_width": 128}),
        ("NASNetLarge", "nasnet", {"cells": 6, "filters": 168}),
    ],
)
def test_a_name_of_another_library_is_answered_with_what_to_type(theirs, ours, fields):
    with pytest.raises(ValueError, match="available: alexnet, .*zoph_le$") as raised:
        models.create(theirs)
    typed = re.search(r"type (models\.create\(.*\)), or", str(raised.value))[1]
    made = models.fields(eval(typed, {"models": models, "N": 7}))
    assert made["name"] == ours and made["num_classes"] == 7 and made == made | fields


@pytest.mark.parametrize("name, near", [("resnot", "resnet"), ("MobileNet", "mobilenet")])
def test_a_misspelt_name_is_answered_with_the_nearest(name, near):
    with pytest.raises(ValueError, match=rf"unknown model '{name}' \(did you mean {near}\?\)"):
        models.create(name)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"depth": 19, "layout": "imagenet"}, "18, 26, 34, 50, 101, 152"),
        ({"depth": 21}, "6n . 2"),
        ({"shortcut": "D"}, "A, B, C"),
        ({"layout": "mnist"}, "imagenet, cifar"),
        ({"bottleneck_stride": "5x5"}, "1x1, 3x3"),
    ],
)
def test_an_option_that_the_paper_does_not_have_is_answered_with_those_it_has(fields, message):
    with pytest.raises(ValueError, match=message):
        network(**fields)


@pytest.mark.parametrize(
    "genotype, message",
    [
        (cells.PUBLISHED["nasnet_a"][:1], "must be .normal, reduction."),
        ((((("sep3", 0, "avg"),), (2,)),) * 2, "operation, input, operation, input"),
        ((((("sep3", 0, "avg", 2),), (2,)),) * 2, "input of node 2 2: choose one of 0, 1"),
        ((((("sep3", 0, "avg", -1),), (2,)),) * 2, "input of node 2 -1: choose one of 0, 1"),
        ((((("sep3", 0, "avg", 1),), (3,)),) * 2, "output 3: choose one of 0, 1, 2"),
        ((((("sep4", 0, "avg", 1),), (2,)),) * 2, "'sep4': choose one of .*sep3, sep5"),
    ],
)
def test_a_genotype_that_is_no_cell_is_explained(genotype, message):
    with pytest.raises(ValueError, match=message):
        output_shape("nasnet", genotype=genotype)


@pytest.mark.parametrize(
    "name, side", [("alexnet", 12), ("zfnet", 8), ("vgg", 16), ("densenet", 2)]
)
def test_too_small_images_are_answered_with_what_to_do(name, side):
    with pytest.raises(ValueError, match="too small.*input.image_size"):
        output_shape(name, side)


def output_shape(name, side=32, **fields):
    module, _ = tiny(name, **fields)
    image = jnp.zeros((1, side, side, 3))
    return jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x)[0], image).shape


def test_a_network_needs_classes_and_a_known_dtype():
    with pytest.raises(ValueError, match="needs num_classes"):
        models.create("vgg")
    with pytest.raises(ValueError, match="'bf16': choose one of float32, bfloat16"):
        models.create("vgg", num_classes=10, dtype="bf16")


def test_zfnets_filters_are_kept_to_their_root_mean_square():
    module, images = tiny("zfnet", filter_rms=0.1)
    params = variables_of(module, images)["params"]
    kernel = params["conv1"]["kernel"]
    kernel = 0.1 * kernel / np.sqrt(np.mean(np.square(kernel), (0, 1, 2)))

    @jax.jit
    def conv1(scale):
        changed = params | {"conv1": params["conv1"] | {"kernel": scale * kernel}}
        return models.features(module, {"params": changed}, images)["conv1"]

    np.testing.assert_allclose(conv1(3.0), conv1(1.0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(conv1(0.5), 0.5 * conv1(1.0), rtol=1e-4, atol=1e-5)


def test_alexnet_starts_as_the_paper_says():
    module, _ = tiny("alexnet", initialization="paper")
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    ones = {name for name, leaf in params.items() if (leaf["bias"] == 1).all()}
    assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}  # section 5
    zeros = {name for name, leaf in params.items() if (leaf["bias"] == 0).all()}
    assert zeros == set(params) - ones
    for leaf in params.values():
        assert np.std(leaf["kernel"]) == pytest.approx(0.01, rel=0.2)


# One name a layer


@pytest.mark.parametrize("name", TINY)
def test_the_table_of_layers_and_the_feature_maps_have_the_same_names(name):
    module, images = tiny(name)
    variables = models.shapes(module, images.shape[1:])
    paths = flatten_dict(variables["params"], sep="/")
    assert not [path for path in paths if re.search("[A-Z]", path)]  # none is Flax's, as "Conv_0"
    maps = jax.eval_shape(lambda v, x: models.features(module, v, x), variables, images)
    counted = analysis.count(module, images.shape[1:])
    outputs = {row.path: row.output for row in summary.rows(counted)}
    shared = maps.keys() & outputs.keys()
    assert {key: maps[key].shape[1:] for key in shared} == {key: outputs[key] for key in shared}
    several = {"vgg": r"stage\d", "nasnet": r"stem|cells\d", "zoph_le": r"layer\d"}
    others = rf"{several.get(name, 'stem')}|last"
    assert all(re.fullmatch(others, key) for key in maps.keys() - shared)
    assert name == "zoph_le" or shared
