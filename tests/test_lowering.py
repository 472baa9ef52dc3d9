"""What GPUs and TPUs are given: the steps of a run, lowered for them without one, and what travels.

Programs are those of `train.build`: uint8 images, augmentation, network, optimizer. Nothing is computed.
"""

import json
import re
import subprocess
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from conftest import PROJECT, command
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from test_models import TINY

import data
import train
from analysis.communication import collectives
from configs import small
from training import sharding, state

PLATFORMS = ("cuda", "tpu")
QUICK = ("mobilenet", "resnet", "resnext", "zoph_le")  # depthwise, dense, grouped, several sizes
NETWORKS = [
    pytest.param(
        name, dtype, marks=() if (name in QUICK and dtype == "bfloat16") else pytest.mark.slow
    )
    for dtype in ("bfloat16", "float32")
    for name in TINY
]
ELEMENT = {"bfloat16": "bf16", "float32": "f32"}


@pytest.fixture(autouse=True)
def only_shapes_of_weights(monkeypatch):
    only_shapes(monkeypatch)


def only_shapes(monkeypatch):
    """Gives `train.build` a state of shapes: to initialise weights would take longer than all else."""
    monkeypatch.setattr(
        state, "create", lambda model, tx, shape, seed, mesh: state.shapes(model, tx, shape, mesh)
    )


def config_of(name, dtype):
    """Returns a run of a tiny network with all that an augmentation on the device may do."""
    fields, side = TINY[name]
    config = small.get_config()
    config.model = ConfigDict({"name": name, "num_classes": 10, "dtype": dtype} | fields)
    config.batch_size = 64
    config.input.image_size = side
    config.input.crop, config.input.color_jitter, config.input.pca_lighting = "pad", 0.4, 0.1
    return config


def traced(config, devices=1):
    """Returns (state, the training step, the evaluation step) of a run, the steps traced."""
    mesh = sharding.make_mesh(jax.devices()[:devices])
    _, shapes, train_step, eval_step, _ = train.build(config, mesh, 1000, 100.0)

    def batch(**arrays):
        shape = (config.batch_size, *data.input_shape(config.input))
        arrays |= {"image": (shape, jnp.uint8), "label": (shape[:1], jnp.int32)}
        return {name: jax.ShapeDtypeStruct(*array) for name, array in arrays.items()}

    key = jax.eval_shape(lambda: jax.random.key(0))
    mask = ((config.batch_size,), jnp.float32)
    return shapes, train_step.trace(shapes, batch(), key), eval_step.trace(shapes, batch(mask=mask))


class Convolution(NamedTuple):
    """One stablehlo.convolution: how its axes are named, its groups, its arrays."""

    kernel_axes: str
    groups: int
    shapes: list[tuple[int, ...]]  # of the image, the kernel and the result
    dtypes: set[str]


def convolutions(text):
    """Returns the convolutions of a program in StableHLO's text form."""
    found = []
    for line in re.findall(r"stablehlo\.convolution.*", text):
        arrays = re.findall(r"tensor<([\dx]*)x(\w+)>", line)
        shapes = [tuple(map(int, shape.split("x"))) for shape, _ in arrays]
        (axes,) = re.findall(r"\]x\[([^]]*)\]->", line)
        (groups,) = re.findall(r"feature_group_count = (\d+)", line)
        found.append(Convolution(axes, int(groups), shapes, {dtype for _, dtype in arrays}))
    return found


def assert_is_stock(text):
    """No form of the CPU: its marks against fusion, its loops over images and groups; no foreign kernels."""
    assert "inlineable" not in text
    assert "custom_call" not in text
    assert "stablehlo.while" not in text


