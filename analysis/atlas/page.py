"""Puts the page together, of the files beside this one, of packages, and of the networks."""

import base64
import gzip
import importlib.metadata
import json
import pathlib
from html import escape

HERE = pathlib.Path(__file__).parent


def write(networks: list[dict], bubbles: list[dict]) -> str:
    """Returns the page, which needs no other file and no network.

    Args:
      networks: each what `tree.describe` returns, with its "name" and "group", "year", "paper", "fields" and
        "published", as the script writes them.
      bubbles: {"name", "network", "year", "parameters", "multiply_adds", "top1", "where", "source"} of each
        network of the chart.

    Raises:
      FileNotFoundError: a package lacks a file that the page holds.
    """
    data = json.dumps({"networks": networks, "bubbles": bubbles}, separators=(",", ":"))
    parts = {
        "/*STYLE*/": _ours("atlas.css"),
        "<!--OPTIONS-->": _options(networks),
        "/*PHOTO*/": _base64(
            _of_package("scikit-learn", "sklearn/datasets/images/china.jpg").read_bytes()
        ),
        "/*DATA*/": _base64(gzip.compress(data.encode(), mtime=0)),
        "/*DAGRE*/": _of_package("netron", "netron/dagre.js").read_text("utf-8"),
        "/*SCRIPT*/": _ours("atlas.js"),
    }
    page = _ours("atlas.html")
    for mark, text in parts.items():
        page = page.replace(mark, text)
    return page


def _options(networks: list[dict]) -> str:
    """Returns the networks of each group as HTML, to choose one."""
    groups = {}
    for network in networks:
        groups.setdefault(network["group"], []).append(escape(network["name"]))
    return "".join(
        f'<optgroup label="{escape(group)}">{"".join(f"<option>{name}</option>" for name in names)}</optgroup>'
        for group, names in groups.items()
    )


def _ours(name: str) -> str:
    return (HERE / name).read_text("utf-8")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _of_package(package: str, name: str) -> pathlib.Path:
    """Returns a file of an installed package, which is not imported."""
    try:
        file = pathlib.Path(importlib.metadata.distribution(package).locate_file(name))
    except importlib.metadata.PackageNotFoundError as error:
        raise FileNotFoundError(f"{package} is not installed: pip install -e .") from error
    if not file.is_file():
        version = importlib.metadata.version(package)
        raise FileNotFoundError(
            f"{package} {version} has no {name}, which the page holds: "
            "pip install -e . installs a version that has it"
        )
    return file
