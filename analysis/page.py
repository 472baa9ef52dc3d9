"""A page of HTML that holds its pictures, so that it opens from any place."""

import base64
from html import escape
from typing import NamedTuple

STYLE = """
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif;
       color: #222; background: #fff; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; }
th, td { padding: 0.2rem 1rem 0.2rem 0; text-align: left; vertical-align: top; }
h2 { margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem; }
"""


class Section(NamedTuple):
    """A picture and what it means."""

    name: str  # of its file, without a suffix
    title: str
    text: str  # a sentence or two
    picture: bytes | str | None  # PNG, or HTML; None: there is nothing to see, as the text says
    items: list[str] = []  # a list to unfold, such as the files on a contact sheet


def write(title: str, facts: dict[str, str], sections: list[Section], script: str = "") -> str:
    """Returns the page.

    Args:
      title: of the page.
      facts: a table at its top.
      sections: in their order.
      script: that the HTML of the sections needs.
    """
    rows = "\n".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{STYLE}</style>
{f"<script>{script}</script>" if script else ""}
</head>
<body>
<h1>{escape(title)}</h1>
<table>
{rows}
</table>
{"".join(map(_section, sections))}
</body>
</html>
"""


def _section(section: Section) -> str:
    image = items = ""
    if isinstance(section.picture, str):
        image = section.picture
    elif section.picture is not None:
        encoded = base64.b64encode(section.picture).decode()
        image = f'<img alt="{escape(section.title)}" src="data:image/png;base64,{encoded}">\n'
    if section.items:
        lines = "\n".join(f"<li>{escape(item)}</li>" for item in section.items)
        items = f"<details><summary>Files</summary>\n<ol>\n{lines}\n</ol>\n</details>\n"
    return f"""
<section id="{escape(section.name)}">
<h2>{escape(section.title)}</h2>
<p>{escape(section.text)}</p>
{image}{items}</section>
"""