@pytest.mark.parametrize("name, dtype", NETWORKS)
def test_gpus_and_tpus_compute_whole_convolutions_and_overwrite_the_state(name, dtype):
    shapes, train_step, eval_step = traced(config_of(name, dtype), devices=8)
    params = flatten_dict(shapes.params, sep="/")
    kernels = {path: leaf.shape for path, leaf in params.items() if leaf.ndim == 4}
    arrays = len(jax.tree.leaves(shapes))
    for platform in PLATFORMS:
        text = train_step.lower(lowering_platforms=(platform,)).as_text()
        assert_is_stock(text)
        donated = re.findall(r"%arg(\d+): [^%]*tf\.aliasing_output = (\d+)", text)
        assert donated == [(str(i), str(i)) for i in range(arrays)]

        found = convolutions(text)
        forward = [one for one in found if one.kernel_axes == "0, 1, i, o"]
        of_inputs = [one for one in found if one.kernel_axes == "0, 1, o, i"]
        of_weights = [one for one in found if one.kernel_axes == "i, 0, 1, o"]
        of_images = [one for one in forward if one.shapes[0][3] == 3]  # which need no gradient
        assert sorted(one.shapes[1] for one in forward) == sorted(kernels.values())
        assert sorted(one.shapes[2] for one in of_weights) == sorted(kernels.values())
        assert len(of_inputs) == len(forward) - len(of_images)
        assert len(found) == len(forward) + len(of_inputs) + len(of_weights)

        # Grouped and depthwise ones, too, are one operation with its number of groups.
        assert all(one.shapes[0][3] == one.groups * one.shapes[1][2] for one in forward)

        answer = eval_step.lower(lowering_platforms=(platform,)).as_text()
        assert_is_stock(answer.replace("stablehlo.while", "", 1))  # over the views of an image
        answering = [shape for path, shape in kernels.items() if "aux" not in path]
        assert sorted(one.shapes[1] for one in convolutions(answer)) == sorted(answering)

        dtypes = {kind for one in found + convolutions(answer) for kind in one.dtypes}
        assert dtypes == {ELEMENT[dtype]}
        classifier = re.findall(rf"stablehlo\.dot_general.*x{ELEMENT[dtype]}>, tensor", text)
        assert len(classifier) >= 3  # forward and both gradients


def test_the_cpu_has_its_own_forms():
    _, train_step, _ = traced(config_of("zoph_le", "float32"))
    found = convolutions(train_step.lower(lowering_platforms=("cpu",)).as_text())
    assert {one.kernel_axes for one in found} == {"0, 1, i, o"}  # weight gradients are products


# What travels between devices


def exchange(config, devices):
    """Returns (state, what the devices exchange in a training step, in an evaluation step)."""
    shapes, *steps = traced(config, devices)
    return shapes, *(collectives(step.lower().compile()) for step in steps)


def test_devices_exchange_gradients_once_and_the_statistics_of_batch_norm():
    shapes, training, answering = exchange(config_of("zoph_le", "float32"), devices=8)
    assert {one.kind for one in training} == {"all-reduce"}
    params, stats = (jax.tree.leaves(part) for part in (shapes.params, shapes.batch_stats))
    loss_and_top1 = 2
    numbers = sum(leaf.size for leaf in params + stats) + loss_and_top1
    assert sum(one.bytes for one in training) == 4 * numbers
    assert len(training) <= 1 + len(stats)  # two for each BatchNorm, and one for all else
    assert [(one.kind, one.bytes) for one in answering] == [("all-reduce", 4 * 4)]


ON_64_DEVICES = """
import jax, json, pytest, test_lowering
from configs import resnet50

jax.config.update("jax_num_cpu_devices", 64)
patch = pytest.MonkeyPatch()
test_lowering.only_shapes(patch)
# The CPU computes what GPUs and TPUs do: its own forms may exchange gradients in other shapes.
patch.setattr(jax.lax, "platform_dependent", lambda *arrays, default, **others: default(*arrays))
config = resnet50.get_config()
config.batch_size = 128
_, training, answering = test_lowering.exchange(config, 64)
print(json.dumps([training, answering]))
"""


@pytest.mark.slow
def test_64_devices_exchange_what_8_do():
    done = subprocess.run(
        **command("-c", ON_64_DEVICES, env={"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"})
    )
    assert done.returncode == 0, done.stderr
    training, answering = json.loads(done.stdout.splitlines()[-1])
    assert {kind for kind, *_ in training + answering} == {"all-reduce"}
    parameters, statistics = 25_557_032, 2 * 26_560
    assert sum(size for _, size, _ in training) == 4 * (parameters + statistics + 2)
    assert sum(size for _, size, _ in answering) == 4 * 4
    assert max(size for _, size, _ in training) == 4 * (parameters - statistics + 2)  # in one
    assert len(training) <= 1 + 2 * 53  # two for each BatchNorm, and one for all else
