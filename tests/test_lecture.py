"""docs/lecture.md says what the networks say, and the slides slip where the facts say."""

import functools
import json
import re

import numpy as np
import pytest
from conftest import PROJECT

import analysis
import models
from analysis import markdown
from analysis.lecture import counted, modules, pictures, tables, towers, trends
from models import googlenet

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


def cells(table, row):
    """Returns the cells of a row of a table of the page, numbers as such."""
    section = re.search(rf"<!-- {table}: .*?<!-- end of {table} -->", PAGE, re.S)[0]
    [line] = [line for line in section.splitlines() if line.startswith(f"| {row} |")]
    found = [cell.strip() for cell in line.strip("|").split("|")]
    return [float(c.replace(",", "")) if re.fullmatch(r"[\d,.]+", c) else c for c in found]


def test_the_prose_says_what_the_networks_and_the_tables_say():
    stem = counted.until(counted.googlenet(), "max pool", 2)
    work = counted.total(stem, "multiply_adds") + counted.pooled(stem)
    known = {network["name"]: network for network in NETWORKS}

    def times(one, other, figure="multiply_adds"):
        return known[one][figure] / known[other][figure]

    def error(name):
        return known[name]["published"]["top1"]

    modules_ = [cells("inception", name) for name in INCEPTION]
    stacked = cells("inception", "all, one on the other")
    _, *without, whole = cells("inception_example", "all: here")
    *_, basic_memory, basic_size, basic_work = cells("resnet_stages", "all |  | ")[:7]
    *_, memory, size, work_50 = cells("resnet_stages", "all |  | ")
    dense = [cells("dense_blocks", f"block{i}") for i in (1, 2, 3, 4)]
    grown = [100 * (row[4] / row[5] - 1) for row in dense]
    mobile, shuffled = "NASNet-A mobile (4 @ 1056)", "ShuffleNet 2x, g = 3"
    prose = " ".join(PAGE.split())
    for says in (
        f"418 looks like {work / 1e6:.0f} with two digits swapped",
        f"({error('AlexNet, 227 x 227')} % error)",  # Caffe's
        f"has {times('ZFNet', 'AlexNet'):.1f} times its multiply-adds",
        f"the wide form {times('ZFNet, wide', 'AlexNet'):.1f} times",
        f"more than it says, {without[0] / whole:.1f} times instead of {854 / 358:.1f}",
        f"costs {min(m[-1] for m in modules_)} to {max(m[-1] for m in modules_)} times the",
        f"put out {stacked[5]:,.0f} channels instead of {stacked[2]:,.0f}",
        f"would cost {stacked[-1]} times as much",
        f"{error('Plain-18'):.2f} and {error('Plain-34'):.2f} % top-1 error",
        f"{error('ResNet-18, shortcut A'):.2f} and {error('ResNet-34, shortcut A'):.2f} %",
        f"{100 * (work_50 / basic_work - 1):.0f} % more multiply-adds and",
        f"{100 * (size / basic_size - 1):.0f} % more parameters, for",
        f"{error('ResNet-34') - error('ResNet-50 v1.5'):.1f} points less error, and",
        f"{memory / basic_memory:.1f} times the memory",
        f"the same {known['PreAct ResNet-50']['multiply_adds']:,} multiply-adds, and",
        f"{known['ResNet-50']['parameters']:,} and {known['PreAct ResNet-50']['parameters']:,} param",
        f"{grown[0]:.0f} % more parameters in the first block and {grown[2]:.0f} % in the third",
        f"take {sum(row[-2] for row in dense):.1f} MB for an image",
        f"another {sum(row[-1] for row in dense):.1f} MB",
        f"for {error('GoogLeNet') - error('VGG-16'):.1f} points more error with one crop",
        f"{error(shuffled) - error(mobile):.1f} points ahead of ShuffleNet 2x",
        f"with {100 * (times(mobile, shuffled) - 1):.0f} % more multiply-adds",
    ):
        assert says in prose
    assert round(times("VGG-16", "GoogLeNet")) == 10
    assert round(times("VGG-16", "GoogLeNet", "parameters")) == 20
    assert times("PreAct ResNet-50", "ResNet-50 v1.5") == 1
    assert max(grown) == grown[2]


def test_the_towers_meet_before_conv3_and_the_fully_connected_layers():
    assert [p.name for p in parts() if p.received] == ["conv3", "fc6", "fc7", "fc8"]
    assert all(2 * p.local[-1] == p.kernel[-1] for p in parts())


