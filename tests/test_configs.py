"""Every config of configs/ describes an experiment that can be built."""

import dataclasses
import functools
import importlib
import inspect
import json
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from conftest import PROJECT
from flax.traverse_util import flatten_dict

import configs
import data
import models
from configs import common
from data import pipeline
from training import command, initial, loss, metrics, optimizer, ranges, state


def arguments(file):
    """Returns the names of an experiment: "small:vgg", ... by the NETWORKS of small, DEPTHS, ..."""
    taken = configs.available()[file]
    choices = getattr(importlib.import_module(f"configs.{file}"), f"{taken.upper()}S", ())
    return [f"{file}:{choice}" for choice in choices] or [file]


NAMES = [name for file in configs.available() for name in arguments(file)]
ONE_STEP = [file for file in configs.available() if file != "small"] + arguments("small")
SHORTER = {  # networks that repeat one block too often to be traced in full here
    "densenet_bc100": {"depth": 10},
    "nasnet": {"cells": 1},
    "nasnet_cifar": {"cells": 1},
    "nasnet_large": {"cells": 1},
    "nasnet_mobile": {"cells": 1},
    "preact_resnet": {"depth": 11},
    "preact_resnet200": {"depth": 50},
    "small:densenet": {"depth": 10},
}
LONG_TO_TRACE = {
    *("ablations", "densenet121", "googlenet", "nasnet", "nasnet_large", "nasnet_mobile"),
    *("preact_resnet200", "resnext29", "small:googlenet_bn", "small:shufflenet_v2"),
}
CIFAR_ALONE = {"zoph_le"}  # the paper has no network for ImageNet


def load(name):
    """Returns the config of a file, or of FILE:NETWORK as on the command line."""
    file, *network = name.split(":")
    config = importlib.import_module(f"configs.{file}").get_config(*network)
    if not config.model.name:  # that of what a run starts from
        initial.fill(config, {}, SimpleNamespace(config=load("small")))
        config.model.num_classes = 10
    return config


@pytest.fixture(params=NAMES)
def config(request):
    return load(request.param)


@pytest.mark.parametrize("network", models.available())
def test_the_fields_that_are_read_of_a_network_are_those_of_its_class(network):
    model = importlib.import_module(f"models.{network}").Model
    missing = dataclasses.MISSING
    defaults = {
        f.name: None if f.default is missing else f.default for f in dataclasses.fields(model)
    }
    read = {name: field.default for name, field in common.fields_of(network).items()}
    assert read == {name: defaults[name] for name in models.fields_of(model)}
    assert list(read) == models.fields_of(model)


def test_a_network_has_the_fields_that_are_given_and_the_defaults_of_its_class():
    fields = common.model("mobilenet", num_classes=7, width_multiplier=1)
    assert (fields.name, fields.num_classes, fields.padding) == ("mobilenet", 7, "SAME")
    assert type(fields.width_multiplier) is float  # so that a flag may set 0.5


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("vgg", {"dpeth": 16, "num_classes": 10}, "'vgg' has no field dpeth; its fields: .*depth"),
        ("vgg", {"depth": 16}, "'vgg' needs num_classes; its fields: num_classes, depth"),
        ("vgg17", {}, "unknown model 'vgg17'; available: alexnet, .*zoph_le$"),
    ],
)
def test_a_wrong_network_or_field_of_a_config_is_told_with_the_right_ones(name, fields, message):
    with pytest.raises(ValueError, match=message):
        common.model(name, **fields)


@pytest.mark.parametrize("network", models.available())
def test_every_network_has_a_config_for_its_papers_images_and_one_for_small_images(network):
    classes, source = 1000, "tfds:imagenet2012"
    if network in CIFAR_ALONE:
        classes, source = 10, "tfds:cifar10"
    found = [load(name) for name in NAMES if not name.startswith("small:")]
    found = [c for c in found if c.model.name == network and c.model.num_classes == classes]
    assert found, (
        f"models/{network}.py has no experiment of {classes} classes: add configs/{network}.py"
    )
    assert all(c.input.source == source for c in found), f"let it have input.source {source}"
    assert load(f"small:{network}").model.name == network


