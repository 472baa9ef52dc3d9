"""A network learns from another: who that is, what it sees and knows, and that the run resumes."""

import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import assert_alike, train_until
from test_training import first_batches, lines

import data
import inference
import models
import train
from training import distill, sharding, state, steps

SHAPE = (8, 8, 1)
NAMES = [f"{i}" for i in range(10)]


def teacher_of(config, before=None, class_names=NAMES, mesh=None, find=inference.find):
    source = types.SimpleNamespace(class_names=class_names)
    mesh = mesh or sharding.make_mesh(jax.devices()[:1])
    return distill.make(config, find, before or {}, source, SHAPE, mesh)


@pytest.fixture
def student(digits, few_digits_trained):
    digits.seed = 1
    digits.distill.teacher = str(few_digits_trained)
    return digits


def test_without_a_name_there_is_no_teacher(digits):
    assert teacher_of(digits) is None


def test_a_teacher_sees_the_images_as_it_knows_them_and_answers_for_our_classes(student):
    student.input.update(mean=(0.5,), std=(0.25,))
    ours = ["7", "0", "4"]
    teacher, origin = teacher_of(student, class_names=ours), inference.find(student.distill.teacher)
    pixels = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), np.uint8)
    as_we_see = data.make_preprocess(student.input, train=False)(pixels)[0]
    as_it_sees = data.make_preprocess(origin.config.input, train=False)(pixels)[0]
    expected = origin.module.apply(origin.variables, as_it_sees, train=False)[
        :, jnp.array([7, 0, 4])
    ]
    assert_alike([teacher.answer(teacher.variables, as_we_see)], [expected])


def two_steps(config, devices):
    """Returns the losses and the parameters after two steps."""
    mesh = sharding.make_mesh(jax.devices()[:devices])
    teacher = teacher_of(config, mesh=mesh)
    _, now, step, *_ = train.build(config, mesh, 100, 10.0, teacher)
    key, losses = steps.make_key(0, mesh), []
    for batch in first_batches(config, 2):
        now, values = step(now, sharding.to_global(batch, mesh), key)
        losses.append(float(values["loss"]))
    return losses, jax.tree.leaves(jax.device_get(now.params))


def test_the_loss_is_that_beside_the_teachers_answers_on_any_number_of_devices(student):
    student.distill.weight = 1.0
    losses, params = two_steps(student, 1)
    teacher, mesh = teacher_of(student), sharding.make_mesh(jax.devices()[:1])
    module = models.create(**student.model)
    fresh = state.create(module, optax.identity(), SHAPE, student.seed, mesh)
    key, _ = jax.random.split(jax.random.fold_in(steps.make_key(0, mesh), 0))
    (batch,) = first_batches(student, 1)
    images = data.make_preprocess(student.input, train=True)(key, batch["image"])
    variables = {"params": fresh.params, "batch_stats": fresh.batch_stats}
    logits, _ = module.apply(variables, images, train=True, mutable=["batch_stats"])
    t = student.distill.temperature
    its, ours = (
        np.float64(jax.nn.log_softmax(x / t))
        for x in (teacher.answer(teacher.variables, images), logits)
    )
    expected = t**2 * (np.exp(its) * (its - ours)).sum(-1).mean()
    assert losses[0] == pytest.approx(expected, rel=1e-4)
    of_eight, params_of_eight = two_steps(student, 8)
    np.testing.assert_allclose(of_eight, losses, rtol=1e-4)
    assert_alike(params_of_eight, params, 1e-3)


def test_the_weights_of_the_teacher_are_arguments_of_the_compiled_step(student):
    mesh = sharding.make_mesh(jax.devices()[:1])
    teacher = teacher_of(student)
    _, now, step, *_ = train.build(student, mesh, 100, 10.0, teacher)
    (batch,) = first_batches(student, 1)
    (call,) = jax.make_jaxpr(step)(now, batch, steps.make_key(0, mesh)).eqns
    arguments = jax.tree.leaves((now, batch, jax.random.key(0), teacher.variables))
    assert len(call.invars) == len(arguments)
    assert max((np.size(const) for const in call.params["jaxpr"].consts), default=0) <= 10


def test_a_run_goes_on_with_its_teacher_and_no_other(student, few_digits_trained, tmp_path, capfd):
    teacher, run, whole = tmp_path / "teacher", tmp_path / "run", tmp_path / "whole"
    shutil.copytree(few_digits_trained, teacher)
    student.distill.teacher = str(teacher)
    train.train(student, whole)
    train_until(4, student, run)
    assert f"learns from {teacher}, step 6" in capfd.readouterr().out

    moved = teacher.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="distill.teacher: .*no folder.*say where it is now"):
        train.train(student, run)
    for name, message in ((f"{moved}:3", "step 3, has other weights"), ("", "the run learns from")):
        student.distill.teacher = name
        with pytest.raises(ValueError, match=message):
            train.train(student, run)
    student.distill.teacher = str(moved)
    train.train(student, run)
    assert lines(run) == lines(whole) and len(lines(run)) == 6
    found, expected = (inference.load(folder).variables for folder in (run, whole))
    assert jax.tree.structure(found) == jax.tree.structure(inference.load(moved).variables)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "classes, message",
    [
        (["0", "ten", "7"], "does not know the classes .*ten"),
        (NAMES, "has not recorded its classes"),
    ],
)
def test_classes_that_a_teacher_does_not_know_are_told(student, classes, message):
    def find(name):
        origin = inference.find(name)
        origin.header.update({"classes": None} if classes == NAMES else {})
        return origin

    with pytest.raises(ValueError, match=message):
        teacher_of(student, class_names=classes, find=find)


@pytest.mark.parametrize(
    "size, mean, message",
    [
        (64, (0.5,) * 3, "cannot see images of 64 x 64; it saw 224 .*image_size=224"),
        (8, (0.5,) * 3, "cannot see images of 8 x 8"),
        (224, (0.5,), "the images have 1 channels; it saw 224 pixels a side and 3 channels"),
    ],
)
def test_images_that_a_teacher_cannot_see_are_told(size, mean, message):
    mesh = sharding.make_mesh(jax.devices()[:1])
    module = models.create("vgg", num_classes=10)
    origin = types.SimpleNamespace(
        module=module,
        state=state.shapes(module, optax.identity(), (224, 224, 3), mesh),
        config=types.SimpleNamespace(input=types.SimpleNamespace(image_size=224, mean=(0.5,) * 3)),
    )
    with pytest.raises(ValueError, match=message):
        distill._check_images("x", origin, (size, size, len(mean)), mesh)
