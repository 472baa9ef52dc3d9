"""Writes the atlas: one page of all networks, to walk through in a browser, without a server or a network.

Each network is drawn as its blocks, down to its layers, with what each costs and what its receptive field is on a
photograph; two stand side by side; a chart has their published accuracy over the years. All of it is read from
the networks themselves, of which nothing is compiled. With --config or --workdir, that network is there, too,
and is shown first.

Examples:
  python scripts/atlas.py --output=atlas.html
  python scripts/atlas.py --output=atlas.html --config=configs/digits.py --config.model.depth=32
  python scripts/atlas.py --output=atlas.html --network=VGG-16 --network=ResNet-50
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags
from tqdm import tqdm

import configs
import data
import models
from analysis.atlas import page, tree
from analysis.lecture import years
from data.messages import plain
from training import command, files

flags.adopt_module_key_flags(command)  # --config and --workdir
OUTPUT = flags.DEFINE_string("output", "atlas.html", "File of the page.")
NETWORK = flags.DEFINE_multi_string(
    "network", None, "A name of docs/networks.md, once or more often; default: all of them."
)


def main() -> None:
    rows = json.loads((command.PROJECT / "tests" / "counts.json").read_text("utf-8"))
    chosen = choose([row for row in rows if row.get("readme")], NETWORK.value)
    networks = [own()] if command.given(sys.argv, "config") or command.WORKDIR.value else []
    for row in tqdm(chosen, "networks", unit="", leave=False, delay=1):
        networks.append(network(row))
    bubbles = [bubble(row) for row in years.charted(rows)]
    file = files.absolute(OUTPUT.value)
    files.make(file.parent)
    files.write_bytes(file, page.write(networks, bubbles).encode())
    print(plain(file))


def choose(rows: list[dict], names: list[str] | None) -> list[dict]:
    known = {row["name"]: row for row in rows}
    wrong = [name for name in names or () if name not in known]
    if wrong:
        raise ValueError(
            f"--network: there is no {', '.join(wrong)}; the networks are {'; '.join(known)}"
        )
    return [known[name] for name in known if names is None or name in names]


def network(row: dict) -> dict:
    """Returns a network of tests/counts.json as the page takes it."""
    fields = {name: value for name, value in row["fields"].items() if name != "num_classes"}
    facts = {
        "name": row["name"],
        "group": row["model"],
        "year": years.year(row),
        "paper": row["paper"],
        "fields": ", ".join(f"{name}={value}" for name, value in fields.items()),
        "published": row["published"],
    }
    size = row["image_size"]
    return facts | tree.describe(models.create(row["model"], **row["fields"]), (size, size, 3))


def own() -> dict:
    """Returns the network of --config or --workdir.

    Raises:
      ValueError: the workdir holds no run.
    """
    config = command.CONFIG.value
    name = command.given(sys.argv, "config")
    if name is None:
        name = command.WORKDIR.value
        if command.config_of_run(name) is None:
            raise ValueError(f"{name} holds no run: give its folder, or --config=configs/NAME.py")
    facts = {"name": name, "group": "yours", "fields": config.model.name, "published": None}
    return facts | tree.describe(models.create(**config.model), data.input_shape(config.input))


def bubble(row: dict) -> dict:
    published = row["published"]
    return {
        "name": row["name"].partition(" (")[0],
        "network": row["name"],
        "year": years.year(row),
        "parameters": row["parameters"],
        "multiply_adds": row["multiply_adds"],
        "top1": published["top1"],
        "where": published["where"],
        "source": published["source"],
    }


if __name__ == "__main__":
    command.run(main, configs, trains=False)
