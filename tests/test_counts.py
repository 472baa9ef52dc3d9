"""Parameters and multiply-adds of every network equal the published ones in counts.json."""

import ast
import functools
import json
import math
import re
import subprocess
import types

import pytest
from conftest import PROJECT, command, counted

import analysis
import models


def layers_of_a_block(network) -> int:
    """Returns how many layers deeper a CIFAR network gets by one block; 0: it has no such depth."""
    fields = network["fields"]
    if fields.get("layout") != "cifar":
        return 0
    basic = 2 if network["model"] == "resnet" or fields.get("block") == "basic" else 3
    dense = 2 if fields.get("bottleneck", True) else 1
    return {"densenet": dense, "resnet": basic, "preact_resnet": basic}.get(network["model"], 0)


ROWS = json.loads((PROJECT / "tests" / "counts.json").read_text())
NEEDED = {
    *("name", "model", "fields", "image_size", "parameters", "multiply_adds"),
    *("published", "source", "paper"),
}
RESULT = {"top1", "top5", "where", "source"}  # of "published", where it is not null
for row in ROWS:
    lacks = ", ".join((NEEDED - row.keys()) | RESULT.difference(row.get("published") or RESULT))
    assert not lacks, f"tests/counts.json: {row.get('name', row)} needs {lacks}; see other rows"
NETWORKS = {row["name"]: row for row in ROWS}
# Layers of a block: a CIFAR network of these has 3 * layers * n + 2, or DenseNet + 4, of n blocks.
DEEP = {
    name: layers
    for name, network in NETWORKS.items()
    for layers in [layers_of_a_block(network)]
    if layers and network["fields"]["depth"] > 32
}
# The first of each architecture, in the quick part; to trace them all takes minutes.
FIRST = {n["model"]: n["name"] for n in reversed(NETWORKS.values())}.values()
REST = {"densenet": 4}  # layers outside the blocks; elsewhere 2


def count(name, fields, side):
    """Returns (parameters, multiply-adds, activations)."""
    done = counted(models.create(name, **fields), side)
    return done.parameters, done.multiply_adds, done.activations


def recorded(name):
    return NETWORKS[name]["parameters"], NETWORKS[name]["multiply_adds"]


@pytest.mark.parametrize("architecture", models.available())
def test_each_architecture_has_a_row(architecture):
    counted = f"python scripts/summarize.py --config=configs/{architecture}.py"
    assert architecture in {row["model"] for row in ROWS}, (
        f"tests/counts.json has no network of models/{architecture}.py: add a row with the parameters and "
        f"multiply-adds that are published; {counted} prints those that it has"
    )


@pytest.mark.parametrize(
    "name",
    [
        name if name in FIRST else pytest.param(name, marks=pytest.mark.slow)
        for name in NETWORKS
        if name not in DEEP
    ],
)
def test_a_network_has_the_published_size(name):
    network = NETWORKS[name]
    *found, activations = count(network["model"], network["fields"], network["image_size"])
    assert tuple(found) == recorded(name)
    assert network.get("activations", activations) == activations  # of docs/lecture.md


@functools.cache
def shallow(model, layers, fields):
    """Returns the sizes of the networks of 2, 3, 4 and 5 blocks a stage."""
    depths = [3 * layers * n + REST.get(model, 2) for n in range(2, 6)]
    return [count(model, dict(fields) | {"depth": depth}, 32) for depth in depths]


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_a_deep_cifar_network_is_a_shallow_one_with_more_of_the_same_blocks(name):
    # To trace 1,202 layers takes half a minute. The size is a polynomial in the blocks a stage: of
    # degree 1, or 2 where each layer sees all before it. So four shallow networks give it.
    network, layers = NETWORKS[name], DEEP[name]
    fields = {key: value for key, value in network["fields"].items() if key != "depth"}
    sizes = shallow(network["model"], layers, tuple(sorted(fields.items())))
    blocks = (network["fields"]["depth"] - REST.get(network["model"], 2)) // (3 * layers)
    *found, activations = (extrapolate(values, blocks - 2) for values in zip(*sizes, strict=True))
    assert tuple(found) == recorded(name)
    assert NETWORKS[name].get("activations", activations) == activations


def extrapolate(values, n):
    """Returns the value at n of the polynomial with these values at 0, 1, 2, ... (Newton)."""
    total = 0
    for k in range(len(values)):
        total += values[0] * math.comb(n, k)
        values = [b - a for a, b in zip(values, values[1:], strict=False)]
    return total


