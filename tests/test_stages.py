"""A stage answers and learns alike as blocks one by one, as a loop, and with rematerialisation."""

import itertools
import math

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import normal

import analysis
import models
from models.layers import drop_path, stages, stochastic_depth

NETWORKS = {
    "resnet": {"depth": 20, "layout": "cifar", "drop_path_rate": 0.5},
    "preact_resnet": {"depth": 20, "layout": "cifar", "drop_path_rate": 0.5},
    "densenet": {"depth": 10, "layout": "cifar", "bottleneck": False, "dropout": 0.2},
}
CASES = [
    ("resnet", ("scan",)),
    ("preact_resnet", ("scan", "remat")),
    ("densenet", ("remat",)),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, switches", CASES)
def test_the_switches_change_no_result(name, switches):
    plain, switched = learn(name), learn(name, **dict.fromkeys(switches, True))
    assert jax.tree.structure(plain) == jax.tree.structure(switched)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(switched), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * (1 + np.abs(a).max()))


def learn(name, **fields):
    """Returns the logits of evaluation, and a step's loss, BatchNorm statistics and gradients."""
    module = models.create(name, num_classes=10, **NETWORKS[name], **fields)
    images = normal(1, (4, 16, 16, 3))
    shapes = models.shapes(module, images.shape[1:])
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: random.uniform(0.1, 0.3, s.shape).astype("f"), shapes)
    variables["params"] = jax.tree.map(lambda w: w - 0.2, variables["params"])

    def loss(params):
        logits, updates = module.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(3)},
        )
        return optax.softmax_cross_entropy_with_integer_labels(
            logits, jnp.arange(4)
        ).mean(), updates

    learned = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    return jax.jit(module.apply)(variables, images), learned


def test_branches_are_dropped_more_often_the_deeper_they_are():
    keeps = stochastic_depth(0.5, (3, 4, 1))
    assert [len(of_stage) for of_stage in keeps] == [3, 4, 1]
    np.testing.assert_allclose(sum(keeps, ()), 1 - np.arange(1, 9) / 8 * 0.5)
    assert stochastic_depth(0.0, (3, 4, 1)) == [(), (), ()]


@pytest.mark.parametrize("scan", [False, True])
def test_each_block_of_a_stage_drops_its_branch_as_often_as_it_says(scan):
    """Branches of ones, a block each: an image gets the sum of 1 / keep of those that it keeps."""

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, drop=None):
            return x + drop_path(
                self.param("one", nn.initializers.ones, ()) * jnp.ones_like(x), drop
            )

    keeps, number = (0.9, 0.5, 0.25), 2000
    stage = stages.Stage((Block,) * 3, scan, keeps=keeps)
    x = jnp.zeros((number, 2))
    variables = {"params": {f"block{i}": {"one": jnp.ones(())} for i in (1, 2, 3)}}
    found = np.asarray(stage.apply(variables, x, rngs={"dropout": jax.random.key(0)}))
    np.testing.assert_array_equal(found[:, 0], found[:, 1])  # all of an image, or nothing
    coins = np.array(list(itertools.product((0, 1), repeat=3)))
    sums = coins @ (1 / np.array(keeps))
    of_images = np.abs(found[:, :1] - sums).argmin(1)
    np.testing.assert_allclose(found[:, 0], sums[of_images], rtol=1e-6)
    kept = coins[of_images]
    np.testing.assert_allclose(kept.mean(0), keeps, atol=2 / number**0.5)  # 4 standard errors
    assert np.abs(np.corrcoef(kept.T) - np.eye(3)).max() < 4 / number**0.5


@pytest.mark.slow
def test_the_alike_blocks_start_from_weights_of_their_own():
    module = models.create("resnet", num_classes=10, depth=26, layout="cifar")
    image = jnp.zeros((1, 32, 32, 3))
    params = jax.jit(lambda key: module.init(key, image))(jax.random.key(0))["params"]
    kernels = [params["stage1"][f"block{i}"]["conv2"]["kernel"] for i in range(1, 5)]
    for i, kernel in enumerate(kernels):
        assert np.std(kernel) == pytest.approx((2 / (9 * 16)) ** 0.5, rel=0.1)
        assert all(np.abs(kernel - other).max() > 0.1 for other in kernels[:i])


def test_a_loop_is_traced_once():
    def convolutions(**fields):
        module = models.create("resnet", num_classes=10, depth=56, layout="cifar", **fields)
        image = jnp.zeros((1, 32, 32, 3))
        variables = jax.eval_shape(lambda: module.init(jax.random.key(0), image))
        return str(jax.make_jaxpr(module.apply)(variables, image)).count("conv_general_dilated[")

    assert convolutions(scan=True) < convolutions() / 3


@pytest.mark.parametrize("name, more", [("resnet", {}), ("preact_resnet", {"block": "basic"})])
def test_a_loop_is_counted_block_by_block(name, more):
    """Against the network without loop, its kernels and the maps of its stages."""
    fields = {"depth": 26, "layout": "cifar", "shortcut": "A"} | more
    module = models.create(name, num_classes=10, **fields)
    variables = models.shapes(module, (32, 32, 3))
    kernels = {
        path.removesuffix("/kernel"): math.prod(leaf.shape)
        for path, leaf in flax.traverse_util.flatten_dict(variables["params"], sep="/").items()
        if path.endswith("/kernel")
    }
    counted = analysis.count(module, (32, 32, 3)).layers
    products = {layer.path: layer.multiply_adds for layer in counted if layer.multiply_adds}
    assert products.keys() == kernels.keys()
    for path, size in kernels.items():
        sizes = {"conv1": 32, "stage1": 32, "stage2": 16, "stage3": 8, "fc": 1}
        map_size = sizes[path.partition("/")[0]]
        assert products[path] == size * map_size**2, path
