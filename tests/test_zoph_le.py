"""Networks of Zoph and Le's space: what each layer reads, what the head reads, and mistakes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import analysis
import models
from models import zoph_le
from models.genotypes.layers import check

SKIPS = ((3, 3, 24, 1, ()), (1, 5, 36, 2, (1,)), (7, 1, 48, 1, (1, 2)), (3, 3, 24, 3, (0,)))


def test_smaller_maps_are_padded_with_zeros_below_and_to_the_right():
    large = jnp.array([[1.0, 2, 3], [4, 5, 6]]).reshape(1, 2, 3, 1)
    tall = jnp.array([7.0, 8, 9]).reshape(1, 3, 1, 1)
    both = zoph_le.concatenate([large, tall])
    assert both[0, :, :, 0].tolist() == [[1, 2, 3], [4, 5, 6], [0, 0, 0]]
    assert both[0, :, :, 1].tolist() == [[7, 0, 0], [8, 0, 0], [9, 0, 0]]


def test_a_network_of_1x1_kernels_by_hand():
    point = [1, 1, 1]  # height, width, filters
    genotype = ((*point, 1, ()), (*point, 2, (1,)), (*point, 1, (1, 2)), (*point, 2, ()))
    module = models.create("zoph_le", num_classes=2, genotype=genotype)
    image = jnp.array([[1.0, 2], [3, 4]]).reshape(1, 2, 2, 1)
    shapes = models.shapes(module, image.shape[1:])
    stats = jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes["batch_stats"])
    for norm in stats.values():
        norm["mean"] *= 0
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes["params"])
    for norm in stats:
        params[norm]["scale"] += 1
    for layer, kernel in enumerate([[2], [5], [1, 100], [3]], 1):
        params[f"layer{layer}_conv"]["kernel"][0, 0, :, 0] = kernel
    params["fc"]["kernel"] = np.eye(2)
    variables = {"params": params, "batch_stats": stats}
    logits, maps = jax.jit(
        lambda x: (module.apply(variables, x), models.features(module, variables, x))
    )(image)
    maps = {name: map_[0, :, :, 0] for name, map_ in maps.items()}
    expected = {
        "layer1": [[2, 4], [6, 8]],
        "layer2": [[10]],  # every second pixel of layer 1, five times
        "layer3": [[2 + 100 * 10, 4], [6, 8]],  # layer 1, and layer 2 with zeros around
        "layer4": [[3]],  # reads the image
        "last": [
            [2 + 100 * 10, 4],
            [6, 8],
        ],  # layers 3 and 4, which are read by none; layer 3 first
    }
    assert maps.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(maps[name], value, rtol=1e-4)
    means = [(1002 + 4 + 6 + 8) / 4, (3 + 0 + 0 + 0) / 4]  # layers 3 and 4 are read by none
    np.testing.assert_allclose(logits, [means], rtol=1e-4)


def test_parameters_and_multiply_adds_are_those_counted_by_hand():
    count = analysis.count(models.create("zoph_le", num_classes=10, genotype=SKIPS), (32, 32, 3))
    kernels = [
        3 * 3 * 3 * 24,
        1 * 5 * 24 * 36,
        7 * 1 * (24 + 36) * 48,
        3 * 3 * 3 * 24,
        (48 + 24) * 10,  # layers 3 and 4
    ]
    norms, bias = 2 * (24 + 36 + 48 + 24), 10
    assert count.parameters == sum(kernels) + norms + bias == 26_770
    pixels = [32 * 32, 16 * 16, 32 * 32, 11 * 11, 1]
    expected = [k * p for k, p in zip(kernels, pixels, strict=True)]
    assert [layer.multiply_adds for layer in count.products] == expected
    assert count.multiply_adds == sum(expected) == 22_492_440


def test_the_default_is_a_chain_of_six_layers():
    default = analysis.count(models.create("zoph_le", num_classes=10), (32, 32, 3))
    convs = [3 * 3 * 3 * 36] + 5 * [3 * 3 * 36 * 36]
    assert default.parameters == sum(convs) + 6 * 2 * 36 + 36 * 10 + 10


def test_json_text_and_lists_are_the_same_as_tuples():
    text = json.dumps(SKIPS)
    assert check(text) == SKIPS
    assert check(json.loads(text)) == SKIPS
    assert check(SKIPS) == SKIPS
    one, other = (
        analysis.count(models.create("zoph_le", num_classes=10, genotype=genotype), (8, 8, 3))
        for genotype in (text, SKIPS)
    )
    assert one == other


@pytest.mark.parametrize(
    "genotype, message",
    [
        ("[[3, 3", "it is no JSON"),
        ("best.json", "it is no JSON"),
        ("3", "3: it must be one or more layers .height, width, filters, stride, inputs"),
        ("[]", "one or more layers"),
        ({"height": 3}, "one or more layers"),
        ([3, 3, 24, 1, []], "layer 1, 3: it must be .height, width"),
        ([[3, 3, 24, 1]], "layer 1, .*it must be .height, width"),
        ([[3, 3, 24, 1, 0]], "layer 1, .*it must be .height, width"),
        ([[0, 3, 24, 1, []]], "height 0 of layer 1: give a whole number above 0"),
        ([[3, 1.5, 24, 1, []]], "width 1.5 of layer 1: "),
        ([[3, 3, "24", 1, []]], "filters '24' of layer 1: "),
        ([[3, 3, 24, 1, []], [3, 3, 24, 0, [1]]], "stride 0 of layer 2: "),
        ([[3, 3, 24, 1, [1]]], "input 1 of layer 1: give the number of an earlier layer"),
        ([[3, 3, 24, 1, [-1]]], "input -1 of layer 1: "),
        ([[3, 3, 24, 1, []], [3, 3, 24, 1, [1.0]]], "input 1.0 of layer 2: "),
        ([[3, 3, 24, 1, []], [3, 3, 24, 1, [True]]], "input True of layer 2: "),
        ([[3, 3, 24, 1, []], [3, 3, 24, 1, [1, 1]]], "of layer 2: give each once"),
    ],
)
def test_a_genotype_that_is_no_network_is_explained_in_one_line(genotype, message):
    with pytest.raises(ValueError, match=message) as raised:
        check(genotype)
    assert "\n" not in str(raised.value)


def test_the_network_checks_its_genotype():
    module = models.create("zoph_le", num_classes=10, genotype="[[3, 3, 24, 1, [2]]]")
    with pytest.raises(ValueError, match="input 2 of layer 1"):
        models.shapes(module, (8, 8, 3))
