"""What a run starts from: whose weights, which of them are fresh, and what does not fit."""

import jax
import numpy as np
import optax
import pytest
import safetensors.numpy
import test_torch_weights
from flax.traverse_util import flatten_dict
from PIL import Image

import inference
import models
import train
from configs import common, finetune
from models.torch import download
from training import initial, metrics, sharding, state

SHAPE = (8, 8, 1)


def weights(folder, checkpoint="latest"):
    """Returns parameters and statistics of a run, by name."""
    return flatten_dict(inference.load(folder, checkpoint).variables, sep="/")


def header(folder):
    return metrics.newest_header(metrics.read_lines(folder))


def equal(one, other):
    """Returns the names of the arrays that two networks have alike."""
    return {n for n in one.keys() & other.keys() if np.array_equal(one[n], other[n])}


@pytest.fixture
def other(digits):
    """The config of a run from other initial weights that changes none of them."""
    digits.seed = 1
    digits.total_steps = 1
    digits.optimizer.learning_rate = 0.0
    return digits


def parameters(names):
    return {name for name in names if name.startswith("params/")}


def test_a_run_starts_from_the_weights_of_another(other, trained, tmp_path, capfd):
    there = weights(trained)
    for init, told in ((f"{trained}", "step 6"), (f"{trained}:3", "step 3")):
        other.init = init
        train.train(other, tmp_path / told)
        expected = weights(trained, told[-1])
        assert parameters(equal(weights(tmp_path / told), expected)) == parameters(expected)
        assert f"starts from {init}, {told}: " in capfd.readouterr().out
    assert header(tmp_path / "step 3")["started"] == {
        "from": f"{trained}:3",
        "step": 3,
        "parameters": sum(v.size for n, v in there.items() if n.startswith("params/")),
        "fresh": [],
    }


def test_the_best_checkpoint_is_taken_where_it_is_asked_for(trained):
    assert inference.find(f"{trained}:best").step == inference.find(str(trained)).step == 6
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 4; there are \[3, 6\]"):
        inference.find(f"{trained}:4")


def origin_with(trained, **changes):
    found = inference.find(str(trained))
    found.header = found.header | changes
    return found


@pytest.mark.parametrize(
    "classes, fresh",
    [
        ([f"{i}" for i in range(10)], False),
        ([f"{i}" for i in range(9)] + ["ten"], True),
        (None, True),
    ],
)
def test_a_classifier_is_taken_where_the_classes_are_known_to_be_the_same(
    digits, trained, classes, fresh, capfd
):
    model = models.create(**digits.model)
    made = state.shapes(model, optax.identity(), SHAPE, sharding.make_mesh())
    made = jax.tree.map(
        lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding), made
    )
    source = type("Source", (), {"class_names": [f"{i}" for i in range(10)]})
    digits.init = str(trained)
    digits.input.mean = (0.5,)
    found, started = initial.take(
        made, origin_with(trained, classes=classes), digits, model, source
    )
    new = {name for name, v in flatten_dict(found.params, sep="/").items() if not np.any(v)}
    assert started["fresh"] == ([f"params/{name}" for name in sorted(new)] if fresh else [])
    assert bool(new) == fresh
    told = capfd.readouterr().err
    assert "was trained with input.mean (0.31,), this run has (0.5,)" in told
    assert ("has not recorded its classes" in told) == (classes is None)


@pytest.mark.parametrize("name", ["resnet", "vgg", "googlenet", "zoph_le", "nasnet"])
def test_the_classifier_is_what_depends_on_the_number_of_classes(name):
    fields = {
        "resnet": {"depth": 8, "layout": "cifar"},
        "nasnet": {"cells": 1, "filters": 8, "layout": "cifar"},
    }
    size = 32 if name in ("resnet", "nasnet", "zoph_le") else 224
    module = models.create(name, num_classes=7, **fields.get(name, {}))
    names = state.classifier(module, (size, size, 3))
    layers = {n.rpartition("/")[0] for n in names}
    heads = {
        "googlenet": {"aux1/fc2", "aux2/fc2", "fc"},
        "vgg": {"fc8"},
        "nasnet": {"aux/fc", "fc"},
    }
    assert layers == {f"params/{layer}" for layer in heads.get(name, {"fc"})}


@pytest.mark.slow
def test_another_number_of_classes_is_that_of_the_data_where_the_config_says_0(
    other, trained, tmp_path, monkeypatch
):
    from data import sources

    whole = sources.digits

    def without_9(split):
        found = whole(split)
        chosen = np.flatnonzero(found.labels != 9)
        return sources.InMemory(found.images[chosen], found.labels[chosen], found.class_names[:9])

    monkeypatch.setattr(sources, "digits", without_9)
    other.init, other.model.num_classes = str(trained), 0
    train.train(other.copy_and_resolve_references(), tmp_path / "new")
    made = header(tmp_path / "new")
    assert made["config"]["model"]["num_classes"] == 9
    assert {name.rpartition("/")[0] for name in made["started"]["fresh"]} == {"params/fc"}
    same = parameters(equal(weights(tmp_path / "new"), weights(trained)))
    assert same == parameters(weights(trained)) - set(made["started"]["fresh"])

    trained.rename(tmp_path / "gone")  # a run that goes on needs it no more
    other.total_steps = 2
    train.train(other, tmp_path / "new")
    assert header(tmp_path / "new")["started"] == made["started"]
    assert inference.load(tmp_path / "new").step == 2


