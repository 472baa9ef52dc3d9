"""Prints the table of docs/networks.md, as Markdown, from tests/counts.json.

The tests compare parameters and multiply-adds of that file with the networks themselves, and the
page with this table.

Examples:
  python scripts/networks.py --write   # replaces the table in docs/networks.md
  python scripts/networks.py --all     # every network of the file
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags

from analysis import markdown
from training import command

ALL = flags.DEFINE_bool("all", False, "Every network, not only those of docs/networks.md.")
WRITE = flags.DEFINE_bool(
    "write", False, "Replace the table in docs/networks.md instead of printing it."
)

HEAD = """\
| network | paper | `--config.model...` | parameters | multiply-adds | published top-1 error | ours |
| --- | --- | --- | ---: | ---: | --- | --- |
"""


def main() -> None:
    networks = json.loads((command.PROJECT / "tests" / "counts.json").read_text("utf-8"))
    if not WRITE.value:
        print(table([n for n in networks if ALL.value or n.get("readme")]), end="")
        return
    if ALL.value:
        raise ValueError("--write is for the table of docs/networks.md: leave out --all")
    page = command.PROJECT / "docs" / "networks.md"
    rows = table([n for n in networks if n.get("readme")])
    page.write_text(markdown.fill(page.read_text("utf-8"), "networks", rows.strip()), "utf-8")
    print(f"wrote {page}")


def table(networks: list[dict]) -> str:
    """Returns one row a network; a paper is named in the first row of its networks."""
    rows, last = [], None
    for network in networks:
        paper = network["paper"]
        cells = (
            network["name"],
            link(paper) if paper != last else "",
            options(network),
            f"{network['parameters']:,}",
            f"{network['multiply_adds']:,}",
            published(network["published"]),
            network.get("ours", ""),
        )
        rows.append("| " + " | ".join(cells) + " |\n")
        last = paper
    return HEAD + "".join(rows)


def link(paper: str) -> str:
    return paper if " " in paper else f"[{paper}](https://arxiv.org/abs/{paper})"


def options(network: dict) -> str:
    """Returns the fields that differ from the defaults of the architecture."""
    fields = {"name": network["model"], **network["fields"]}
    del fields["num_classes"]
    text = " ".join(f"{k}={str(v).replace(' ', '')}" for k, v in fields.items())
    return f"`{text}`"


def published(result: dict | None) -> str:
    """Returns the error with its protocol and its source."""
    return f"{result['top1']:.2f} % ({result['where']}, {result['source']})" if result else ""


if __name__ == "__main__":
    command.run(main)
