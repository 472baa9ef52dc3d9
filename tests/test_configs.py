"""Every config of configs/ describes an experiment that can be built."""

import dataclasses
import importlib
import inspect
import json
import pathlib

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

import data
import models
from configs import common, small
from data import pipeline
from training import command, metrics, optimizer, ranges

FILES = sorted(
    path.stem
    for path in (pathlib.Path(__file__).parents[1] / "configs").glob("*.py")
    if path.stem not in command.NOT_CONFIGS
)
NAMES = [name for name in FILES if name != "small"] + [f"small:{name}" for name in small.NETWORKS]
SHORTER = {  # networks that repeat one block too often to be traced in full here
    "densenet_bc100": {"depth": 10},
    "nasnet": {"cells": 1},
    "nasnet_cifar": {"cells": 1},
    "nasnet_large": {"cells": 1},
    "nasnet_mobile": {"cells": 1},
    "preact_resnet1001": {"depth": 11},
    "preact_resnet164": {"depth": 11},
    "preact_resnet200": {"depth": 50},
    "resnet101": {"depth": 50},
    "resnet110": {"depth": 8},
    "resnet1202": {"depth": 8},
    "resnet152": {"depth": 50},
    "resnext101": {"depth": 50},
    "small:densenet": {"depth": 10},
}
CIFAR_ALONE = {"zoph_le"}  # the paper has no network for ImageNet


def load(name):
    """Returns the config of a file, or of FILE:NETWORK as on the command line."""
    file, *network = name.split(":")
    return importlib.import_module(f"configs.{file}").get_config(*network)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def config(name):
    return load(name)


def test_a_config_lists_every_field_of_its_network_and_no_other(config):
    model = importlib.import_module(f"models.{config.model.name}").Model
    assert set(config.model) - {"name"} == set(models.fields_of(model))


@pytest.mark.parametrize("network", models.available())
def test_the_fields_of_a_network_start_as_its_module_has_them(network):
    function = getattr(common, network)
    arguments = dict.fromkeys(inspect.signature(function).parameters, 20)
    fields = function(**arguments)
    model = importlib.import_module(f"models.{network}").Model
    defaults = {field.name: field.default for field in dataclasses.fields(model)}
    expected = {field: defaults[field] for field in models.fields_of(model)} | arguments
    assert fields.to_dict() == expected | {"name": network}


@pytest.mark.parametrize("network", models.available())
def test_every_network_has_a_config_for_its_papers_images_and_one_for_small_images(network):
    classes, source = 1000, "tfds:imagenet2012"
    if network in CIFAR_ALONE:
        classes, source = 10, "tfds:cifar10"
    configs = [load(file) for file in FILES if file != "small"]
    found = [c for c in configs if c.model.name == network and c.model.num_classes == classes]
    assert found
    assert all(c.input.source == source for c in found)
    assert load(f"small:{network}").model.name == network


def test_an_unknown_network_of_small_is_told_with_the_right_names():
    with pytest.raises(ValueError, match="lenet.*alexnet.*plain.*nasnet"):
        small.get_config("lenet")


def test_networks_of_many_equal_blocks_have_a_depth_that_exists():
    for name in SHORTER:
        fields = load(name).model
        module = importlib.import_module(f"models.{fields.name}")
        if "depth" in fields:
            blocks = getattr(module, "blocks_per_stage", None) or module.layers_per_block
            assert blocks(**{f: fields[f] for f in inspect.signature(blocks).parameters})


def test_all_configs_have_the_same_fields_apart_from_the_network(config):
    def names(tree, prefix=""):
        for name, value in tree.items():
            if hasattr(value, "items") and name != "model":
                yield from names(value, f"{prefix}{name}.")
            else:
                yield prefix + name

    assert sorted(names(config)) == sorted(names(common.get_config()))


def test_every_number_of_a_config_has_a_range_and_is_in_it(config):
    ranges.check(config)
    numeric = {
        name
        for name, value in flatten_dict(config.to_dict(), sep=".").items()
        for one in (value if isinstance(value, tuple) else (value,))
        if isinstance(one, int | float) and not isinstance(one, bool)
    }
    assert numeric <= set(ranges.RANGES)


