"""The atlas draws what the networks are, and answers to pointer and keys as a page does."""

import subprocess

import browser
import flax.linen as nn
import pytest
from conftest import command

import analysis
from analysis.atlas import page, tree
from models import layers


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = layers.relu(layers.conv(4, 3, name="conv1")(x))
        return x + layers.conv(4, 3, name="conv2")(y)


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = layers.conv(4, 3, 2, name="stem")(x)
        x = Residual(name="block")(x)
        return nn.Dense(2, name="fc")(x.mean((1, 2)))


def test_a_block_has_its_nodes_and_what_flows_between_them():
    root = tree.root(analysis.count(Network(), (8, 6, 3)))
    places = {node["name"]: place for place, node in enumerate(root["nodes"])}
    stem, block, average, fc = (places[n] for n in ("stem", "block", "global_average1", "fc"))
    outside = tree.OUTSIDE
    flow = {(outside, stem), (stem, block), (block, average), (average, fc), (fc, outside)}
    assert set(root["edges"]) == flow
    inner = root["nodes"][block]
    assert [node["name"] for node in inner["nodes"]] == ["conv1", "conv2", "relu1", "add1"]
    assert set(inner["edges"]) == {(-1, 0), (0, 2), (2, 1), (1, 3), (-1, 3), (3, -1)}
    assert inner["output"] == (4, 3, 4) and root["output"] == (2,)
    assert inner["nodes"][0]["field_start"] == (-3, -3)
    assert "memory" not in inner["nodes"][3]


def test_a_package_without_the_file_that_the_page_holds_is_told():
    with pytest.raises(FileNotFoundError, match="scikit-learn .* has no sklearn/other.jpg"):
        page._of_package("scikit-learn", "sklearn/other.jpg")
    with pytest.raises(FileNotFoundError, match="netroff is not installed: pip install"):
        page._of_package("netroff", "netron/dagre.js")


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """A page of three networks, opened in a browser."""
    browser.chromium()
    folder = tmp_path_factory.mktemp("atlas")
    names = ("--network=ResNet-18", "--network=GoogLeNet")
    output = f"--output={folder / 'atlas.html'}"
    done = subprocess.run(
        **command("scripts/atlas.py", output, *names, "--config=configs/digits.py")
    )
    assert done.returncode == 0, done.stderr
    with browser.driven(folder / "atlas.html", folder) as driven:
        yield driven


@pytest.fixture
def opened(atlas):
    """The page as it is first, of a desktop's size."""
    atlas.resize(1280, 900)
    address = atlas.run("location.href.split('#')[0]")
    atlas.ask("Page.navigate", url="about:blank")
    atlas.go(f"{address}#ResNet-18")
    yield atlas
    assert not atlas.errors
    assert atlas.run("document.documentElement.scrollWidth <= innerWidth")


def node(name, panel=1):
    return f".panel:nth-child({panel}) .node[aria-label^='{name},']"


def focused(page):
    return page.run("document.activeElement.getAttribute('aria-label')").partition(",")[0]


@pytest.mark.slow
def test_pointing_at_a_layer_tells_what_it_is_and_costs(opened):
    opened.point(node("fc"), click=True)
    opened.point(node("conv1"))
    told = opened.text(".about dl")
    for fact in ("224 × 224 × 3", "112 × 112 × 64", "kernel7 × 7", "stride2", "padding3"):
        assert fact in told
    assert "multiply-adds118,013,952 (6.5 %)" in told and "parameters9,408 (< 0.1 %)" in told
    assert "memory3.06\u00a0MiB" in told and "receptive field7 × 7 pixels" in told


@pytest.mark.slow
def test_blocks_are_gone_into_by_clicks_and_left_by_a_button(opened):
    opened.point(node("stage2"), click=True)
    opened.point(node("block1"), click=True)
    assert opened.text(".where ol") == "ResNet-18stage2block1"
    opened.point(node("conv2"))
    assert "kernel3 × 3" in opened.text(".about dl")
    opened.point(".where ol button", click=True)
    assert opened.text(".where ol") == "ResNet-18"
    assert focused(opened) == "stage2"


@pytest.mark.slow
def test_the_address_keeps_what_is_shown(opened):
    opened.point(node("stage2"), click=True)
    address = opened.run("location.href")
    assert address.endswith("#ResNet-18/stage2")
    opened.ask("Page.navigate", url="about:blank")
    opened.go(f"{address}/block2&configs%2Fdigits.py")
    assert opened.text(".where ol") == "ResNet-18stage2block2"
    assert opened.text(".panel:nth-child(2) h2") == "configs/digits.py"


