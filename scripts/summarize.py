"""Prints what a config's network costs, layer by layer, for one image.

Example:
  python scripts/summarize.py --config=configs/resnet50.py
"""

import argparse
import json
import pathlib
import runpy
import sys

import analysis
import models


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="for example configs/resnet50.py")
    parser.add_argument("--json", action="store_true", help="the totals as one JSON object")
    args = parser.parse_args()
    if not pathlib.Path(args.config).exists():
        sys.exit(f"error: there is no config {args.config}")
    config = runpy.run_path(args.config)["get_config"]()
    size = config.input.image_size
    count = analysis.count(models.create(**config.model), (size, size, len(config.input.mean)))
    totals = {
        "parameters": count.parameters,
        "multiply_adds": count.multiply_adds,
        "activations": count.activations,
    }
    if args.json:
        print(json.dumps(totals))
        return
    row = "{:32} {:>14} {:>16} {:>14}"
    print(row.format("layer", *(name.replace("_", "-") for name in totals)))
    for layer in count.layers:
        cells = (layer.parameters, layer.multiply_adds, layer.activations)
        print(row.format(layer.path, *(f"{cell:,}" for cell in cells)))
    print(row.format("total", *(f"{total:,}" for total in totals.values())))


if __name__ == "__main__":
    main()
