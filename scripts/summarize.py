"""Prints what a config's network costs, layer by layer, for one image.

Examples:
  python scripts/summarize.py --config=configs/resnet50.py
  python scripts/summarize.py --config=configs/resnet50.py --config.model.depth=101 --json
"""

import json

from absl import flags

import analysis
import data
import models
from training import command

flags.adopt_module_key_flags(command)  # --config
JSON = flags.DEFINE_bool("json", False, "The totals as one JSON object.")


def main() -> None:
    config = command.CONFIG.value
    count = analysis.count(models.create(**config.model), data.input_shape(config.input))
    totals = {
        "parameters": count.parameters,
        "multiply_adds": count.multiply_adds,
        "activations": count.activations,
    }
    if JSON.value:
        print(json.dumps(totals))
        return
    row = "{:32} {:>14} {:>16} {:>14}"
    print(row.format("layer", *(name.replace("_", "-") for name in totals)))
    for layer in count.layers:
        cells = (layer.parameters, layer.multiply_adds, layer.activations)
        print(row.format(layer.path, *(f"{cell:,}" for cell in cells)))
    print(row.format("total", *(f"{total:,}" for total in totals.values())))


if __name__ == "__main__":
    command.run(main)
