"""docs/lecture.md says what the networks say, and the slides slip where the facts say."""

import functools
import json
import re

import pytest
from conftest import PROJECT

from analysis.lecture import pictures, tables, towers

PAGE = (PROJECT / "docs" / "lecture.md").read_text("utf-8")
PICTURES = ["lecture_alexnet", "lecture_vgg", "lecture_two_gpus", "lecture_bubbles"]
NETWORKS = json.loads((PROJECT / "tests" / "counts.json").read_text("utf-8"))


@functools.cache
def parts():
    return towers.alexnet()


@pytest.mark.slow
def test_the_page_is_what_the_networks_say():
    made = tables.document(NETWORKS, towers.section(parts()))
    assert made == PAGE, "python scripts/lecture.py writes the page again"


def test_a_network_that_lacks_a_count_is_named():
    for missing in ("activations", "image_size", "paper"):
        networks = [n | {} for n in NETWORKS]
        del next(n for n in networks if n["name"] == "ZFNet")[missing]
        with pytest.raises(ValueError, match=f"ZFNet is a row .* no {missing}: scripts/summarize"):
            tables.document(networks, "")


@pytest.mark.slow
def test_the_pictures_of_the_page_are_drawn():
    drawn = pictures.make(NETWORKS, parts())
    assert re.findall(r"\]\((\w+)\.png\)", PAGE) == PICTURES
    assert sorted(drawn) == sorted(PICTURES)
    for name, picture in drawn.items():
        assert (PROJECT / "docs" / f"{name}.png").exists() and picture.startswith(b"\x89PNG")


def test_the_slides_slip_where_the_facts_say():
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
    bold = [line for line in sections["AlexNet, layer by layer"].splitlines() if "**" in line]
    assert len(bold) == 1 and bold[0].startswith("| conv4 ")
    totals = sections["AlexNet beside VGG-16"]
    assert re.findall(r"\*\*(.*?)\*\*", totals) == ["48.6", "13.6"]
    assert "42.88 | 1,145,408 | 7,485.5" in sections["GoogLeNet's two ends"]  # the slide's VGG


def test_the_towers_meet_before_conv3_and_the_fully_connected_layers():
    assert [p.name for p in parts() if p.received] == ["conv3", "fc6", "fc7", "fc8"]
    assert all(2 * p.local[-1] == p.kernel[-1] for p in parts())
