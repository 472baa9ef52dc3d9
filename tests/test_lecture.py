"""docs/lecture.md says what the networks say, and the slides slip where the facts say."""

import functools
import json
import re

import pytest
from conftest import PROJECT

from analysis import markdown
from analysis.lecture import counted, pictures, tables, towers

PAGE = (PROJECT / "docs" / "lecture.md").read_text("utf-8")
NETWORKS = json.loads((PROJECT / "tests" / "counts.json").read_text("utf-8"))


@functools.cache
def parts():
    return towers.alexnet()


@pytest.mark.slow
def test_the_tables_of_the_page_are_what_the_networks_say():
    made = tables.make(NETWORKS, parts())
    assert re.findall(r"<!-- (\w+): made by scripts/lecture.py -->", PAGE) == list(made)
    for name, table in made.items():
        assert markdown.fill(PAGE, name, table) == PAGE, "python scripts/lecture.py mends it"


def test_only_what_stands_between_its_markers_is_replaced():
    page = "Before.\n\n<!-- a: made by x -->\n\n| old |\n\n<!-- end of a -->\n\nAfter.\n"
    assert markdown.fill(page, "a", "| \\1 |") == page.replace("old", "\\1")
    for wrong in (page.replace("end of a", "end of b"), page * 2, "Before.\n"):
        with pytest.raises(ValueError, match="<!-- a: made by a script --> and <!-- end of a -->"):
            markdown.fill(wrong, "a", "| new |")


def test_a_network_that_lacks_a_count_is_named():
    for missing in ("activations", "image_size", "paper"):
        networks = [n | {} for n in NETWORKS]
        del next(n for n in networks if n["name"] == "ZFNet")[missing]
        with pytest.raises(ValueError, match=f"ZFNet is a row .* no {missing}: scripts/summarize"):
            tables.make(networks, [])


@pytest.mark.slow
def test_the_pictures_of_the_page_are_drawn():
    drawn = pictures.make(NETWORKS, parts())
    assert sorted(drawn) == sorted(re.findall(r"\]\((\w+)\.png\)", PAGE))
    for picture in drawn.values():
        assert picture.startswith(b"\x89PNG")


def test_the_slides_slip_where_the_facts_say():
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
    bold = [line for line in sections["AlexNet, layer by layer"].splitlines() if "**" in line]
    assert len(bold) == 1 and bold[0].startswith("| conv4 ")
    totals = sections["AlexNet beside VGG-16"]
    assert re.findall(r"\*\*(.*?)\*\*", totals) == ["48.6", "13.6"]
    assert "42.88 | 1,145,408 | 7,485.5" in sections["GoogLeNet's two ends"]  # the slide's VGG


def test_the_prose_says_what_the_networks_say():
    stem = counted.until(counted.googlenet(), "max pool", 2)
    work = counted.total(stem, "multiply_adds") + counted.pooled(stem)
    assert f"418 looks like {work / 1e6:.0f} with two digits swapped" in PAGE
    [alexnet] = [n for n in NETWORKS if n["name"] == "AlexNet, 227 x 227"]  # Caffe's
    assert f"({alexnet['published']['top1']} % error)" in PAGE


def test_the_towers_meet_before_conv3_and_the_fully_connected_layers():
    assert [p.name for p in parts() if p.received] == ["conv3", "fc6", "fc7", "fc8"]
    assert all(2 * p.local[-1] == p.kernel[-1] for p in parts())