@pytest.mark.slow
def test_keys_alone_go_through_a_network(opened):
    opened.run(f'document.querySelector("{node("conv1")}").focus()')
    opened.press(*["ArrowDown"] * 4)
    assert focused(opened) == "stage1" and opened.text(".about h3") == "stage1"
    opened.press("Enter", "ArrowDown", "Enter")
    assert opened.text(".where ol") == "ResNet-18stage1block2"
    opened.press("Escape", "Escape")
    assert opened.text(".where ol") == "ResNet-18" and focused(opened) == "stage1"


@pytest.mark.slow
def test_the_field_of_a_chosen_unit_is_on_the_photograph(opened):
    opened.point(node("conv1"), click=True)
    field = "JSON.stringify(['x', 'y', 'width'].map((a) => +document.querySelector('.field').getAttribute(a)))"
    assert "row 57 of 112, column 57 of 112 of conv1 sees 7 × 7 pixels" in opened.text("figcaption")
    assert opened.run(field) == "[109,109,7]"  # of row 56 from 0, each 2 pixels on, the first at -3
    opened.run("document.querySelector('figure svg').focus()")
    opened.press("ArrowDown", "ArrowRight", "ArrowRight")
    assert opened.run(field) == "[113,111,7]"
    opened.point("figure svg", click=True, x=0.12 / 1.24, y=0.12 / 1.24)  # the image's corner
    assert "row 1 of 112, column 1 of 112" in opened.text("figcaption")
    assert "the rest is padding" in opened.text("figcaption")


@pytest.mark.slow
def test_two_networks_stand_side_by_side(opened):
    opened.run(
        "for (const e of [document.getElementById('second')]) "
        "{ e.value = 'GoogLeNet'; e.dispatchEvent(new Event('change')); }"
    )
    sides = "[...document.querySelectorAll('.panel')].map((e) => e.getBoundingClientRect().left)"
    left, right = opened.run(sides)
    assert left < right
    assert "parameters11.7\u00a0M7.00\u00a0M×\u00a00.599" in opened.text("#compared")
    opened.point(node("inception3a", 2), click=True)
    assert opened.text(".panel:nth-child(2) .where ol") == "GoogLeNetinception3a"
    assert opened.text(".panel:nth-child(1) .where ol") == "ResNet-18"


@pytest.mark.slow
def test_the_slider_takes_networks_of_later_years_away(opened):
    everything = opened.run("document.querySelectorAll('.bubble').length")
    opened.run("document.getElementById('until').focus()")
    opened.press(*["ArrowLeft"] * 4)
    assert opened.text("#year") == "2014"
    assert 5 < opened.run("document.querySelectorAll('.bubble').length") < everything
    assert "VGG-16" in opened.text("#bubble") and "ResNet" not in opened.text("#chart")
    opened.point(".bubble[aria-label^='GoogLeNet,'] circle", click=True)
    assert opened.text(".panel h2") == "GoogLeNet"


@pytest.mark.slow
def test_it_fits_a_phone_in_the_dark(opened):
    opened.resize(360, 780, dark=True)
    opened.point(node("conv1"))
    background, ink = (
        opened.run(f"getComputedStyle(document.body).{name}.match(/\\d+/g).map(Number)[0]")
        for name in ("backgroundColor", "color")
    )
    assert background < 40 and ink > 200
    drawn = opened.run("document.querySelector('.diagram').getBoundingClientRect().width")
    assert 280 < drawn < 360


@pytest.mark.slow
def test_a_network_of_ones_own_comes_first(opened):
    assert opened.run("document.getElementById('first').options[0].value") == "configs/digits.py"


@pytest.mark.slow
def test_an_unknown_network_is_told_with_the_right_ones():
    done = subprocess.run(**command("scripts/atlas.py", "--network=ResNet-51"))
    assert done.returncode == 1
    assert "there is no ResNet-51; the networks are AlexNet; " in done.stderr


@pytest.mark.slow
def test_a_folder_without_a_run_is_told(tmp_path):
    done = subprocess.run(**command("scripts/atlas.py", f"--workdir={tmp_path}"))
    assert done.returncode == 1 and f"{tmp_path} holds no run" in done.stderr
