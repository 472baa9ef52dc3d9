"""Checkpoints of before the layers had names are read as if they had had them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import PROJECT

import models
from training import checkpoints, old_names
from training.state import TrainState

# A network of each family: the path of each layer at revision 7ae131f, and today's. With the weights of
# the one under the names of the other both gave the same answers, to the bit.
RECORDED = json.loads((PROJECT / "tests" / "old_names.json").read_text())


def network(name):
    """Returns (module, shape of an image, shapes of its variables, {path: old path})."""
    side, recorded = RECORDED[name]["side"], RECORDED[name]["names"]
    module = models.create(name, num_classes=4, **RECORDED[name]["fields"])
    shape = side, side, 3
    variables = models.shapes(module, shape)
    variables = {kind: variables.get(kind, {}) for kind in ("params", "batch_stats")}
    names = {tuple(new.split("/")): tuple(old.split("/")) for old, new in recorded.items()}
    return module, shape, variables, names


@pytest.mark.parametrize("name", RECORDED)
def test_each_layer_gets_its_old_path(name):
    module, shape, variables, names = network(name)
    saved = [f"params/{'/'.join(old)}/kernel" for old in names.values()]
    assert old_names.are_old(saved)
    assert old_names.find(module, shape, variables, saved) == names


def state_of(name):
    """Returns a state as in training, all its numbers different ones, and what `network` returns."""
    module, shape, variables, names = network(name)
    random = np.random.default_rng(0)
    drawn = jax.tree.map(lambda leaf: jnp.asarray(random.random(leaf.shape, "f")), variables)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9))
    opt_state = jax.tree.map(lambda leaf: leaf + random.random(), optimizer.init(drawn["params"]))
    return TrainState(jnp.int32(3), **drawn, opt_state=opt_state), module, shape, names


@pytest.mark.parametrize("digests", [True, False])
def test_an_old_checkpoint_is_read_and_the_next_one_has_new_names(tmp_path, digests):
    state, module, shape, names = state_of("resnet")
    like = jax.tree.map(jnp.zeros_like, state)
    saved = checkpoints.Checkpoints(tmp_path)
    saved.network = module, shape
    saved.save(3, old_names.rename(state, names), None)
    saved.wait()
    if not digests:  # as long ago
        (tmp_path / "checkpoints" / "00000003" / checkpoints.DIGESTS).unlink()
    restored = saved.restore_latest(like)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    evaluated = saved.restore("latest", like.replace(opt_state=optax.EmptyState()))
    jax.tree.map(np.testing.assert_array_equal, evaluated.params, state.params)

    saved.save(4, restored.replace(step=jnp.int32(4)), None)
    saved.wait()
    saved.network = None  # new names need none
    again = saved.restore_latest(like)
    jax.tree.map(np.testing.assert_array_equal, again, state.replace(step=jnp.int32(4)))
    saved.close()


def test_an_old_checkpoint_of_another_network_is_told(tmp_path):
    state, module, shape, names = state_of("resnet")
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save(3, old_names.rename(state, names), None)
    saved.wait()
    for depth in (8, 20):
        other = module.clone(depth=depth)
        variables = models.shapes(other, shape)
        saved.network = other, shape
        with pytest.raises(checkpoints.OtherNetworkError, match="of another network: batch_stats/"):
            saved.restore_latest(TrainState(jnp.int32(0), **variables, opt_state={}))
    saved.close()
