"""RandAugment and TrivialAugment: the pixels, operations and ranges of torchvision, or of timm."""

import re

import jax
import numpy as np
import pytest
from record_augment import EVERY, FILE, FILL, TIMM_MAGNITUDES, photographs

import data
from configs import common
from data import randaugment

KEY = jax.random.key(0)
RECORDED = np.load(FILE)
POLICIES = {"ra": "RandAugment", "ta_wide": "TrivialAugmentWide"}
IMAGES = photographs()
SPACES = {policy: randaugment.SPACES[policy](*IMAGES.shape[1:3]) for policy in POLICIES}
CASES = [(policy, number) for policy, space in SPACES.items() for number in range(len(space))]


@jax.jit
def changed(chosen, amount):
    names = [operation.name for operation in SPACES["ra"]]
    return jax.vmap(lambda image: randaugment.apply(names, None, chosen, amount, image))(IMAGES)


OF_TIMM = randaugment.rand_augment_timm(*IMAGES.shape[1:3])


@jax.jit
def changed_as_timm(chosen, amount):
    names, fill = [operation.name for operation in OF_TIMM], np.float32(FILL)
    return jax.vmap(lambda image: randaugment.apply(names, fill, chosen, amount, image))(IMAGES)


@pytest.mark.parametrize("policy", POLICIES)
def test_operations_and_magnitudes_are_those_of_torchvision(policy):
    prefix = f"space/{POLICIES[policy]}/"
    expected = {name.removeprefix(prefix) for name in RECORDED if name.startswith(prefix)}
    assert {operation.name for operation in SPACES[policy]} == expected
    for operation in SPACES[policy]:
        *magnitudes, signed = RECORDED[prefix + operation.name]
        np.testing.assert_allclose(operation.magnitudes, magnitudes, atol=1e-4)
        assert operation.signed == signed


@pytest.mark.parametrize("policy, chosen", CASES)
def test_pixels_are_those_of_torchvision(policy, chosen):
    operation = SPACES[policy][chosen]
    prefix = f"{POLICIES[policy]}/{operation.name}/"
    recorded = {name: RECORDED[name] for name in RECORDED if name.startswith(prefix)}
    assert len(recorded) == (4 if operation.signed else 2)
    for name, expected in recorded.items():
        number = int(name.removeprefix(prefix))
        amount = np.sign(number) * operation.magnitudes[abs(number)]
        differences = changed(chosen, np.float32(amount)).astype(int) - expected
        # Rounding moves a value by a level, where torchvision cuts off decimals, or turns to a
        # neighbour.
        assert np.mean(np.abs(differences) > 1) < 0.002, name
        most = {"Sharpness": 0.2, "Color": 0.02}.get(operation.name, 0.005)
        assert np.mean(differences != 0) < most, name


@pytest.mark.parametrize("chosen", range(len(OF_TIMM) - 1))
def test_pixels_are_those_of_timm(chosen):
    operation = OF_TIMM[chosen]
    # After the name "Increasing" is what more of the magnitude does, "Rel" a part of the width.
    named = rf"timm/{operation.name}(Increasing|Rel)?/"
    recorded = {name: RECORDED[name] for name in RECORDED if re.match(named, name)}
    assert len(recorded) == len(TIMM_MAGNITUDES) * (1 + operation.signed)
    for name, expected in recorded.items():
        magnitude, sign = map(float, name.split("/")[2:])
        part = magnitude / randaugment.TIMM_MAX
        amount = (1 - part) * operation.magnitudes[0] + part * operation.magnitudes[-1]
        if operation.name.startswith("Translate"):
            amount *= -1  # timm's is to the left, and up
        found = changed_as_timm(chosen, np.float32(sign * amount))[:, ::EVERY, ::EVERY]
        differences = np.abs(found.astype(int) - expected)
        assert differences.max() <= 1, name
        if operation.name not in ("Color", "Contrast", "Sharpness"):  # Pillow rounds their grey
            assert np.mean(differences > 0) < 0.01, name