def test_a_config_may_leave_the_network_and_its_images_to_what_it_starts_from(trained):
    config = common.get_config()
    config.input.update(image_size=0, resize=0, mean=(), std=())
    config.model.num_classes = 0
    open_config = config.copy_and_resolve_references()
    with pytest.raises(ValueError, match="leaves model.name, .*resize, .*--config.init=DIR"):
        initial.fill(config, {}, None)
    origin = inference.find(str(trained))
    initial.fill(config, {}, origin)
    assert config.model.to_dict() == origin.config.model.to_dict() | {"num_classes": 0}
    assert (config.input.image_size, config.input.mean) == (8, (0.31,))
    assert config.input.crop == "random_resized"
    initial.fill(open_config, header(trained), None)
    assert open_config.model == origin.config.model

    open_config.input.update(image_size=16, resize=0)
    origin.config.input.update(resize=9, interpolation="bicubic", squash=True)
    initial.fill(open_config, {}, origin)
    filled = open_config.input
    assert (filled.resize, filled.interpolation, filled.squash) == (18, "bicubic", True)


@pytest.mark.parametrize(
    "what, message",
    [
        ("nowhere", "nowhere is no folder of a run, and no network of PyTorch: unknown network"),
        (
            "timm/resnet50.mine",
            "no published weights 'timm/resnet50.mine' are known .did you mean timm/",
        ),
        ("timm/resnet50:absent.pth", "there is no weights file absent.pth: correct the path, or"),
        ("resnet50", "did you mean torchvision/resnet50 or timm/resnet50 or pytorchcv/resnet50"),
        ("train.py", "train.py: say whose weights these are"),
    ],
)
def test_what_cannot_be_started_from_is_told(what, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        inference.find(what)


def test_another_network_is_told_with_what_differs(digits, trained, tmp_path):
    digits.init = str(trained)
    digits.model.genotype = "[[3,3,8,1,[0]],[3,3,24,2,[1]]]"
    with pytest.raises(
        ValueError,
        match=r"6 of 12 arrays do not fit, .*\(16,\) in it, \(24,\) .*model.genotype was",
    ):
        train.train(digits, tmp_path / "new")


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(digits, trained, capfd):
    (file,) = (trained / "checkpoints/00000006/default").glob("manifest.ocdbt")
    file.write_bytes(b"?")
    assert inference.find(str(trained)).step == 3
    assert "cannot read the checkpoint of step 6" in capfd.readouterr().err


def test_weights_of_pytorch_bring_their_network_and_its_images(tmp_path, monkeypatch):
    name, file = "akamaster/resnet20", tmp_path / "x.safetensors"
    safetensors.numpy.save_file(test_torch_weights.weights(name, 1000), file)
    monkeypatch.setattr(download, "fetch", {name: file}.get)
    found = inference.find(name)
    assert (found.config.model.name, found.config.model.depth) == ("resnet", 20)
    assert (found.config.input.image_size, found.config.input.mean) == (32, common.IMAGENET_MEAN)
    answers = found.predict([np.zeros((40, 50, 3), np.uint8)] * 2)
    assert answers.shape == (2, 1000)
    assert found.header["classes"][0] == "n01440764" and found.class_names[0] == "tench"


def test_frozen_layers_and_statistics_stay_and_the_run_resumes(digits, trained, tmp_path):
    digits.init, digits.seed = str(trained), 1
    digits.optimizer.update(freeze=("layer1",), freeze_batch_stats=True, layer_decay=0.5)
    digits.optimizer.head_factor = 2.0
    digits.total_steps = digits.eval_steps = 2
    train.train(digits, tmp_path / "new")
    digits.total_steps = 3
    train.train(digits, tmp_path / "new")
    before, after = weights(trained), weights(tmp_path / "new")
    frozen = {n for n in before if n.startswith(("batch_stats", "params/layer1_"))}
    assert equal(before, after) == frozen


def test_photographs_without_splits_and_a_run_are_enough_and_the_result_stands_alone(
    trained, tmp_path, capfd
):
    config = finetune.get_config()
    for name, level in (("dark", 60), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (12, 14), level + i).save(tmp_path / "photos" / name / f"{i}.png")
    config.init, config.input.source = str(trained), f"folder:{tmp_path / 'photos'}"
    config.batch_size, config.total_epochs, config.input.threads = 16, 4.0, 1
    result = train.train(config.copy_and_resolve_references(), tmp_path / "new")
    assert result["images"] == 8
    assert "a fixed fifth of each class" in capfd.readouterr().err

    found = inference.load(tmp_path / "new")
    assert found.class_names == ["dark", "light"]
    assert found.config.input.image_size == 8 and found.config.model.name == "zoph_le"
    assert train.train(found.config, tmp_path / "new") == result  # resumes alone
    assert train.train(config, tmp_path / "new") == result  # and by the same command
