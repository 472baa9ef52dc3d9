"""Test resolution, and training images that grow."""

import itertools

import jax
import numpy as np
import pytest
from conftest import train_until
from PIL import Image
from test_training import lines

import data
import inference
import models
import train
from configs import digits as handwriting
from configs import small
from data import sizes
from inference import export
from training import sharding
from training import sizes as fitting

# An epoch of the digits has 6 steps of 240 images: steps 1 to 6 have 4 pixels a side, 7 to 12 have 6.
GROWS = {"start_size": 4, "size_multiple": 2, "grow_epochs": (0, 2)}


@pytest.fixture
def growing(digits):
    digits.update(batch_size=240, total_steps=14, eval_steps=14, checkpoint_steps=0)
    digits.input.update(GROWS)
    return digits


@pytest.mark.parametrize("first, last, start, end", [(65, 76, 160, 192), (4, 12, 128, 224)])
def test_images_grow_by_ffcvs_formula(first, last, start, end):
    config = handwriting.get_config().input
    config.update(start_size=start, image_size=end, grow_epochs=(first, last), size_multiple=32)
    line = np.interp(range(90), [first, last], [start, end])
    expected = np.where((line == start) | (line == end), line, np.round(line / 32) * 32)
    assert [sizes.train_size(config, epoch) for epoch in range(90)] == expected.tolist()


def batches(config, start, stop):
    source = data.open_source(config.input, train=True)
    made = data.make_train(source, config.input, config.batch_size, config.seed, start)
    return list(itertools.islice(made, stop - start))


def photographs(folder, number=3):
    """Returns fields for pictures of two classes, in train/ and in val/, that tell the place of each pixel."""
    rows, columns = np.mgrid[:40, :50]
    for split, label, i in itertools.product(("train", "val"), ("cat", "dog"), range(number)):
        (folder / split / label).mkdir(parents=True, exist_ok=True)
        image = np.stack([6 * rows, 5 * columns, 0 * rows + 40 * i + 20 * (label == "cat")], -1)
        Image.fromarray(image.astype(np.uint8)).save(folder / split / label / f"{i}.png")
    return {
        "source": f"folder:{folder}", "eval_split": "val", "image_size": 16, "resize": 24, "crop": "random_resized",
        "in_memory": False, "mean": (0.5,) * 3, "std": (0.2,) * 3, "threads": 2,
    }  # fmt: skip


