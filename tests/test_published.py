"""The table of published weights is sound."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

import models
from models.torch import published, weights

ADDRESS = r"https://[^?#\s]+|hf:timm/[\w.]+/model\.safetensors"
NETWORKS = published.networks()
OURS = [name for name in NETWORKS if not name.startswith("pytorchcv/")]


def test_a_row_says_where_the_weights_are_and_what_they_expect():
    for name, one in NETWORKS.items():
        assert re.fullmatch(ADDRESS, one.address), name
        if one.address.startswith("https:"):
            assert re.fullmatch(r"sha256:[0-9a-f]{8,64}|sha1:[0-9a-f]{40}", one.digest), name
        assert 0 < one.image_size <= one.resize and one.parameters > 100_000, name
        assert one.interpolation in ("bilinear", "bicubic") and isinstance(one.squash, bool), name
        assert len(one.mean) == len(one.std) == 3, name
        assert all(0 < value < 1 for value in one.mean + one.std), name
        assert one.data in ("imagenet", "cifar10", "cifar100", "svhn"), name
        if one.top1 is not None:
            assert 30 < one.top1 < (one.top5 or 100), name
        assert one.source, name


def test_a_name_without_a_tag_means_what_its_library_takes_by_default():
    assert published.find("torchvision/resnet50").address.endswith("/resnet50-0676ba61.pth")
    assert published.find("torchvision/resnet50.IMAGENET1K_V2").top1 == 80.858
    assert published.find("timm/resnet50").name == "timm/resnet50.a1_in1k"
    assert published.find("akamaster/resnet20").data == "cifar10"
    assert published.find("timm/resnet5") is published.find("resnet50") is None


def test_images_are_as_the_published_accuracy_was_measured():
    known = weights.preprocessing("timm/resnet50")
    assert known["image_size"] == known["resize"] == 288 and known["interpolation"] == "bicubic"
    assert weights.preprocessing("timm/resnet50.of_mine") == known
    assert weights.preprocessing("torchvision/googlenet")["mean"] == (0.5, 0.5, 0.5)
    assert weights.preprocessing("akamaster/resnet20")["resize"] == 32
    assert weights.preprocessing("torchvision/resnet26") == {
        "image_size": 224,
        "resize": 256,
        "interpolation": "bilinear",
        "squash": False,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }


@pytest.mark.parametrize("data", ["imagenet", "cifar10"])
def test_each_network_of_the_table_is_known(data):
    assert {weights.describe(name)[0] for name in OURS if NETWORKS[name].data == data} <= set(
        models.available()
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted({name.partition(".")[0] for name in OURS}))
def test_each_network_has_as_many_parameters_as_its_publisher_says(model):
    ours, fields, _ = weights.describe(model)
    if ours == "googlenet":
        fields["aux_heads"] = False
    one = published.find(model)
    classes = {"imagenet": 1000, "cifar10": 10, "cifar100": 100, "svhn": 10}[one.data]
    module = models.create(ours, num_classes=classes, **fields)
    size = 32 if one.image_size == 32 else 224
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    assert (
        sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"])) == one.parameters
    )
