"""Measures networks, the input pipeline, the training loop, starts and checkpoints.

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

start: seconds of train.py --help, and of each phase before a run's first step (imports, counting,
  initialisation, tracing, compilation, the step), with an empty and with a filled compilation cache.
save: milliseconds that a checkpoint takes from the loop: until save() returns, the slowest step while
  it is written, and all in all what --steps steps with a save take more than without.

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
  python scripts/benchmark.py start configs/resnet50.py@8x224
  python scripts/benchmark.py save torchvision/vgg16@8x224
  JAX_NUM_CPU_DEVICES=4 python scripts/benchmark.py train akamaster/resnet20@128x32 --devices=4
"""

import argparse
import importlib
import os
import pathlib
import shlex
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="{train,infer,input,loop,start,save}")
    for task, what in (("train", "training steps"), ("infer", "answers")):
        sub = commands.add_parser(task, help=f"networks: their {what}")
        sub.add_argument("networks", nargs="*", metavar="NETWORK", help="NAME or NAME@BATCHxSIZE")
        sub.add_argument("--batch", type=positive, default=8, help="images (%(default)s)")
        sub.add_argument("--image_size", type=positive, help="pixels a side (224; a config's own)")
        share = "that share a batch, of ours (%(default)s)"
        sub.add_argument("--devices", type=positive, default=1, help=share)
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
    sub.add_argument("--threads", type=positive, default=CORES, help="or processes (%(default)s)")
    sub.set_defaults(run="pipelines.measure_input")
    sub = commands.add_parser("loop", help="the training loop beside the compiled step alone")
    sub.add_argument("--steps", type=positive, default=300, help="a round (%(default)s)")
    sub.add_argument("--rounds", type=positive, default=3, help="of each (%(default)s)")
    sub.set_defaults(run="pipelines.measure_loop")
    for what, help_text in (("start", "what comes before the first step"), ("save", "checkpoints")):
        sub = commands.add_parser(what, help=help_text)
        sub.add_argument("networks", nargs="*", metavar="NETWORK", help="NAME or NAME@BATCHxSIZE")
        sub.add_argument("--rounds", type=positive, default=3, help="of each (%(default)s)")
        if what == "save":
            sub.add_argument("--steps", type=positive, default=8, help="a round (%(default)s)")
        sub.set_defaults(run=f"costs.measure_{what}")
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
