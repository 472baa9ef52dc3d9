"""Mixup and CutMix: what they draw, what comes of it, and that devices share the work unseen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from record_augment import DRAWS, FILE, QUANTILES, SIZE, boxes

import data
from configs import common
from data import mixing
from training import sharding

RECORDED = np.load(FILE)
KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).random((8, 6, 10, 3), np.float32)
TARGETS = np.eye(8, dtype=np.float32) * 0.9 + 0.1 / 8  # smoothed


def make(**changes):
    config = common.get_config().input
    config.update(changes)
    return data.make_mix(config)


def draws(draw, number=DRAWS):
    return np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(KEY, number)))


def test_without_alpha_nothing_is_mixed():
    assert make() is None


def test_pixels_and_targets_are_those_of_the_image_and_of_the_one_before_it():
    weights = np.random.default_rng(1).random((6, 10), np.float32)
    images, targets = mixing.blend(IMAGES, TARGETS, weights)
    for i in range(8):
        own, other, w = IMAGES[i], IMAGES[i - 1], weights[:, :, None]
        np.testing.assert_allclose(images[i], w * own + (1 - w) * other, atol=1e-6)
        expected = w.mean() * TARGETS[i] + (1 - w.mean()) * TARGETS[i - 1]
        np.testing.assert_allclose(targets[i], expected, atol=1e-6)


def test_mixup_keeps_one_part_of_each_image_of_the_batch():
    images, targets = make(mixup_alpha=0.8)(KEY, IMAGES, TARGETS)
    share = (targets[1, 1] - 0.1 / 8) / 0.9
    assert 0 < share < 1
    expected = share * IMAGES + (1 - share) * np.roll(IMAGES, 1, 0)
    np.testing.assert_allclose(images, expected, atol=1e-6)
    np.testing.assert_allclose(np.sum(targets, 1), 1, atol=1e-6)


def test_cutmix_pastes_one_patch_and_counts_its_pixels():
    for seed in range(20):
        images, targets = make(cutmix_alpha=1.0)(jax.random.key(seed), IMAGES, TARGETS)
        own = (images == IMAGES).all(-1)
        pasted = (images == np.roll(IMAGES, 1, 0)).all(-1)
        assert (own ^ pasted).all() and (own == own[0]).all()
        expected = own[0].mean() * TARGETS + (1 - own[0].mean()) * np.roll(TARGETS, 1, 0)
        np.testing.assert_allclose(targets, expected, atol=1e-6)


def test_patches_are_distributed_as_timms():
    patches = draws(lambda key: mixing.outside_of_patch(key, *SIZE, 1.0)) == 0
    found = boxes(patches)
    for name, atol in {"area": 0.02, "places": 0.02}.items():
        np.testing.assert_allclose(found[name], RECORDED[f"cutmix/{name}"], atol=atol)


def test_the_part_of_mixup_is_distributed_as_timms():
    mix = make(mixup_alpha=0.2)
    one, targets = np.zeros((2, 1, 1, 1), np.float32), np.eye(2, dtype=np.float32)
    shares = draws(lambda key: mix(key, one, targets)[1][0, 0])
    found = np.quantile(shares, QUANTILES)
    np.testing.assert_allclose(found, RECORDED["mixup/share"], atol=0.03)


@pytest.mark.parametrize("prob, switch_prob", [(1.0, 0.5), (0.4, 0.5), (1.0, 0.1), (0.0, 0.5)])
def test_mixup_and_cutmix_come_as_often_as_their_probabilities_say(prob, switch_prob):
    mix = make(mixup_alpha=1.0, cutmix_alpha=1.0, mixup_prob=prob, mixup_switch_prob=switch_prob)
    pair = np.stack([np.zeros(SIZE), np.ones(SIZE)])[..., None]
    mixed = draws(lambda key: mix(key, pair, jnp.eye(2))[0][0], 2000)
    blended = ((mixed > 0) & (mixed < 1)).any((1, 2, 3)).mean()
    patched = ((mixed == 0) | (mixed == 1)).all((1, 2, 3)) & (mixed == 1).any((1, 2, 3))
    assert blended == pytest.approx(prob * (1 - switch_prob), abs=0.04)
    assert patched.mean() == pytest.approx(prob * switch_prob, abs=0.04)


@pytest.mark.parametrize("changes", [{"mixup_alpha": 0.2}, {"cutmix_alpha": 1.0}])
def test_a_batch_on_four_devices_is_mixed_as_on_one_for_an_image_a_device(changes):
    mix = make(**changes)
    results = []
    for devices in (1, 4):
        mesh = sharding.make_mesh(jax.devices()[:devices])
        split, whole = sharding.split_batch(mesh), sharding.replicated(mesh)
        step = jax.jit(mix, in_shardings=(whole, split, split), out_shardings=split)
        results.append(step(KEY, IMAGES, TARGETS))
    for one, four in zip(*results, strict=True):
        np.testing.assert_allclose(one, four, atol=1e-6)
    program = step.lower(KEY, IMAGES, TARGETS).compile().as_text()
    assert "all-gather" not in program and "all-to-all" not in program
    assert "f32[1,6,10,3]{3,2,1,0} collective-permute" in program  # one image of a device's two
