"""Every config of configs/ describes an experiment that can be built."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import pytest

import data
import models
from data import pipeline
from training import optimizer

NAMES = sorted(
    path.stem
    for path in (pathlib.Path(__file__).parents[1] / "configs").glob("*.py")
    if path.stem not in ("__init__", "common")
)


@pytest.fixture(params=NAMES)
def config(request):
    return importlib.import_module(f"configs.{request.param}").get_config()


def test_a_config_lists_every_field_of_its_network_and_no_other(config):
    model = importlib.import_module(f"models.{config.model.name}").Model
    assert set(config.model) - {"name"} == set(models.fields_of(model))


def test_all_configs_have_the_same_fields_apart_from_the_network(config):
    from configs import common

    def names(tree, prefix=""):
        for name, value in tree.items():
            if hasattr(value, "items") and name != "model":
                yield from names(value, f"{prefix}{name}.")
            else:
                yield prefix + name

    assert sorted(names(config)) == sorted(names(common.get_config()))


def test_one_step_of_the_experiment_can_be_built(config):
    model = models.create(**config.model)
    size, channels = config.input.image_size, len(config.input.mean)
    preprocess = data.make_preprocess(config.input, train=True)
    tx, schedule = optimizer.make(config.optimizer, config.batch_size, 1000, 100.0)
    assert config.input.crop in pipeline.CROPS

    def step(key):
        images = preprocess(key, jnp.zeros((2, size, size, channels), jnp.uint8))
        variables = model.init(key, images)
        logits = model.apply(variables, images)
        updates, _ = tx.update(
            variables["params"], tx.init(variables["params"]), variables["params"]
        )
        return logits, updates

    logits, _ = jax.eval_shape(step, jax.random.key(0))
    assert logits.shape == (2, config.model.num_classes)
    assert schedule(500) > 0


def test_resnet50_follows_the_recipe_of_nvidia():
    from configs import resnet50

    config = resnet50.get_config()
    tx, schedule = optimizer.make(config.optimizer, 1024, 9000, 100.0)
    assert schedule(500) == pytest.approx(4 * 0.256)  # after five epochs of warm-up
    params = {"Conv_0": {"kernel": jnp.ones(1)}, "BatchNorm_0": {"scale": jnp.ones(1)}}
    assert optimizer.kernels(params) == {
        "Conv_0": {"kernel": True},
        "BatchNorm_0": {"scale": False},
    }
    assert (config.model.depth, config.model.bottleneck_stride) == (50, "3x3")
    assert (config.total_epochs, config.label_smoothing) == (90, 0.1)
