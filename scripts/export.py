"""Writes the network of a run as a program that runs without this project, and checks it.

WORKDIR/export/network.stablehlo holds the program, in the form of jax.export, with the weights and the
normalisation, for CPUs, GPUs and TPUs and any number of images; classes.json beside it names the logits:

  from jax import export

  program = export.deserialize(bytearray(open("network.stablehlo", "rb").read()))
  logits = program.call(images)  # uint8 [N, height, width, channels]

Examples:
  python scripts/export.py --workdir=runs/mine
  python scripts/export.py --workdir=runs/mine --checkpoint=best --nopreprocess
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags

import data
import inference
from inference import export
from training import command, files

flags.declare_key_flag("workdir")
flags.mark_flag_as_required("workdir")
CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "best (by top-1), latest, or a step.")
FORMAT = flags.DEFINE_enum("format", "stablehlo", ["stablehlo"], "Of the program.")
PREPROCESS = flags.DEFINE_bool(
    "preprocess",
    True,
    "The program normalises uint8 images; else it takes normalised float32 ones.",
)
TOLERANCE = 1e-4  # of the largest logit


def main() -> None:
    run = inference.load(command.workdir(), CHECKPOINT.value)
    program = export.stablehlo(run, PREPROCESS.value)
    difference = export.largest_difference(run, program, PREPROCESS.value)
    if not difference < TOLERANCE:
        raise ValueError(
            f"the program's logits differ from the network's by {difference:.1e} of the largest: "
            "nothing was written"
        )
    folder = files.absolute(command.workdir()) / "export"
    files.make(folder)
    files.write_bytes(folder / "classes.json", (json.dumps(run.class_names) + "\n").encode())
    files.write_bytes(folder / f"network.{FORMAT.value}", program)
    height, width, channels = data.input_shape(run.config.input)
    kind = "uint8" if PREPROCESS.value else "normalised float32"
    print(
        f"{folder / f'network.{FORMAT.value}'}: {len(program) / 1e6:,.1f} MB, step {run.step}, "
        f"{kind} [N, {height}, {width}, {channels}] to logits [N, {len(run.class_names)}], "
        f"read back and within {difference:.0e} of the network's"
    )


if __name__ == "__main__":
    command.run(main)
