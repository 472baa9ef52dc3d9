"""Genotypes: cells as data, from a file into a network, in words and in pictures."""

import functools
import io
import json
import math
import subprocess

import jax
import jax.numpy as jnp
import pytest
from conftest import command
from PIL import Image

import models
from models import layers, nasnet
from models.genotypes import cells, load
from nas import genotypes
from training import metrics

TINY = (((("id", 1, "max", 0, "concat"),), (2,)), ((("max", 0, "id", 1),), (2,)))
LAYERS = ((3, 3, 24, 1, ()), (5, 5, 36, 2, (1,)), (3, 3, 24, 1, (0, 1)))
FIELDS = {"layout": "cifar", "cells": 1, "filters": 4, "stem_filters": 4, "aux_head": False}
CONV = functools.partial(layers.conv, padding="SAME")
NORM = layers.batch_norm(False, dtype="float32")
F = 4


def size(module, *shapes):
    """Returns (shape of the output, parameters)."""
    inputs = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in shapes]
    output, variables = jax.eval_shape(
        functools.partial(module.init_with_output, jax.random.key(0)), *inputs
    )
    params = variables.get("params", {})  # a pooling has none
    return output.shape[1:], sum(math.prod(a.shape) for a in jax.tree.leaves(params))


def size_of_cell(nodes, output, stride=1, channels=F):
    operation = functools.partial(nasnet.Operation, padded_average=False, conv=CONV, norm=NORM)
    cell = nasnet.Cell(nodes, output, F, stride, operation, CONV, NORM, lambda x: x)
    return size(cell, (8, 8, channels), (8, 8, channels))


def weights(operation, channels):
    """Returns the weights of the convolutions of an operation, by hand."""
    separable = {f"sep{k}": k * k * channels + channels * F + k * k * F + F * F for k in (3, 5, 7)}
    rest = {
        "conv1": channels * F,
        "conv3": 9 * channels * F,
        "dil3": 9 * channels * F,
        "conv1x3_3x1": 3 * channels * F + 3 * F * F,
        "conv1x7_7x1": 7 * channels * F + 7 * F * F,
    }
    return (separable | rest)[operation]


@pytest.mark.parametrize("operation", cells.OPERATIONS)
def test_an_operation_has_the_size_of_its_recipe(operation):
    assert len(cells.OPERATIONS) == 13
    for channels in (F, 2 * F):
        for stride in (1, 2):
            module = nasnet.Operation(operation, F, stride, False, CONV, NORM)
            if operation == "id" or operation.startswith(("avg", "max")):
                adjusts = channels != F or (operation == "id" and stride == 2)
                expected = (channels * F + 2 * F) * adjusts
            else:
                norms = 2 if operation.startswith("sep") else 1
                expected = weights(operation, channels) + norms * 2 * F
            side = 8 // stride
            assert size(module, (8, 8, channels)) == ((side, side, F), expected)


def test_a_dilated_convolution_sees_every_other_pixel():
    image = jnp.zeros((1, 7, 7, 1)).at[0, 3, 3].set(1)
    for padding in (None, "SAME"):
        conv = layers.conv(1, 3, padding=padding, dilation=2)
        seen = conv.apply({"params": {"kernel": jnp.ones((3, 3, 1, 1))}}, image)
        expected = jnp.zeros((1, 7, 7, 1)).at[0, 1::2, 1::2].set(1)
        assert (seen == expected).all()


def test_a_concatenated_node_has_twice_the_channels_and_its_readers_bring_them_back():
    nodes = (("id", 1, "id", 0), ("conv1", 2, "id", 2))
    shape, parameters = size_of_cell(nodes, (2, 3))
    assert (shape, parameters) == ((8, 8, 2 * F), F * F + 2 * F + F * F + 2 * F)
    nodes = (("id", 1, "id", 0, "concat"), nodes[1])
    shape, concatenated = size_of_cell(nodes, (2, 3))
    assert shape == (8, 8, 3 * F)
    assert concatenated - parameters == F * F + 2 * F * F + 2 * F  # conv1 reads 2F, id is a conv1
    assert size_of_cell((("id", 1, "id", 0, "add"),), (2,)) == size_of_cell(
        (("id", 1, "id", 0),), (2,)
    )


def test_inputs_in_the_output_are_brought_to_the_nodes_size_and_nodes_stay():
    nodes = (("max", 1, "max", 0), ("max", 2, "max", 2, "concat"))
    shape, parameters = size_of_cell(nodes, (0, 1, 2, 3), stride=2)
    assert shape == (4, 4, 5 * F)
    first, reductions = F * F + 2 * F, 2 * (F * F + 2 * F)
    assert parameters == first + reductions


def test_tuples_lists_json_and_a_file_are_one_genotype(tmp_path):
    text, file = json.dumps(TINY), tmp_path / "found.json"
    file.write_text(text)
    assert cells.check(text) == cells.check(json.loads(text)) == TINY
    sizes = {
        size(models.create("nasnet", num_classes=5, genotype=one, **FIELDS), (8, 8, 3))
        for one in (TINY, text, str(file))
    }
    assert len(sizes) == 1