@pytest.mark.parametrize("field", ranges.RANGES)
def test_a_number_out_of_its_range_is_told_with_the_range(field):
    networks = [load(name) for name in NAMES]
    config = next(c for c in networks if field in flatten_dict(c.to_dict(), sep="."))
    allowed = ranges.RANGES[field]
    wrong = [float("inf"), float("nan")]
    if allowed.low > -float("inf"):
        wrong += [allowed.low - 1] + [allowed.low] * allowed.above
    if allowed.high < float("inf"):
        wrong += [allowed.high + 1] + [allowed.high] * allowed.below
    *sections, name = field.split(".")
    section = config[sections[0]] if sections else config
    right = section[name]
    for number in wrong:
        with section.ignore_type():
            section[name] = (number,) if isinstance(right, tuple) else number
        with pytest.raises(ValueError, match=f"^{field} .*: let it be"):
            ranges.check(config)


def test_a_run_has_to_have_a_length():
    config = load("digits")
    config.total_steps = 0
    config.total_epochs = 0.0
    with pytest.raises(ValueError, match="total_steps and total_epochs are both 0"):
        ranges.check(config)


def test_the_config_of_a_run_is_read_back_as_it_was(config, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"config": config.to_dict()}) + "\n")
    assert command.config_of_run(str(tmp_path)) == config
    assert metrics.differences(config.to_dict(), json.loads(json.dumps(config.to_dict()))) == {}


def test_the_config_of_an_older_run_gets_what_such_runs_did(tmp_path):
    config = load("imagenette")
    assert config.input.exif_orientation
    with config.input.unlocked():
        del config.input.exif_orientation
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"config": config.to_dict()}) + "\n")
    assert command.config_of_run(str(tmp_path)).input.exif_orientation is False
    found = metrics.differences(config.to_dict(), load("imagenette").to_dict())
    assert list(found) == ["input.exif_orientation"]


@pytest.mark.parametrize(
    "config", ["{}", '{"input": 7}', '{"model": {}, "input": [], "optimizer": {}}', "7", '"config"']
)
def test_a_config_of_another_shape_is_none(config, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(f'{{"config": {config}}}\n')
    assert command.config_of_run(str(tmp_path)) is None
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(
        ValueError, match="does not say what config its run had: give it with --config"
    ):
        command.parse(["train.py", f"--workdir={tmp_path}"])


def test_one_step_of_the_experiment_can_be_built(name, config):
    model = models.create(**(config.model.to_dict() | SHORTER.get(name, {})))
    size, channels = config.input.image_size, len(config.input.mean)
    preprocess = data.make_preprocess(config.input, train=True)
    tx, schedule = optimizer.make(config.optimizer, config.batch_size, 1000, 100.0)
    assert config.input.crop in pipeline.CROPS
    assert config.input.resize >= size

    def step(key):
        images = preprocess(key, jnp.zeros((2, size, size, channels), jnp.uint8))
        logits, variables = model.init_with_output(
            {"params": key, "dropout": key}, images, train=True
        )
        params = variables["params"]
        updates, _ = tx.update(params, tx.init(params), params)
        return logits, updates

    logits, _ = jax.eval_shape(step, jax.random.key(0))
    assert logits.shape == (2, config.model.num_classes)
    assert schedule(500) > 0


def test_resnet50_follows_the_recipe_of_nvidia():
    from configs import resnet50

    config = resnet50.get_config()
    tx, schedule = optimizer.make(config.optimizer, 1024, 9000, 100.0)
    assert schedule(800) == pytest.approx(4 * 0.256)  # after eight epochs of warm-up
    assert schedule(500) == pytest.approx(5 / 8 * 4 * 0.256)
    params = {"conv1": {"kernel": jnp.ones(1)}, "bn1": {"scale": jnp.ones(1)}}
    assert optimizer.kernels(params) == {
        "conv1": {"kernel": True},
        "bn1": {"scale": False},
    }
    assert (config.model.depth, config.model.bottleneck_stride) == (50, "3x3")
    assert (config.total_epochs, config.label_smoothing) == (90, 0.1)
