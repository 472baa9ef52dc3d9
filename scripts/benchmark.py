"""Measures networks, the input pipeline and the training loop, each beside what it is held against.

train: images/s of the compiled training step (augmentation in the step, forward, backward, SGD) on a
  batch that lies on the device. infer: the same of a network's answers. NETWORK is a config or
  LIBRARY/MODEL of PyTorch; NETWORK@BATCHxSIZE sets its batch and image size; without any, eleven are
  measured. --peer=torch measures the same network in PyTorch, eager and by torch.compile, --peer=linen
  the same program with JAX's own convolution and Flax's pooling, BatchNorm and ReLU. A config has PyTorch's
  columns where one of PyTorch's networks equals it. Each side is a process of its own; those of one
  network take turns, medians count. A side whose step takes longer than 20 s is timed once.
input: images/s of data.make_train beside PyTorch's DataLoader with torchvision's transforms on
  Pillow: the same JPEG files of 500 x 375, random resized crops of 224, mirrored, uint8 batches, as
  many threads here as processes there. The peer mirrors on the host, this project in the compiled
  step. Wanted: at least twice as many.
loop: time a step of the training loop, with its logs, beside the compiled step alone on a batch
  that lies on the device: ResNet-20 of configs/cifar10.py, images in memory. Wanted: at most 3 %
  more.

Of input and loop, the two take turns, medians count, the last line on stdout is the figure, and the
exit status is 1 where it is not what is wanted. Where PyTorch is not installed, it is put into an
environment of its own, in ~/.cache.

Examples:
  python scripts/benchmark.py train
  python scripts/benchmark.py train torchvision/resnet50 akamaster/resnet20@128x32 --peer=torch
  python scripts/benchmark.py train configs/small.py:resnet --batch=32 --json=new.json --compare=old.json
  python scripts/benchmark.py infer timm/mobilenetv1_100 --dtype=bfloat16 --peer=torch --peer=linen
  python scripts/benchmark.py train akamaster/resnet110@64x32 akamaster/resnet110+scan+remat@64x32
  python scripts/benchmark.py input
  python scripts/benchmark.py input --rounds=5 --torch_python=PATH/bin/python
  python scripts/benchmark.py loop --steps=600
"""

import argparse
import importlib
import os
import shlex
import subprocess
import sys

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="{train,infer,input,loop}")
    for task, what in (("train", "training steps"), ("infer", "answers")):
        sub = commands.add_parser(task, help=f"networks: their {what}")
        sub.add_argument("networks", nargs="*", metavar="NETWORK", help="NAME or NAME@BATCHxSIZE")
        sub.add_argument("--batch", type=positive, default=8, help="images (%(default)s)")
        sub.add_argument("--image_size", type=positive, help="pixels a side (224; a config's own)")
        types = ("float32", "bfloat16", "float16")
        sub.add_argument("--dtype", choices=types, default="float32", help="(%(default)s)")
        peers = ("torch", "torch_eager", "linen")
        which = "beside ours; torch is eager and compiled (a minute or two a network)"
        sub.add_argument("--peer", choices=peers, action="append", default=[], help=which)
        sub.add_argument("--rounds", type=positive, default=5, help="of each (%(default)s)")
        sub.add_argument("--seconds", type=seconds, default=2.0, help="a round (%(default)s)")
        sub.add_argument("--json", metavar="FILE", help="writes all that was measured")
        sub.add_argument("--compare", metavar="OLD.json", help="tells new/old images/s")
        sub.add_argument("--torch_python", help="a Python that has torch, torchvision and timm")
        sub.set_defaults(run="rounds.measure", task=task)
    sub = commands.add_parser("input", help="the input pipeline beside PyTorch's")
    sub.add_argument("--images", type=positive, default=2048 * CORES, help="a round (%(default)s)")
    sub.add_argument("--torch_python", help="a Python that has torch and torchvision")
    sub.add_argument("--rounds", type=positive, default=3, help="of each (%(default)s)")
    sub.set_defaults(run="pipelines.measure_input")
    sub = commands.add_parser("loop", help="the training loop beside the compiled step alone")
    sub.add_argument("--steps", type=positive, default=300, help="a round (%(default)s)")
    sub.add_argument("--rounds", type=positive, default=3, help="of each (%(default)s)")
    sub.set_defaults(run="pipelines.measure_loop")
    args = parser.parse_args()
    module, function = args.run.split(".")
    try:
        getattr(importlib.import_module(f"benchmarks.{module}"), function)(args)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        sys.exit(f"benchmark.py: {shlex.join(error.cmd)} failed: {lines[-1]}")
    except ModuleNotFoundError as error:
        sys.exit(f"benchmark.py: {error}; install the project: pip install -e .")
    except (OSError, ValueError) as error:
        sys.exit(f"benchmark.py: {error}")


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def seconds(text):
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return float(text)


if __name__ == "__main__":
    main()
