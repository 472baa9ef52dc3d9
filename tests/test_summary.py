"""The table of layers: geometry, totals and receptive fields that are known from elsewhere."""

import json
import subprocess

import conftest
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import command

import analysis
import models
from analysis import summary
from models import layers


def counted(name, side=224, **fields):
    return conftest.counted(models.create(name, num_classes=1000, **fields), side)


def last_map(count):
    """Returns the last layer with a map of more than one pixel."""
    return [layer for layer in count.layers if len(layer.output) == 3][-1]


@pytest.mark.parametrize(
    "name, fields, pixels",
    [  # the table of https://github.com/google-research/receptive_field
        ("alexnet", {"form": "single_tower"}, 195),
        ("vgg", {"depth": 16}, 212),
        ("resnet", {"depth": 50, "bottleneck_stride": "1x1"}, 483),
        ("mobilenet", {}, 315),
    ],
)
def test_receptive_fields_are_the_published_ones(name, fields, pixels):
    assert last_map(counted(name, **fields)).receptive_field == (pixels, pixels)


def test_a_loop_over_blocks_counts_the_receptive_field_of_each():
    fields = {"layout": "cifar", "depth": 32, "shortcut": "A"}
    # The stem and 15 blocks of two 3x3 convolutions; those of stage 2 (3) step over 2 (4) pixels,
    # those with stride still over 1 (2).
    steps = [1] * 11 + [1] + [2] * 9 + [2] + [4] * 9
    assert last_map(counted("resnet", 32, **fields)).receptive_field == (1 + 2 * sum(steps),) * 2


def test_the_field_of_each_output_is_where_its_gradient_is():
    class Branches(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            x = nn.Conv(1, (3, 3), 2, padding=((0, 1), (2, 0)))(x)
            shifted = jnp.pad(x[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
            long = nn.Conv(1, (3, 1), kernel_dilation=2, padding=((2, 2), (0, 0)))(shifted)
            pooled = nn.avg_pool(x, (2, 3), padding=((1, 0), (1, 1)))
            return nn.Conv(1, (2, 2), 2, padding="VALID", name="last")(long + pooled)

    module, image = Branches(), np.ones((1, 40, 40, 1), np.float32)
    [*_, last] = analysis.count(module, image.shape[1:]).layers
    shapes = models.shapes(module, image.shape[1:])
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    units = ((3, 4), (5, 3))

    def some(x):
        y = module.apply(variables, x)
        return [y[0, *unit, 0] for unit in units]

    for unit, slopes in zip(units, jax.jit(jax.jacrev(some))(image), strict=True):
        for axis, index in enumerate(unit):
            [seen] = slopes[0, :, :, 0].any(1 - axis).nonzero()
            start = last.field_start[axis] + index * last.field_step[axis]
            assert (seen[0], seen[-1] + 1) == (start, start + last.receptive_field[axis])


def test_layers_and_operations_say_what_they_follow():
    count = counted("resnet", 32, layout="cifar", depth=20, shortcut="A")
    after = {one.path: one.after for one in (*count.layers, *count.operations)}
    assert after["conv1"] == ()
    assert after["stage1/block1/add1"] == ("relu1", "stage1/block1/bn2")
    assert after["stage2/block3/conv1"] == ("stage2/block2/relu2",)  # of a loop's second step
    assert set().union(*after.values()) | {"fc"} == set(after)


def test_a_channel_shuffle_is_an_operation():
    class Shuffled(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return layers.channel_shuffle(layers.conv(6, 1, name="conv")(x), 3)

    [found] = analysis.count(Shuffled(), (4, 5, 3)).operations
    assert (found.kind, found.output, found.after) == ("channel shuffle", (4, 5, 6), ("conv",))


def test_a_layer_that_is_called_twice_has_its_parameters_once():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            dense = nn.Dense(8, use_bias=False)
            return dense(dense(x.mean((1, 2))))

    [layer] = analysis.count(Twice(), (4, 4, 8)).products
    assert (layer.parameters, layer.multiply_adds) == (64, 128)


def test_geometry_of_grouped_asymmetric_and_strided_layers():
    found = {layer.path: layer for layer in counted("mobilenet").layers}
    depthwise = found["conv3/depthwise"]
    assert (depthwise.input, depthwise.output) == ((112, 112, 64), (56, 56, 64))
    assert (depthwise.kernel, depthwise.stride, depthwise.groups) == ((3, 3), (2, 2), 64)
    assert depthwise.padding == ((0, 1), (0, 1))
    assert depthwise.multiply_adds == 56 * 56 * 64 * 9
    assert depthwise.memory == 4 * 56 * 56 * 64
    assert found["conv3/bn1"].memory == 0
    assert found["global_average1"].kernel == (7, 7)


def test_blocks_have_the_totals_of_their_layers_and_their_own_output():
    count = counted("googlenet")
    for depth in (0, 1, 2):
        rows = [row for row in summary.rows(count, depth) if row.level == 0]
        for figure in ("parameters", "multiply_adds", "memory"):
            assert sum(row.total(figure) for row in rows) == getattr(count, figure)
    assert len(summary.rows(count, 1)) < len(summary.rows(count))
    inception = next(row for row in rows if row.path == "inception3a")
    assert summary.cells(inception, count, "")[2:4] == ["28 x 28 x 192", "28 x 28 x 256"]


def test_xla_counts_two_operations_a_multiply_add_and_none_for_padding():
    fields = {"depth": 11, "hidden": 512}
    module = models.create("vgg", num_classes=10, **fields)
    multiply_adds = analysis.count(module, (32, 32, 3)).multiply_adds
    # Of a 3x3 kernel at an edge a third falls on padding: the maps here are 32 to 2 wide.
    assert 1.4 < analysis.xla_flops(module, (32, 32, 3)) / multiply_adds < 2


def test_summarize_prints_the_layers_and_the_published_totals():
    done = subprocess.run(**command("scripts/summarize.py", "--config=configs/resnet50.py"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].split() == (
        "conv1 conv 224 x 224 x 3 112 x 112 x 64 7 2 3 1 3,136.0 7.1 9.408 0.0 118.01 2.9 7".split()
    )
    assert "25,557.032" in next(line for line in lines if line.startswith("total"))
    assert "multiply-adds of convolutions and matrix products: 4,089,184,256" in lines


@pytest.mark.slow
def test_summarize_as_json_and_as_markdown_at_another_size():
    script = ["scripts/summarize.py", "--config=configs/cifar10.py"]
    found = json.loads(subprocess.run(**command(*script, "--json")).stdout)
    assert (found["parameters"], found["multiply_adds"]) == (269_722, 40_551_040)
    assert found["xla_flops"] > found["multiply_adds"]
    assert (
        sum(layer["memory"] for layer in found["layers"] if "/" not in layer["path"])
        == found["memory"]
    )
    small = subprocess.run(**command(*script, "--markdown", "--depth=1", "--input_size=16")).stdout
    rows = [line for line in small.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 1 + 2 + 3 + 2 + 1  # heads, rule, stem, stages, head, total
    assert "- multiply-adds of convolutions and matrix products: 10,138,240" in small
    both = subprocess.run(**command(*script, "--json", "--markdown"))
    assert both.returncode == 1 and "choose one" in both.stderr
