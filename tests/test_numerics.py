"""Compiled programs compute what their formulas say: faults of XLA's own that were reported or that would matter here."""

import importlib
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import AS_USERS_COMPILE, command
from test_models import TINY, variables_of

import models

REPORTED = """
import jax, jax.numpy as jnp
from training import command

def main():
    # jax#39103: the last of more than 32,768 rows was wrong
    rows = jnp.zeros((32_769, 3)).at[:, 0].set(jnp.arange(32_769))
    norm = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))(rows)
    assert norm[-1] == 2.0**30, norm[-1]
    # jax#40412 and jax#39257: crashes
    a, b = jax.random.normal(jax.random.key(0), (2, 3, 1, 2, 2, 8, 8, 8))
    found = jax.jit(lambda a, b: jnp.sum(a * b, axis=3))(a, b)
    assert jnp.allclose(found, jnp.sum(a * b, axis=3), atol=1e-5)
    a, b = jnp.ones((10, 4, 6)), jnp.ones((10, 4, 6, 5, 5, 5, 5, 5))
    found = jax.jit(lambda a, b: jnp.sum(a[..., None, None, None, None, None] * b, axis=2))(a, b)
    assert (found == 6).all()
    print("right")

command.run(main)
"""


def test_the_reported_programs_are_right_as_the_commands_run_jax():
    done = subprocess.run(**command("-c", REPORTED, env=AS_USERS_COMPILE))
    assert done.stdout == "right\n", done.stderr


ROWS = 33_000  # of pixels: the reported fault began at 32,768


def one_step(name, dtype):
    """Returns (loss, BatchNorm statistics, gradients) of a step of a small network without dropout."""
    small, side = TINY[name]
    known = models.fields_of(importlib.import_module(f"models.{name}").Model)
    still = {"dropout": 0.0, "drop_path_keep": 1.0, "aux_heads": False}
    fields = small | {field: still[field] for field in still if field in known}
    module = models.create(name, num_classes=5, **fields).clone(dtype=dtype)
    rng, number = np.random.default_rng(0), -(-ROWS // side**2)
    images, labels = rng.normal(size=(number, side, side, 3)), rng.integers(0, 5, number)
    shape = jax.ShapeDtypeStruct(images.shape, jnp.float32)
    variables = jax.tree.map(lambda x: np.asarray(x, dtype), variables_of(module, shape))

    def loss_of(params):
        logits, updates = module.apply(
            variables | {"params": params},
            images.astype(dtype),
            train=True,
            mutable=["batch_stats", "aux_logits"],
        )
        every = [logits, *jax.tree.leaves(updates.get("aux_logits", {}))]
        losses = [optax.softmax_cross_entropy_with_integer_labels(x, labels) for x in every]
        return sum(loss.mean() for loss in losses), updates.get("batch_stats", {})

    step = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    (loss, stats), gradients = jax.device_get(step(variables["params"]))
    return loss, jax.tree.leaves(stats), jax.tree.leaves(gradients)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_step_of_each_family_is_that_in_double_precision(name, monkeypatch):
    single = one_step(name, "float32")
    with jax.enable_x64(True), monkeypatch.context() as patched:
        patched.setattr(jnp, "float32", jnp.float64)  # to which layers widen their sums
        double = one_step(name, "float64")
    assert double[0].dtype == np.float64
    assert single[0] == pytest.approx(double[0], rel=1e-5)
    for found, right, tolerance in zip(single[1:], double[1:], (1e-4, KINKS), strict=True):
        largest = max(map(np.linalg.norm, right), default=0.0)
        for a, b in zip(found, right, strict=True):
            assert np.linalg.norm(a - b) <= tolerance * (np.linalg.norm(b) + 1e-2 * largest)


# Of gradients: by rounding a few of many ReLUs and maxima fall on the other side. JAX's own operations
# are as far from double precision: 2.6 % for MobileNet, 4.7 % for ShuffleNet V2, the most.
KINKS = 0.06