@pytest.mark.parametrize("file", [file for file, taken in configs.available().items() if taken])
def test_an_unknown_argument_is_told_with_the_right_ones(file):
    first, last = (name.partition(":")[2] for name in (arguments(file)[0], arguments(file)[-1]))
    with pytest.raises(ValueError, match=f"^configs/{file}.py:9: choose one of {first}, .*{last}$"):
        load(f"{file}:9")


@pytest.mark.parametrize(
    "path, message",
    [
        (
            "configs/resnet152.py",
            "no config configs/resnet152.py; write configs/resnet.py:152, and",
        ),
        ("configs/resnet50_he.py", "write configs/resnet.py:50, and for a run of it --workdir="),
        ("configs/resnet1202.py", "write configs/cifar10.py:1202"),
        ("configs/resnext101.py", "write configs/resnext.py:101"),
        ("configs/preact_resnet164.py", "write configs/preact_resnet.py:164"),
        ("configs/resnet.pt:50", "no config configs/resnet.pt; configs/ has .*, resnet:DEPTH, "),
        ("configs/common.py", "configs/ has ablations:ABLATION, .*, digits, .*, small:NETWORK, "),
    ],
)
def test_a_file_that_is_no_config_is_told_with_what_to_write(path, message):
    with pytest.raises(ValueError, match=message):
        configs.check(path)


@pytest.mark.filterwarnings("ignore:the load_module")  # in ml_collections
def test_help_has_each_field_as_a_flag_with_its_value_and_meaning(capsys):
    with pytest.raises(SystemExit) as end:
        command.parse(["train.py", "--help", "--config=configs/resnext.py:101"], configs)
    assert not end.value.code
    _, fields = capsys.readouterr().out.split("fields of configs/resnext.py:101, each a flag:\n")
    found = [line.strip().partition(" ") for line in fields.splitlines()]
    meanings = {flag: meaning.strip() for flag, _, meaning in found}
    config = flatten_dict(load("resnext:101").to_dict(), sep=".")
    assert {flag.partition("=")[0] for flag in meanings} == {f"--config.{name}" for name in config}
    assert meanings["--config.model.cardinality=32"] == "number of paths"
    assert meanings["--config.optimizer.learning_rate=0.1"] == "per 256 images"
    silent = [flag for flag, meaning in meanings.items() if not meaning and ".model." not in flag]
    assert not silent, f"say behind these fields in configs/common.py what they mean: {silent}"


@pytest.mark.filterwarnings("ignore:the load_module")  # in ml_collections
def test_help_shows_the_fields_of_a_config_without_a_network(capsys):
    with pytest.raises(SystemExit):
        command.parse(["train.py", "--help", "--config=configs/finetune.py"], configs)
    assert "--config.model.num_classes=0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "field, choices",
    [
        ("input.crop", pipeline.CROPS),
        ("optimizer.name", optimizer.OPTIMIZERS),
        ("optimizer.schedule", optimizer.SCHEDULES),
        ("optimizer.decay", optimizer.DECAYED),
    ],
)
def test_the_comment_of_a_field_names_all_its_choices(field, choices):
    comment = common.comments(PROJECT / "configs" / "common.py")[field]
    missing = [choice for choice in choices if choice not in comment]
    assert not missing, f"name {missing} behind {field} in configs/common.py"


def test_networks_of_many_equal_blocks_have_a_depth_that_exists():
    for name in NAMES:
        fields = load(name).model
        module = importlib.import_module(f"models.{fields.name}")
        for function in ("blocks_per_stage", "layers_per_block"):
            if blocks := getattr(module, function, None):
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
    missing = {name for name in numeric - set(ranges.RANGES) if not name.startswith("model.")}
    assert not missing, f"say in training/ranges.py what these may be: {missing}"