@pytest.mark.slow
@pytest.mark.parametrize("depth", ["18", "34"])
def test_a_plain_network_is_as_large_as_the_residual_one_with_shortcut_a(depth):
    assert recorded(f"Plain-{depth}") == recorded(f"ResNet-{depth}, shortcut A")


@pytest.mark.slow
@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110, 1202])
def test_a_plain_cifar_network_is_as_large_as_the_residual_one(depth):
    assert recorded(f"Plain-{depth}, CIFAR") == recorded(f"ResNet-{depth}, CIFAR")


@pytest.mark.slow
@pytest.mark.parametrize("depth", [50, 101, 152])
def test_the_stride_in_the_3x3_costs_multiply_adds_but_no_parameters(depth):
    v1, v1_5 = recorded(f"ResNet-{depth}"), recorded(f"ResNet-{depth} v1.5")
    assert (v1_5[0] - v1[0], v1_5[1] - v1[1]) == (0, 231_211_008)


@pytest.mark.parametrize(
    "name, fields, multiply_adds",
    [
        ("GoogLeNet with auxiliary heads", {}, 8_372_224),
        # The number of cells does not change the head.
        ("NASNet-A 6 @ 768, CIFAR, with auxiliary head", {"cells": 1}, 2_366_976),
    ],
)
@pytest.mark.slow
def test_auxiliary_heads_cost_multiply_adds_in_training_alone(name, fields, multiply_adds):
    network = NETWORKS[name]
    module = models.create(network["model"], **network["fields"] | fields)
    apply = functools.partial(module.apply, mutable=["aux_logits"])  # as in training
    training = types.SimpleNamespace(init=module.init, apply=apply)
    shape = (network["image_size"],) * 2 + (3,)

    def cost(done):
        found = [layer for layer in done.layers if layer.path.startswith("aux")]
        assert found
        return sum(layer.multiply_adds for layer in found)

    assert cost(analysis.count(training, shape)) == multiply_adds
    assert cost(analysis.count(module, shape)) == 0


def test_counts_per_layer_add_up():
    done = analysis.count(models.create("resnet", num_classes=10, depth=18), (64, 64, 3))
    stem = done.layers[0]
    assert (stem.path, stem.parameters) == ("conv1", 7 * 7 * 3 * 64)
    assert stem.activations == 32 * 32 * 64
    assert stem.multiply_adds == 32 * 32 * 64 * 7 * 7 * 3
    assert {layer.path for layer in done.layers} >= {"stage4/block2/conv2", "fc"}


@pytest.mark.slow
def test_the_page_of_networks_has_the_table_that_the_script_prints():
    done = subprocess.run(**command("scripts/networks.py"))
    assert done.returncode == 0, done.stderr
    page = (PROJECT / "docs" / "networks.md").read_text("utf-8")
    wrong = "docs/networks.md has another table: python scripts/networks.py --write writes it again"
    assert done.stdout in page, wrong
    assert page.count(done.stdout.partition("\n")[0]) == 1
    everything = subprocess.run(**command("scripts/networks.py", "--all")).stdout
    assert all(f"| {name} |" in everything for name in NETWORKS)


def test_numbers_in_the_docstrings_of_networks_are_those_that_are_tested():
    tested = {n[key] for n in NETWORKS.values() for key in ("parameters", "multiply_adds")}
    for name, network in NETWORKS.items():  # what the head alone has
        head = ", with auxiliary head"
        if name.removesuffix(head) in NETWORKS and name.endswith(head):
            tested.add(network["parameters"] - NETWORKS[name.removesuffix(head)]["parameters"])
    for file in (PROJECT / "models").glob("*.py"):
        docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
        for number in re.findall(r"\d{1,3}(?:,\d{3}){2,}", docstring):
            assert int(number.replace(",", "")) in tested, (
                f"models/{file.name} says {number}, and no row of tests/counts.json does: add one"
            )


def test_resnet18_for_small_images_has_the_parameters_of_torchvisions_so_changed():
    # resnet18(num_classes=10) with conv1 = Conv2d(3, 64, 3, padding=1, bias=False), maxpool = Identity()
    assert count("resnet", {"depth": 18, "stem": "small", "num_classes": 10}, 32)[0] == 11_173_962
