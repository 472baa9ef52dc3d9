"""docs/lecture.md says what the networks say, and the slides' slips are the known three."""

import json
import re

import pytest
from conftest import PROJECT

from analysis import lecture, plots, towers

PAGE = (PROJECT / "docs" / "lecture.md").read_text("utf-8")
NETWORKS = json.loads((PROJECT / "tests" / "counts.json").read_text("utf-8"))
SECTIONS = (
    lecture.alexnet_table,
    lecture.alexnet_and_vgg,
    lecture.design_rules,
    lecture.googlenet_ends,
    lecture.residual_blocks,
    lecture.cardinality,
    lambda: lecture.separable(NETWORKS),
    lambda: lecture.networks_table(NETWORKS),
    lambda: towers.section(towers.alexnet()),
)


@pytest.mark.parametrize("number", range(len(SECTIONS)))
def test_a_section_of_the_page_is_what_the_networks_say(number):
    made = SECTIONS[number]()
    assert made in PAGE, "python scripts/lecture.py writes the page again"


def test_the_page_has_these_sections_and_its_pictures():
    assert PAGE.count("\n## ") == len(SECTIONS)
    pictures = re.findall(r"\]\((\w+\.png)\)", PAGE)
    assert len(pictures) == 4
    assert all((PROJECT / "docs" / name).stat().st_size > 10_000 for name in pictures)


def test_the_slides_slip_where_the_facts_say():
    bold = [line for line in lecture.alexnet_table().splitlines() if "**" in line]
    assert len(bold) == 1 and bold[0].startswith("| conv4 ")
    totals = lecture.alexnet_and_vgg()
    assert "**48.6**" in totals and "**13.6**" in totals and totals.count("**") == 4
    stem = lecture.googlenet_ends()
    assert "**418**" in stem and "480.8 M" in stem and "7,485.5" in stem


def test_the_towers_meet_before_conv3_and_the_fully_connected_layers():
    parts = towers.alexnet()
    assert [p.name for p in parts if p.received] == ["conv3", "fc6", "fc7", "fc8"]
    assert all(2 * p.local[-1] == p.kernel[-1] for p in parts)
    assert plots.towers(parts).startswith(b"\x89PNG")