@pytest.mark.parametrize("crop", ["in memory", "random_resized", "scale_jitter", "center"])
def test_a_batch_has_the_size_of_the_plan_and_depends_on_the_step_alone(crop, growing, tmp_path):
    if crop != "in memory":
        growing.batch_size = 2
        growing.input.update(photographs(tmp_path), crop=crop, scales=(24, 30), start_size=8)
        growing.input.update(size_multiple=4)
    whole = batches(growing, 0, 14)
    source = data.open_source(growing.input, train=True)
    plan = data.plan_sizes(growing.input, len(source), growing.batch_size, 14)
    assert len(plan) == 3 and max(plan.values()) == growing.input.image_size
    size = None
    for step, batch in enumerate(whole):
        size = plan.get(step, size)
        assert batch["image"].shape[1:3] == (size, size)
    for a, b in zip(whole[5:], batches(growing, 5, 14), strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
    growing.input.start_size = 0
    for a, b in zip(whole, batches(growing, 0, 14), strict=True):
        np.testing.assert_array_equal(a["label"], b["label"])
        if a["image"].shape == b["image"].shape:
            np.testing.assert_array_equal(a["image"], b["image"])
        elif crop != "in memory":  # the same part of the same image
            for one, other in zip(a["image"], b["image"], strict=True):
                smaller = Image.fromarray(other).resize(one.shape[:2])
                np.testing.assert_allclose(one, np.asarray(smaller, np.float32), atol=16)


@pytest.mark.slow
def test_a_run_stopped_while_its_images_grow_goes_on_exactly(growing, tmp_path, capfd):
    growing.update(batch_size=720, total_steps=3, eval_steps=3)  # two steps an epoch
    growing.input.update(grow_epochs=(0, 1))
    train.train(growing, tmp_path / "whole")
    told = "4 from step 1, 8 from step 3 (2 training program(s) to compile"
    assert told in capfd.readouterr().out
    train_until(1, growing, tmp_path / "stopped")
    train.train(growing, tmp_path / "stopped")
    for name in ("train/loss", "eval/loss"):
        assert lines(tmp_path / "stopped", name) == lines(tmp_path / "whole", name)
    states = [inference.load(tmp_path / run).state for run in ("whole", "stopped")]
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_device_and_eight_learn_alike_from_images_that_grow(growing):
    losses = []
    for devices in (1, 8):
        mesh = sharding.make_mesh(jax.devices()[:devices])
        _, now, step, *_ = train.build(growing, mesh, 14, 6.0)
        key = train.steps.make_key(0, mesh)
        of_it = []
        for batch in batches(growing, 5, 8):
            now, values = step(now, sharding.to_global(batch, mesh), key)
            of_it.append(float(values["loss"]))
        losses.append(of_it)
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_evaluation_has_a_size_of_its_own(digits, tmp_path):
    digits.input.update(photographs(tmp_path / "pets"), eval_size=24, resize=24)
    digits.update(batch_size=8, total_steps=1, eval_steps=1)
    digits.model.num_classes = 2
    found = train.train(digits, tmp_path / "run")
    run = inference.load(tmp_path / "run")
    files = sorted(map(str, (tmp_path / "pets" / "val").rglob("*.png")))
    seen = run.preprocess(files)
    assert seen.shape == (6, 24, 24, 3)
    logits = run.module.apply(run.variables, seen, train=False)
    answers = jax.nn.log_softmax(logits)[np.arange(6), [0, 0, 0, 1, 1, 1]]
    assert found["loss"] == pytest.approx(-float(answers.mean()), rel=1e-5)
    np.testing.assert_allclose(run.predict(files), jax.nn.softmax(logits), atol=1e-5)
    program = export.reader(export.stablehlo(run), "stablehlo")
    pixels = np.stack(list(run.pixels(data.Images(files))))
    np.testing.assert_allclose(program(pixels), logits, atol=1e-4)


@pytest.mark.parametrize("name", ["alexnet", "vgg_bn", "zfnet"])
@pytest.mark.parametrize("trains", [True, False])
def test_a_classifier_that_sees_places_takes_one_size(name, trains):
    model = models.create(**small.get_config(name).model)
    shape, mesh = (224, 224, 3), sharding.make_mesh(jax.devices()[:1])
    fitting.check(model, shape, [224], 224, mesh)
    with pytest.raises(ValueError, match="made for images of 224 .* cannot see 288"):
        fitting.check(model, shape, [288] * trains, 224 if trains else 288, mesh)


def test_a_network_that_averages_takes_others():
    model = models.create(**small.get_config("resnet").model)
    shape, mesh = (64, 64, 3), sharding.make_mesh(jax.devices()[:1])
    fitting.check(model, shape, [32, 64], 96, mesh)


def test_auxiliary_classifiers_that_see_places_bind_the_training_alone():
    model = models.create(**small.get_config("nasnet").model)
    shape, mesh = (64, 64, 3), sharding.make_mesh(jax.devices()[:1])
    fitting.check(model, shape, [64], 128, mesh)
    with pytest.raises(ValueError, match="in training the network.* see 128.*auxiliary"):
        fitting.check(model, shape, [64, 128], 64, mesh)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"start_size": 16}, "input.start_size 16 is above input.image_size 8"),
        ({"grow_epochs": (0.0, 0.0)}, "input.grow_epochs .0.0, 0.0.: .*such as"),
        ({"eval_size": 16}, "input.eval_size 16: the images of digits have 8 pixels"),
    ],
)
def test_mistakes_in_sizes_are_one_line(fields, message, growing, tmp_path):
    growing.input.update(fields)
    with pytest.raises(ValueError, match=message):
        train.train(growing, tmp_path)
