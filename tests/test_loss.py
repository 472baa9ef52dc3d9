"""Losses, that of a student, too, are those of PyTorch and timm, by tests/losses.json; what does not fit is told."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import record_losses
from sklearn.utils.class_weight import compute_class_weight

from configs import common
from training import distill, loss, ranges, steps

CASES = json.loads(record_losses.FILE.read_text())


def config_with(**fields):
    config = common.get_config()
    fields |= {"class_weights": tuple(fields.get("class_weights", ()))}
    config.update_from_flattened_dict(fields)
    return config


def test_the_record_has_all_cases():
    recorded = [[case["fields"], case["mixed"]] for case in CASES]
    assert recorded == json.loads(json.dumps(record_losses.CASES))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['fields']} {case['mixed']}")
def test_a_loss_and_its_gradient_are_those_of_pytorch_and_timm(case):
    config = config_with(**case["fields"])
    targets = record_losses.targets(case["mixed"], config.label_smoothing)
    function = loss.make(config, len(record_losses.WEIGHTS))
    if "distill.weight" in case["fields"]:
        answers = jnp.asarray(record_losses.logits(1))
        settings = config.distill.temperature, config.distill.weight
        function = distill.Teacher(None, {}, {}, *settings).loss(function, answers)
    value, gradient = jax.value_and_grad(function)(record_losses.logits(), jnp.asarray(targets))
    assert value == pytest.approx(case["loss"], rel=1e-6)
    np.testing.assert_allclose(gradient, case["gradient"], atol=1e-7)


def test_the_targets_of_a_step_are_those_of_the_record():
    found = steps.smooth(jnp.array(record_losses.LABELS), len(record_losses.WEIGHTS), 0.2)
    np.testing.assert_allclose(found, record_losses.targets(False, 0.2), atol=1e-7)


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.array([0, 0, 0, 1, 2, 2, 3])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert loss.balanced(4, labels) == pytest.approx(tuple(expected))
    assert loss.balanced(5, labels)[3:] == (7 / 5, 7 / 5)  # of one image, and of none


def test_equal_weights_change_nothing():
    weighted = loss.make(config_with(class_weights=(3.0,) * 4, label_smoothing=0.1), 4)
    logits, targets = record_losses.logits(), record_losses.targets(True, 0.1)
    expected = float(loss.softmax(logits, targets))
    assert weighted(logits, targets) == pytest.approx(expected, rel=1e-6)


def test_by_default_it_is_the_softmax_alone():
    assert loss.make(common.get_config(), 10) is loss.softmax


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"loss": "focal"}, "loss 'focal': choose one of softmax, bce"),
        ({"class_weights": ("balanced",)}, "class_weights=balanced needs the labels of all images"),
        ({"class_weights": (1.0, 2.0)}, "class_weights has 2 numbers, and there are 4 classes"),
        ({"loss": "bce", "label_smoothing": 0.1}, "bce_threshold 0.0 does not lie between .*0.025"),
        (
            {"loss": "bce", "label_smoothing": 0.1, "bce_threshold": 0.95},
            "bce_threshold 0.95 does not lie .* and 0.925",
        ),
    ],
)
def test_what_does_not_fit_is_told(fields, message):
    with pytest.raises(ValueError, match=message):
        loss.make(config_with(**fields), 4)


def test_a_weight_is_above_0():
    with pytest.raises(ValueError, match="class_weights 0.0: let it be above 0"):
        ranges.check(config_with(class_weights=(1.0, 0.0)))