def test_the_slide_of_inception_counts_a_convolution_twice():
    whole, naive = modules.example()
    works = {layer.path.split("/")[-2]: layer.multiply_adds / 1e6 for layer in whole.products}
    assert [round(c.multiply_adds / 1e6) for c in (naive, whole)] == [854, 271]
    assert round(sum(works.values()) + works["3x3"]) == 358
    listed = 256 * (128 + 64 + 64 + 64) + 9 * 64 * 192 + 25 * 64 * 96
    assert whole.multiply_adds == 28**2 * listed


# Parameters, and millions of multiply-adds, by plain arithmetic on the widths.
INCEPTION = {
    "3a": (163_696, 128.05), "3b": (388_736, 304.27), "4a": (376_176, 73.61), "4b": (449_160, 87.91),
    "4c": (510_104, 99.85), "4d": (605_376, 118.52), "4e": (868_352, 170.00), "5a": (1_043_456, 51.08),
    "5b": (1_444_080, 70.70),
}  # fmt: skip


def test_googlenets_modules_cost_what_arithmetic_says():
    for name, (parameters, work) in INCEPTION.items():
        _, shape, out, size, products, naive_out, naive_size, naive, _ = cells("inception", name)
        assert (size, products) == (round(parameters / 1e3, 1), pytest.approx(work, abs=0.06))
        side, channels = int(shape.split()[0]), int(shape.split()[-1])
        first, _, three, _, five, pooled = googlenet.INCEPTION[name]
        assert (out, naive_out) == (first + three + five + pooled, first + three + five + channels)
        weights = channels * (first + 9 * three + 25 * five)
        assert naive == pytest.approx(side**2 * weights / 1e6, abs=0.06)
        assert naive_size == pytest.approx((weights + first + three + five) / 1e3, abs=0.06)


def test_a_dense_block_costs_what_its_growth_says():
    k, before, depth = 8, 24, 4
    block = counted.cost(5, before, *[modules.dense_layer(k)] * depth)
    seen = [before + i * k for i in range(depth)]
    products = sum(x * 4 * k + 4 * k * k * 9 for x in seen)
    assert block.multiply_adds == 5 * 5 * products
    assert block.parameters == products + sum(2 * x + 2 * 4 * k for x in seen)  # of two BatchNorms


def test_a_unit_of_shufflenet_costs_what_the_paper_says():
    c, m = 384, 96  # section 3.2 of arXiv:1707.01083
    for g in (1, 3, 8):
        unit = counted.cost(3, c, modules.shuffle_unit(g))
        assert unit.multiply_adds == 9 * (2 * c * m // g + 9 * m)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [3, 8])
def test_without_the_shuffle_an_output_sees_its_own_group_alone(groups):
    apart = np.kron(np.eye(groups), np.ones((384 // groups,) * 2)).astype(bool)
    assert np.array_equal(modules.dependence(groups, False), apart)
    assert modules.dependence(groups, True).all()


@pytest.mark.slow
def test_the_winners_have_the_layers_of_the_chart():
    vgg19 = analysis.count(models.create("vgg", num_classes=1000, depth=19), (224, 224, 3))
    for who, count, beside in (
        ("AlexNet", counted.alexnet(), "^$"),
        ("VGG, second", vgg19, "^$"),
        ("GoogLeNet", counted.googlenet(), "1x1/|5x5|pool_proj"),
        ("ResNet", counted.resnet(152), "shortcut"),
    ):
        [winner] = [winner for winner in trends.WINNERS if winner.who == who]
        path = [layer for layer in count.products if not re.search(beside, layer.path)]
        assert len(path) == winner.layers


def test_what_was_seen_here_is_what_the_pages_say():
    depth, ablations = (
        (PROJECT / "docs" / name).read_text("utf-8") for name in ("depth.md", "ablations.md")
    )
    assert "| not told apart |" in trends.seen_of_depth(depth)
    lower = depth.replace("+1.13 (-0.72 to +2.99, n = 3)", "-1.13 (-2.99 to -0.72, n = 3)")
    assert "(-2.99 to -0.72, n = 3) | **seen** |" in trends.seen_of_depth(lower)
    upper = depth.replace("+1.13 (-0.72 to +2.99, n = 3)", "+1.13 (+0.72 to +2.99, n = 3)")
    assert "**the opposite is seen** |" in trends.seen_of_depth(upper)
    found = trends.seen_of_parts(ablations)
    assert (
        found.count("**yes**") == 1 and "+17.55 (+16.99 to +18.11), **seen** | **yes** |" in found
    )
    with pytest.raises(ValueError, match='no row begins with "response_norm'):
        trends.seen_of_parts(ablations.replace("response_norm:", "norm:"))