@pytest.mark.parametrize("field", ranges.RANGES)
def test_a_number_out_of_its_range_is_told_with_the_range(field):
    networks = (load(name) for name in NAMES)
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


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("model.depth", 0, "model.depth 0: let it be at least 1 and at most 2,147,483,647"),
        ("model.width_multiplier", 0.0, "model.width_multiplier 0.0: let it be above 0"),
    ],
)
def test_a_number_of_a_network_without_a_range_of_its_own_is_above_0(field, value, told):
    config = load("digits")
    config.model = {"depth": 8, "width_multiplier": 1.0, "scan": False}
    ranges.check(config)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=told):
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


def test_the_config_of_the_first_runs_gets_what_such_runs_did(tmp_path):
    first = json.loads((PROJECT / "tests" / "first_run.json").read_text())  # a run of imagenette
    (tmp_path / "metrics.jsonl").write_text(json.dumps(first) + "\n")
    found, now = command.config_of_run(str(tmp_path)), load("imagenette")
    before, after = (flatten_dict(c.to_dict() | {"model": {}}, sep=".") for c in (found, now))
    missing = after.keys() - before.keys()
    assert not missing, f"BEFORE_THERE_WAS of training/metrics.py: what did runs before {missing}?"
    assert not found.input.exif_orientation and now.input.exif_orientation
    assert list(metrics.differences(first["config"], now.to_dict())) == ["input.exif_orientation"]


@pytest.mark.parametrize("field", metrics.BEFORE_NETWORKS_HAD)
def test_a_field_that_a_network_got_later_is_as_runs_before_did(field):
    name = field.removeprefix("model.")
    defaults = [
        common.fields_of(network)[name].default
        for network in common.architectures()
        if name in common.fields_of(network)
    ]
    assert set(defaults) == {metrics.BEFORE_NETWORKS_HAD[field]}
    assert metrics.differences({"model": {}}, {"model": {name: defaults[0]}}) == {}


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
        command.parse(["train.py", f"--workdir={tmp_path}"], configs)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LONG_TO_TRACE else ())
        for name in ONE_STEP
    ],
)
def test_one_step_of_the_experiment_can_be_built(name):
    config = load(name)
    model = models.create(**(config.model.to_dict() | SHORTER.get(name, {})))
    size, channels = config.input.image_size, len(config.input.mean)
    preprocess = data.make_preprocess(config.input, train=True)
    layers = functools.partial(state.layers, model, (size, size, channels))
    tx, schedule = optimizer.make(config.optimizer, config.batch_size, 1000, 100.0, layers)
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


@pytest.mark.parametrize(
    "recipe, peak",
    [
        ("resnet18_cifar10", 0.1),
        ("resnet50_cifar10", 0.1),
        ("resnet18_cifar10_fast", 0.4),
        ("resnet50_a2", 5e-3 * 2040 / 2048),
        ("resnet50_a3", 8e-3),
        ("resnet50_torchvision", 0.5),
        ("shufflenet_v2_1.5", 0.5),
        ("shufflenet_v2_2.0", 0.5),
        ("mobilenet", 0.5),
        ("resnet50_ffcv16", 1.7),
        ("resnet50_ffcv88", 1.7),
    ],
)
def test_the_parts_of_a_recipe_fit_and_its_rate_is_that_of_the_source(recipe, peak):
    config = load(f"recipes:{recipe}")
    _, schedule = optimizer.make(config.optimizer, config.batch_size, 1000, 10.0)
    rates = [float(schedule(step)) for step in range(0, 1000, 10)]
    assert max(rates) == pytest.approx(peak, rel=0.01) and rates[-1] < 0.02 * peak
    loss.make(config, config.model.num_classes)
    data.make_preprocess(config.input, train=True)
    config.input.in_memory = False
    data.make_train([(b"", 0)] * 8, config.input, config.batch_size, seed=0)
    models.create(**config.model)


def test_every_recipe_has_its_source_in_the_docstring():
    from configs import recipes

    entries = re.findall(r"^  (\w[\w., ]*?)  ", recipes.__doc__, re.M)
    assert {name for entry in entries for name in entry.split(", ")} == set(recipes.RECIPES)


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
