"""Writes the tables and pictures of docs/lecture.md: the lecture's, counted in the networks.

Nothing is trained, and the page's prose stays as it is. A test compares the tables with the networks, so they
are written again when one changes.

Examples:
  python scripts/lecture.py --output=docs
  python scripts/lecture.py --output=/tmp/lecture
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

import jax
from absl import flags

from analysis import markdown
from analysis.lecture import pictures, tables, towers
from training import command

OUTPUT = flags.DEFINE_string(
    "output", str(command.PROJECT / "docs"), "Folder of page and pictures."
)


def main() -> None:
    networks = json.loads((command.PROJECT / "tests" / "counts.json").read_text("utf-8"))
    docs = pathlib.Path(OUTPUT.value).expanduser()
    docs.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_num_cpu_devices", 2)
    parts = towers.alexnet()
    page = (command.PROJECT / "docs" / "lecture.md").read_text("utf-8")
    for name, table in tables.make(networks, parts).items():
        page = markdown.fill(page, name, table)
    (docs / "lecture.md").write_text(page, "utf-8")
    drawn = pictures.make(networks, parts)
    for name, picture in drawn.items():
        (docs / f"{name}.png").write_bytes(picture)
    print(f"wrote {docs / 'lecture.md'} and {', '.join(drawn)}")


if __name__ == "__main__":
    command.run(main, trains=False)
