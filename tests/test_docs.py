"""What the pages link is there, their prose wraps, and the README stays a first screen."""

import re

import pytest
import yaml
from conftest import PROJECT

import models
from analysis import markdown

PAGES = [PROJECT / "README.md", *sorted(PROJECT.glob("docs/*.md"))]


def anchors(page):
    heads = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_is_there(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_wraps_at_100_as_code_does(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    lines = [line for line in prose.splitlines() if not line.startswith(("|", "!["))]
    assert [line for line in lines if len(line) > 100] == []


def test_what_scripts_write_into_a_page_stands_between_markers():
    for page in PAGES:
        text = page.read_text("utf-8")
        begins = re.findall(r"^<!-- (\w+): made by (.*) -->$", text, re.M)
        assert [name for name, _ in begins] == re.findall(r"^<!-- end of (.*) -->$", text, re.M)
        for name, script in begins:
            assert (PROJECT / script).exists() and markdown.fill(text, name, "") != text


def test_the_site_has_each_page_once_and_no_other():
    nav = yaml.safe_load((PROJECT / "mkdocs.yml").read_text("utf-8"))["nav"]
    listed = re.findall(r"[\w]+\.md", str(nav))
    assert sorted(listed) == sorted(page.name for page in PAGES[1:])


def test_the_readme_is_short_and_each_page_is_linked():
    text, index = ((PROJECT / name).read_text("utf-8") for name in ("README.md", "docs/index.md"))
    assert text.count("\n") <= 150
    linked = re.findall(r"\(docs/(\w+\.md)", text) + re.findall(r"\((\w+\.md)", index)
    assert [page.name for page in PAGES[1:] if page.name not in linked] == []


@pytest.mark.parametrize("architecture", models.available())
def test_the_readme_has_a_row_of_each_family(architecture):
    rows = [line for line in (PROJECT / "README.md").read_text("utf-8").splitlines() if "|" in line]
    assert any(f"`{architecture}`" in row for row in rows), (
        f"the table of README.md has no row with `{architecture}`, of models/{architecture}.py: add it"
    )


def test_the_files_that_the_table_of_differences_names_are_there():
    text = (PROJECT / "docs" / "differences.md").read_text("utf-8")
    named = re.findall(r"`((?:models|configs|training)/[\w/.]*|train\.py)`", text)
    assert len(named) > 30 and all((PROJECT / name).exists() for name in named)