def leave_behind(names, fill, chosen, amount, image):
    return image.at[0, 0].set(chosen).at[0, 1].set(amount)


@pytest.mark.parametrize("policy, num_ops", [("ra", 1), ("ra", 3), ("ta_wide", 1)])
def test_operations_magnitudes_and_directions_are_drawn_evenly(policy, num_ops, monkeypatch):
    def as_many_operations(names, fill, chosen, amount, image):
        return image + 1

    images = np.zeros((28_000, 1, 2), np.float32)
    monkeypatch.setattr(randaugment, "apply", as_many_operations)
    assert (randaugment.auto_augment(KEY, images[:9], policy, num_ops) == num_ops).all()
    monkeypatch.setattr(randaugment, "apply", leave_behind)
    space = randaugment.SPACES[policy](1, 2)
    chosen, amounts = np.asarray(randaugment.auto_augment(KEY, images, policy, num_ops, 9))[:, 0].T
    for number, operation in enumerate(space):
        drawn = amounts[chosen == number]
        assert len(drawn) == pytest.approx(2000, rel=0.1)
        assert np.mean(drawn < 0) == pytest.approx(
            0.5 * operation.signed * (0 < drawn.max()), abs=0.05
        )
        if policy == "ra":
            np.testing.assert_allclose(np.abs(drawn), operation.magnitudes[9], rtol=1e-5)
        else:
            found = np.quantile(np.abs(drawn), [0, 0.25, 0.5, 0.75, 1])
            expected = np.quantile(operation.magnitudes, [0, 0.25, 0.5, 0.75, 1])
            np.testing.assert_allclose(found, expected, atol=0.1 * operation.magnitudes.max())


def test_timm_does_every_second_operation_by_a_magnitude_of_its_own(monkeypatch):
    images = np.zeros((28_000, 1, 2), np.float32)
    monkeypatch.setattr(randaugment, "apply", leave_behind)
    *space, identity = randaugment.rand_augment_timm(1, 2)
    changed = np.asarray(randaugment.auto_augment(KEY, images, "ra_timm", 2, 9, 0.5))
    chosen, amounts = changed[:, 0].T
    assert np.mean(chosen == len(space)) == pytest.approx(0.5, abs=0.015)
    for number, operation in enumerate(space):
        drawn = amounts[chosen == number]
        assert len(drawn) == pytest.approx(14_000 / len(space), rel=0.12)
        assert np.mean(drawn < 0) == pytest.approx(0.5 * operation.signed, abs=0.06)
        low, high = operation.magnitudes[[0, -1]]
        if low != high:
            magnitudes = 10 * (np.abs(drawn) - low) / (high - low)
            found = np.quantile(magnitudes, [0.1, 0.5, 0.9])
            np.testing.assert_allclose(found, 9 + 0.5 * np.array([-1.28, 0, 1.28]), atol=0.1)
            assert magnitudes.max() == pytest.approx(10)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"auto_augment": "ra_timm", "ra_magnitude": 15}, "15: that of ra_timm is at most 10"),
        ({"auto_augment": "ra", "ra_magnitude_std": 0.5}, "ra_magnitude_std 0.5 is of ra_timm"),
    ],
)
def test_what_a_policy_does_not_do_is_told(fields, message):
    config = common.get_config().input
    config.update(fields)
    with pytest.raises(ValueError, match=message):
        data.make_preprocess(config, train=True)


def test_grey_images_are_changed_as_colours_without_colour():
    grey = IMAGES[..., :1]
    images = np.concatenate([grey] * 16)
    change = jax.jit(randaugment.auto_augment, static_argnums=2)
    one = change(KEY, images, "ta_wide")
    three = change(KEY, np.repeat(images, 3, axis=-1), "ta_wide")
    assert one.shape == images.shape and one.dtype == np.uint8
    assert np.mean(np.abs(np.asarray(three, int) - np.asarray(one, int)) > 2) < 0.01
