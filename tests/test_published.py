"""The table of published weights is sound."""

import json
import math
import re

import jax
import pytest
import record_parity

import models
from models.torch import published, weights

ADDRESS = r"https://[^?#\s]+|hf:timm/[\w.]+/model\.safetensors"
NETWORKS = published.networks()
PYTORCHS = json.loads(record_parity.FILE.read_text())["names"]


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


def test_each_network_of_the_table_is_known():
    assert {weights.describe(name)[0] for name in NETWORKS} <= set(models.available())


def test_networks_have_as_many_parameters_as_those_of_pytorch():
    """test_torch_weights.py compares these with the project's own."""
    compared = 0
    for name, one in NETWORKS.items():
        model = name.partition(".")[0]
        recorded = PYTORCHS.get(model.replace("_svhn", "_cifar10"))
        if recorded and model != "torchvision/googlenet":  # recorded with its auxiliary heads
            assert one.parameters == recorded["parameters"], name
            compared += 1
        elif one.data == "cifar100":  # 90 rows more of the last layer
            other = NETWORKS.get(name.replace("_cifar100", "_cifar10"))
            assert other is None or (one.parameters - other.parameters) % 90 == 0, name
    assert compared > 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["torchvision/googlenet", "timm/wide_resnet101_2", "timm/resnext101_32x32d"]
)
def test_networks_have_as_many_parameters_as_their_publisher_says(model):
    ours, fields, _ = weights.describe(model)
    fields |= {"aux_heads": False} if ours == "googlenet" else {}
    module = models.create(ours, num_classes=1000, **fields)
    shapes = models.shapes(module, (224, 224, 3))
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
    assert parameters == published.find(model).parameters
