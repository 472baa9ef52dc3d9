"""Writes the network of a run as a program that runs without this project, and checks it.

WORKDIR/export/network.FORMAT holds the weights and the normalisation; classes.json beside it names the
logits. What to call is in docs/export.md:

  stablehlo  jax.export's, for JAX on CPUs, GPUs and TPUs; any number of images
  onnx       for onnxruntime and all that reads ONNX; any number of images: pip install -e ".[onnx]"
  tflite     for LiteRT, on phones; --images at a time: pip install -e ".[tflite]"

Examples:
  python scripts/export.py --workdir=runs/mine
  python scripts/export.py --workdir=runs/mine --format=onnx --checkpoint=best --nopreprocess
  python scripts/export.py --workdir=runs/mine --format=tflite --int8
"""

import dataclasses
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

import numpy as np
from absl import flags

import data
import inference
from inference import export
from training import command, files

flags.declare_key_flag("workdir")
flags.mark_flag_as_required("workdir")
CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "best (by top-1), latest, or a step.")
FORMAT = flags.DEFINE_enum(
    "format", "stablehlo", ["stablehlo", "onnx", "tflite"], "Of the program."
)
INT8 = flags.DEFINE_bool(
    "int8", False, "Of tflite: also writes network-int8.tflite, and says what it gets right."
)
IMAGES = flags.DEFINE_integer(
    "images", 1, "Of tflite: the images that the program takes at a time.", lower_bound=1
)
PREPROCESS = flags.DEFINE_bool(
    "preprocess",
    True,
    "The program normalises uint8 images; else it takes normalised float32 ones.",
)
TOLERANCE = 1e-4  # of the largest logit
EXAMPLES = 200  # training images that give the ranges of 8-bit integers
EVALUATED = 1000  # images at most, by the float and the integer network


def main() -> None:
    if INT8.value and FORMAT.value != "tflite":
        raise ValueError("--int8 is for --format=tflite")
    if IMAGES.value > 1 and FORMAT.value != "tflite":
        raise ValueError(f"--images is for --format=tflite: {FORMAT.value} takes any number")
    run = inference.load(command.workdir(), CHECKPOINT.value)
    if FORMAT.value != "stablehlo":  # what runs the others knows no bfloat16
        run = dataclasses.replace(run, module=run.module.clone(dtype="float32"))
    if FORMAT.value == "tflite":
        program = export.tflite(run, PREPROCESS.value, number=IMAGES.value)
    else:
        program = getattr(export, FORMAT.value)(run, PREPROCESS.value)
    answer = export.reader(program, FORMAT.value)
    difference = export.largest_difference(run, answer, PREPROCESS.value)
    if not difference < TOLERANCE:
        raise ValueError(
            f"the program's logits differ from the network's by {difference:.1e} of the largest: "
            "nothing was written"
        )
    write("classes.json", (json.dumps(run.class_names) + "\n").encode())
    height, width, channels = data.eval_shape(run.config.input)
    number = IMAGES.value if FORMAT.value == "tflite" else "N"
    kind = "uint8" if PREPROCESS.value else "normalised float32"
    print(
        f"{write(f'network.{FORMAT.value}', program)}, step {run.step}, "
        f"{kind} [{number}, {height}, {width}, {channels}] to logits [{number}, "
        f"{len(run.class_names)}], read back and within {difference:.0e} of the network's"
    )
    if INT8.value:
        write_int8(run, answer)


def write_int8(run, answer) -> None:
    """Writes the network with 8-bit integers; `answer` is that of the one with floats."""
    examples, _ = images(run, EXAMPLES, train=True)
    program = export.tflite(run, PREPROCESS.value, examples, IMAGES.value)
    evaluated, labels = images(run, EVALUATED, train=False)
    both = [np.argmax(found(evaluated), 1) for found in (answer, export.reader(program, "tflite"))]
    floats, integers = (f"{np.mean(found == labels):.2%}" for found in both)
    print(
        f"{write('network-int8.tflite', program)}, ranges from {len(examples)} training images; "
        f"top-1 on {len(labels):,} evaluation images {integers}, with floats {floats}, "
        f"the same class on {np.mean(both[0] == both[1]):.2%}"
    )


def images(run, number: int, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns images of the run, drawn at random but always the same, as the program takes them, and labels."""
    source = data.open_source(run.config.input, train, run.header.get("classes"))
    chosen = np.random.default_rng(0).permutation(len(source))[:number]
    size = data.eval_shape(run.config.input)[0]
    drawn = data.load(data.subset(source, chosen), run.config.input, size)
    if PREPROCESS.value:
        return drawn.images, drawn.labels
    normalise = data.make_preprocess(run.config.input, train=False)
    return np.asarray(normalise(drawn.images)[0]), drawn.labels


def write(name: str, content: bytes) -> str:
    """Writes a file beside the others, and returns its path and size, to be told."""
    folder = files.absolute(command.workdir()) / "export"
    files.make(folder)
    files.write_bytes(folder / name, content)
    return f"{folder / name}: {len(content) / 1e6:,.2f} MB"


if __name__ == "__main__":
    command.run(main)
