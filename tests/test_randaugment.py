"""RandAugment and TrivialAugment: the pixels, operations and ranges of torchvision."""

import jax
import numpy as np
import pytest
from record_augment import FILE, photographs

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
    return jax.vmap(lambda image: randaugment.apply(names, chosen, amount, image))(IMAGES)


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


@pytest.mark.parametrize("policy, num_ops", [("ra", 1), ("ra", 3), ("ta_wide", 1)])
def test_operations_magnitudes_and_directions_are_drawn_evenly(policy, num_ops, monkeypatch):
    def leave_behind(names, chosen, amount, image):
        return image.at[0, 0].set(chosen).at[0, 1].set(amount)

    def as_many_operations(names, chosen, amount, image):
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


def test_grey_images_are_changed_as_colours_without_colour():
    grey = IMAGES[..., :1]
    images = np.concatenate([grey] * 16)
    change = jax.jit(randaugment.auto_augment, static_argnums=2)
    one = change(KEY, images, "ta_wide")
    three = change(KEY, np.repeat(images, 3, axis=-1), "ta_wide")
    assert one.shape == images.shape and one.dtype == np.uint8
    assert np.mean(np.abs(np.asarray(three, int) - np.asarray(one, int)) > 2) < 0.01