@pytest.mark.parametrize(
    "genotype, message",
    [
        ("[[", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("7", "must be .normal, reduction."),
        ('{"a": 1}', "must be .normal, reduction."),
        ([[[], [0]], [[], [0]]], "neither empty"),
        ([[["sep3(0)"], [2]]] * 2, "node sep3.0.: it must be .operation, input"),
        ([[[["id", 0.0, "id", 1]], [2]]] * 2, "operation, input, operation, input"),
        ([[[["id", True, "id", 1]], [2]]] * 2, "operation, input, operation, input"),
        ([[[["id", 0, "id", 1, "mean"]], [2]]] * 2, "combiner 'mean': choose one of add, concat"),
        ([[[["id", 0, "id", 1]], ["2"]]] * 2, "numbers of states"),
        ([[[["id", 0, "id", 1]], 2]] * 2, "must be .normal, reduction."),
        (
            [[3, 3, 24, 1, []], [3, 3, 24, 1, [2]]],
            "input 2 of layer 2: give the number of an earlier layer",
        ),
        ([[3, 3, 24, 1, []], [3, 3, 24]], "layer 2.*height, width, filters, stride, inputs"),
    ],
)
def test_what_is_no_genotype_is_told_in_one_line(genotype, message):
    with pytest.raises(ValueError, match=message) as raised:
        genotypes.text(genotype)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_a_genotype_in_words():
    assert genotypes.text(cells.PUBLISHED["nasnet_a"]) == (
        "normal cell\n"
        "  2 = sep5(1) + sep3(0)\n"
        "  3 = sep5(0) + sep3(0)\n"
        "  4 = avg(1) + id(0)\n"
        "  5 = avg(0) + avg(0)\n"
        "  6 = sep3(1) + id(1)\n"
        "  output: concat of 0, 2, 3, 4, 5, 6\n"
        "reduction cell\n"
        "  2 = sep5(1) + sep7(0)\n"
        "  3 = max(1) + sep7(0)\n"
        "  4 = avg(1) + sep5(0)\n"
        "  5 = id(3) + avg(2)\n"
        "  6 = sep3(2) + max(1)\n"
        "  output: concat of 3, 4, 5, 6"
    )
    assert "  2 = concat(id(1), max(0))\n  output: 2\n" in genotypes.text(TINY)
    assert genotypes.text(json.dumps(LAYERS)) == (
        "1: 3x3, 24 filters, from the image\n"
        "2: 5x5, 36 filters, stride 2, from 1\n"
        "3: 3x3, 24 filters, from the image, 1\n"
        "output: concat of 2, 3"
    )
    assert [genotypes.kind(one) for one in (TINY, LAYERS)] == ["cell", "layers"]


@pytest.mark.parametrize(
    "genotype, words",
    [
        (cells.PUBLISHED["amoebanet_a"], "conv1x7_7x1 sep3 sep5 sep7 max avg id add concat"),
        (TINY, "id max add concat"),
        (LAYERS, "5x5, image concat softmax"),
    ],
)
def test_a_genotype_in_a_picture(genotype, words):
    drawn = genotypes.draw(genotype, "svg")
    assert drawn == genotypes.draw(json.dumps(genotype), "svg")
    for word in words.split():
        assert f">{word}" in drawn.decode()
    with Image.open(io.BytesIO(genotypes.draw(genotype))) as image:
        assert len(image.convert("RGB").getcolors(100_000)) > 50  # more than an empty frame
    with pytest.raises(ValueError, match="'pdf': choose one of png, svg"):
        genotypes.draw(genotype, "pdf")


@pytest.mark.parametrize("genotype", cells.PUBLISHED.values())
def test_boxes_of_a_row_do_not_overlap(genotype):
    for cell in genotype:
        drawn = genotypes._Cell(*cell)
        for row in drawn.rows:
            for one, other in zip(row, row[1:], strict=False):
                between = drawn.x[other] - drawn.x[one]
                assert between > (one.width + other.width) / 2 + 0.1


def run_small(script, *arguments):
    fields = FIELDS | {"drop_path_keep": 1.0, "dropout": 0.0}
    flags = [f"--config.model.{name}={value}" for name, value in fields.items() if name != "layout"]
    data = {"source": "digits", "eval_split": "test", "image_size": 8, "resize": 8}
    data |= {"flip": False, "crop": "center", "mean": "(0.3,)", "std": "(0.3,)"}
    flags += [f"--config.input.{name}={value}" for name, value in data.items()]
    config = ["--config=configs/small.py:nasnet", "--config.total_steps=2", *flags]
    return subprocess.run(**command(script, *config, *arguments))


@pytest.mark.slow
def test_a_genotype_of_a_file_is_trained_and_recorded(tmp_path):
    found, workdir = tmp_path / "found.json", tmp_path / "run"
    found.write_text(json.dumps({"genotype": TINY, "top1": 0.9}, indent=1))
    flags = f"--config.model.genotype={found}", f"--workdir={workdir}"
    done = run_small("train.py", *flags)
    assert done.returncode == 0, done.stderr
    recorded = metrics.read_lines(workdir)[0]["config"]["model"]["genotype"]
    assert cells.check(recorded) == TINY
    done = run_small("eval.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "other than the run" not in done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["step"] == 2


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "there is no genotype .*found.json"),
        ("[[", "found.json is damaged, it is no JSON"),
        (b"\xff\xfe", "found.json is damaged, it is no JSON"),
        ("{}", "found.json has no genotype"),
        ("7", "found.json has no genotype"),
    ],
)
def test_a_file_without_a_genotype_is_told(content, message, tmp_path):
    path = tmp_path / "found.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((OSError, ValueError), match=message):
        load(str(path))


def test_commands_answer_a_missing_genotype_with_one_line():
    for script, flag, message in (
        ("train.py", "--config.model.genotype=no.json", "there is no genotype no.json"),
        ("scripts/genotype.py", "--genotype=nasnet_b", "nasnet_a, amoebanet_a, enas"),
    ):
        config = ["--config=configs/nasnet.py"] if script == "train.py" else []
        done = subprocess.run(**command(script, *config, flag))
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and message in done.stderr
        assert done.stderr.count("\n") == 1
