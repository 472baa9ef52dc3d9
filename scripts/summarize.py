"""Prints what a config's network costs, layer by layer, for one image. Nothing is compiled.

Memory is that of the outputs of convolutions, poolings and matrix products in float32; BatchNorm and
ReLU can overwrite their input. Multiply-adds count once and are those of convolutions and matrix
products, as in the papers; XLA's FLOPs stand below. A row of a block has the totals of its layers. Padding
0+1 is none above and left, one pixel below and right. The receptive field is that of an output in the middle.

Examples:
  python scripts/summarize.py --config=configs/alexnet.py
  python scripts/summarize.py --config=configs/googlenet.py --depth=1 --markdown
  python scripts/summarize.py --config=configs/resnet50.py --config.model.depth=101 --json
  python scripts/summarize.py --config=configs/mobilenet.py --input_size=160
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags

import analysis
import configs
import data
import models
from analysis import summary
from training import command

flags.adopt_module_key_flags(command)  # --config
JSON = flags.DEFINE_bool("json", False, "Totals and layers as one JSON object.")
MARKDOWN = flags.DEFINE_bool("markdown", False, "A table in Markdown.")
DEPTH = flags.DEFINE_integer(
    "depth", 0, "Show blocks as one row from this level on; 0: every layer.", lower_bound=0
)
INPUT_SIZE = flags.DEFINE_integer(
    "input_size", 0, "Pixels a side; default: input.image_size.", lower_bound=0
)


def main() -> None:
    config = command.CONFIG.value
    if INPUT_SIZE.value:
        config.input.image_size = INPUT_SIZE.value
    if JSON.value and MARKDOWN.value:
        raise ValueError("--json and --markdown: choose one")
    model, shape = models.create(**config.model), data.input_shape(config.input)
    count, flops = analysis.count(model, shape), analysis.xla_flops(model, shape)
    if JSON.value:
        print(summary.as_json(count, DEPTH.value, flops))
    elif MARKDOWN.value:
        print(summary.as_markdown(count, DEPTH.value, flops))
    else:
        print(summary.as_text(count, DEPTH.value, flops))


if __name__ == "__main__":
    command.run(main, configs)
