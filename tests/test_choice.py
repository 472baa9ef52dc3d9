"""Choosing a network: budgets, one row a network, recorded multiply-adds, the page."""

import io
import json
import re
import subprocess

import pytest
import record_choice
from conftest import PROJECT, SMALLEST, command, counted
from PIL import Image

import models
from analysis import choice, markdown

PAGE = (PROJECT / "docs" / "choose.md").read_text("utf-8")


def named(*names):
    return [one for one in choice.choices() if one.weights.name in names]


@pytest.mark.parametrize(
    "text, meant",
    [
        ("5M parameters", ("parameters", 5e6)),
        ("600M multiply-adds", ("multiply-adds", 6e8)),
        (" 4.1 G multiply-adds", ("multiply-adds", 4.1e9)),
        ("25000000 parameters", ("parameters", 25e6)),
        ("2e6parameters", ("parameters", 2e6)),
        ("30ms", ("ms", 30)),
        ("0.5 ms", ("ms", 0.5)),
    ],
)
def test_a_budget_is_a_number_and_its_unit(text, meant):
    assert choice.budget(text) == pytest.approx(meant)


@pytest.mark.parametrize(
    "text", ["", "5M", "many ms", "5 apples", "-1 ms", "5 Mms", "5m parameters"]
)
def test_what_is_no_budget_is_answered_with_budgets(text):
    with pytest.raises(ValueError, match=f"{re.escape(repr(text))}; write .*30 ms"):
        choice.budget(text)


def test_what_is_within_a_budget():
    found = choice.choices()
    small = choice.within(found, "parameters", 5e6)
    assert "torchvision/shufflenet_v2_x1_0.IMAGENET1K_V1" in {one.weights.name for one in small}
    assert max(one.weights.parameters for one in small) <= 5e6
    wide = choice.within(found, "multiply-adds", 4_089_184_256)  # ResNet-50's at 224
    assert max(one.multiply_adds for one in wide) == 4_089_184_256
    with pytest.raises(ValueError, match=r"at most 9 parameters: \w+/shufflenet\S+ has \d"):
        choice.within(found, "parameters", 9)


def test_a_network_has_one_row_with_its_best_weights():
    found = choice.choices()
    rows = choice.best(found)
    assert [one.top1 for one in rows] == sorted((one.top1 for one in rows), reverse=True)
    assert {one.module for one in rows} == {one.module for one in found}
    assert len({one.module for one in rows}) == len(rows) < len(found)
    [row] = [one for one in rows if one.module == choice.network("torchvision/resnext50_32x4d")]
    every = [one for one in found if one.module == row.module]
    assert row.top1 == max(one.top1 for one in every if not one.more_images)
    assert row.top1 < max(one.top1 for one in every)


def test_weights_of_more_images_have_a_star():
    rows = dict(cells[:2] for cells in choice.table(choice.choices(), {})[1:])
    assert rows["timm/resnext101_32x8d.fb_wsl_ig1b_ft_in1k*"] == "82.7"
    assert rows["torchvision/resnet50.IMAGENET1K_V1"] == "76.1"
    assert all(("_ft_" in name) == name.endswith("*") for name in rows)


def networks():
    """Returns the names under which the libraries have each network at a size, by (module, pixels)."""
    found = {}
    for name, pixels in record_choice.keys():
        found.setdefault((choice.network(name), pixels), []).append(name)
    return found


@pytest.mark.parametrize(
    "module, pixels, names",
    [
        pytest.param(
            *network,
            names,
            id=f"{names[0]}-{network[1]}",
            marks=()
            if {"torchvision/alexnet", "torchvision/vgg11"} & set(names)
            else pytest.mark.slow,
        )
        for network, names in networks().items()
    ],
)
def test_the_recorded_multiply_adds_are_those_of_the_network(module, pixels, names):
    found = counted(module, pixels).multiply_adds
    assert {choice.multiply_adds()[name, pixels] for name in names} == {found}


def test_every_network_with_published_weights_is_recorded():
    assert set(record_choice.keys()) == set(choice.multiply_adds()), (
        "python tests/record_choice.py makes analysis/choice.csv again"
    )


def test_an_answer_is_timed(monkeypatch):
    monkeypatch.setattr(choice, "RUNS", 4)
    times = choice.repeat(choice.answers(models.create(**SMALLEST), 16))
    assert len(times) == 4 and 0 < min(times) and max(times) < 1000


@pytest.mark.parametrize("ms, runs", [(1, 20), (999, 10), (6_000, 3)])
def test_slow_answers_are_repeated_less(ms, runs):
    assert choice.repeat(lambda: ms) == [ms] * runs


def test_the_page_has_the_table_that_the_script_writes():
    found = named(*choice.PAGE)
    assert len(found) >= 13
    table = markdown.table(choice.table(found, choice.measured(PAGE)))
    assert markdown.fill(PAGE, "choose", table) == PAGE


def test_what_a_page_shows_is_read_as_it_was_measured():
    found = named("torchvision/alexnet.IMAGENET1K_V1", "torchvision/resnet18.IMAGENET1K_V1")
    ms = {found[0].key: [20.0, 22.5, 31.0]}
    table = markdown.table(choice.table(found, ms))
    assert "| 22.5 (20.0 to 31.0) |" in table
    assert choice.measured(table) == ms


def test_the_picture_is_no_empty_frame():
    found = named(*choice.PAGE[:5])
    ms = {one.key: [10.0 * i] for i, one in enumerate(found, 1)}
    with Image.open(io.BytesIO(choice.picture(found, ms))) as image:
        blue = [(r, g, b) for _, (r, g, b, _) in image.getcolors(100_000) if b > r + 60]
    assert blue  # of torchvision's discs


@pytest.mark.slow
def test_a_budget_gives_a_table_and_json(tmp_path):
    asked = ["--budget=62M parameters", "--weights=torchvision/alexnet*"]
    file = tmp_path / "choice.json"
    done = subprocess.run(**command("scripts/choose.py", *asked, f"--json={file}"))
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^torchvision/alexnet.*61\.10 +0\.714 +[\d.]+ \(.* to .*\)$", done.stdout, re.M
    )
    [row] = json.loads(file.read_text())["networks"]
    assert row["multiply_adds"] == 714_188_480 and len(row["ms"]) == choice.RUNS

    done = subprocess.run(**command("scripts/choose.py", *asked, "--budget=0 ms"))
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: no network answers within 0 ms; the least was [\d.]+\n", done.stderr
    )
