"""Prints a genotype, what networks of it cost, and draws it. Nothing is compiled.

--genotype is a cell of models/genotypes/cells.py or a JSON file, of a cell or of layers: a genotype, or an object with one
under "genotype".
N are the normal cells of a group, F the filters of the first; multiply-adds are of one image.

Examples:
  python scripts/genotype.py --genotype=nasnet_a --output=cell.svg
  python scripts/genotype.py --genotype=found.json
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags

import analysis
import models
from models.genotypes import cells, load
from nas import genotypes
from training import command

GENOTYPE = flags.DEFINE_string("genotype", "nasnet_a", "JSON file, or name of a published cell.")
OUTPUT = flags.DEFINE_string("output", None, "Draw it into this file, .png or .svg.")

CELLS = {"name": "nasnet", "aux_head": False}
SIZES = {  # kind of genotype: name: fields and the side of the images
    "cell": {
        "CIFAR-10, N=2, F=32": (
            CELLS | {"layout": "cifar", "cells": 2, "filters": 32, "num_classes": 10},
            32,
        ),
        "ImageNet, N=4, F=44": (CELLS | {"cells": 4, "filters": 44, "num_classes": 1000}, 224),
    },
    "layers": {"CIFAR-10": ({"name": "zoph_le", "num_classes": 10}, 32)},
}


def main() -> None:
    name = GENOTYPE.value
    if name.endswith(".json"):
        genotype = load(name)
    elif name in cells.PUBLISHED:
        genotype = cells.PUBLISHED[name]
    else:
        known = ", ".join(cells.PUBLISHED)
        raise ValueError(f"--genotype={name}: choose one of {known}, or a file NAME.json")
    print(genotypes.text(genotype))
    if OUTPUT.value:
        output = pathlib.Path(OUTPUT.value).expanduser()
        output.write_bytes(genotypes.draw(genotype, output.suffix.removeprefix(".")))
        print(f"drew {output}")
    for size, (fields, side) in SIZES[genotypes.kind(genotype)].items():
        count = analysis.count(models.create(genotype=genotype, **fields), (side, side, 3))
        print(f"{size}: {count.parameters:,} parameters, {count.multiply_adds:,} multiply-adds")


if __name__ == "__main__":
    command.run(main, trains=False)
