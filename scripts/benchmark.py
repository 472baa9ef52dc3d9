"""Measures the input pipeline and the training loop, each beside what it is held against.

input: images/s of data.make_train beside PyTorch's DataLoader with torchvision's transforms on
  Pillow: the same JPEG files of 500 x 375, random resized crops of 224, mirrored, uint8 batches, as
  many threads here as processes there. The peer mirrors on the host, this project in the compiled
  step. Wanted: at least twice as many. Where PyTorch is not installed, it is put into an environment
  of its own, in ~/.cache.
loop: time a step of the training loop, with its logs, beside the compiled step alone on a batch
  that lies on the device: ResNet-20 of configs/cifar10.py, images in memory. Wanted: at most 3 %
  more.

The two take turns, medians count. The last line on stdout is the figure; the exit status is 1 where
it is not what is wanted.

Examples:
  python scripts/benchmark.py input
  python scripts/benchmark.py input --rounds=5 --torch_python=PATH/bin/python
  python scripts/benchmark.py loop --steps=600
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

# The peer's Python runs this file, too, so what only the project has is imported where it is used.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
BATCH, SIZE = 128, 224  # of `input`
WANTED_RATIO, ALLOWED_SHARE = 2.0, 0.03


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="{input,loop}")
    sub = commands.add_parser("input", help="the input pipeline beside PyTorch's")
    sub.add_argument("--images", type=positive, default=2048 * CORES, help="a round (%(default)s)")
    sub.add_argument("--torch_python", help="a Python that has torch and torchvision")
    sub.add_argument("--rounds", type=positive, default=3, help="of each (%(default)s)")
    sub.set_defaults(run=measure_input)
    sub = commands.add_parser("loop", help="the training loop beside the compiled step alone")
    sub.add_argument("--steps", type=positive, default=300, help="a round (%(default)s)")
    sub.add_argument("--rounds", type=positive, default=3, help="of each (%(default)s)")
    sub.set_defaults(run=measure_loop)
    for name, batches in (("our-round", our_batches), ("torch-round", torch_batches)):
        sub = commands.add_parser(name)  # a round of `input`, in a process of its own
        sub.add_argument("folder")
        sub.add_argument("images", type=int)
        sub.set_defaults(run=input_round, batches=batches)
    args = parser.parse_args()
    try:
        args.run(args)
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


def measure_input(args):
    torch_python = find_torch(args.torch_python)
    describe("numpy", "grain", "opencv-python-headless", "simplejpeg")
    versions = "import torch, torchvision as tv, PIL; print(torch.__version__, tv.__version__, PIL.__version__)"
    print("peer: torch, torchvision, pillow", output(torch_python, "-c", versions))
    peers = (sys.executable, "our-round"), (torch_python, "torch-round")
    rates = [], []
    with tempfile.TemporaryDirectory() as folder:
        size = make_photos(Path(folder, "train"), 400, 500, 375)
        print(f"files: 400 of 500 x 375, {size / 1000:.0f} kB on average", flush=True)
        for _ in range(args.rounds):
            for (python, name), found in zip(peers, rates, strict=True):
                found.append(float(output(python, __file__, name, folder, args.images)))
    ours = table("data.make_train, images/s", rates[0], ",.0f")
    theirs = table("PyTorch DataLoader + Pillow, images/s", rates[1], ",.0f")
    print(
        f"input: {ours:,.0f} images/s, PyTorch DataLoader + Pillow {theirs:,.0f} images/s, "
        f"ratio {ours / theirs:.2f} (median of {args.rounds} rounds, {CORES} cores)"
    )
    if ours < WANTED_RATIO * theirs:
        sys.exit(f"benchmark.py: the ratio is below {WANTED_RATIO}")


def find_torch(chosen):
    """Returns a Python that has PyTorch; makes an environment for it where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = cache / "cnn-architectures" / "benchmark-torch"
    own = folder / "bin" / "python"
    for python in [chosen] if chosen else [sys.executable, own]:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            output(python, "-c", "import torchvision, PIL, numpy")
            return python
    if chosen:
        raise ValueError(f"--torch_python={chosen} is no Python that has torchvision")
    print(
        f"installing torch, torchvision and pillow in {folder}; this may take minutes", flush=True
    )
    output(sys.executable, "-m", "venv", folder)
    output(own, "-m", "pip", "install", "--quiet", "torch", "torchvision", "pillow")
    return own


def output(*command):
    command = [str(part) for part in command]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def make_photos(folder, count, width, height):
    """Writes JPEG files as detailed as photographs, in 10 classes; returns their mean size."""
    rng = np.random.default_rng(0)
    sizes = []
    for i in range(count):
        pixels = np.full((height, width, 3), 128.0)
        for cells, contrast in ((3, 50), (10, 30), (40, 20), (150, 14), (375, 9)):  # about 1/f
            noise = rng.normal(0, 1, (cells, cells, 1)) + rng.normal(0, 0.4, (cells, cells, 3))
            for channel in range(3):
                field = Image.fromarray(noise[:, :, channel].astype(np.float32))
                field = field.resize((width, height), Image.Resampling.BICUBIC)
                pixels[:, :, channel] += contrast * np.asarray(field)
        file = folder / str(i % 10) / f"{i:04d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=92)
        sizes.append(file.stat().st_size)
    return statistics.mean(sizes)


def input_round(args):
    """Prints the images/s of one side, once its first batches are there."""
    batches = args.batches(args.folder, args.images)
    for _ in range(2 * CORES):
        next(batches)
    count = math.ceil(args.images / BATCH)
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    print(count * BATCH / (time.perf_counter() - start), flush=True)


def our_batches(folder, _):
    import data
    from configs import common

    config = common.get_config().input
    config.source, config.image_size, config.threads = f"folder:{folder}", SIZE, CORES
    return data.make_train(data.open_source(config, train=True), config, BATCH, seed=0)


def torch_batches(folder, images):
    from torch.utils.data import DataLoader, RandomSampler
    from torchvision import datasets
    from torchvision.transforms import v2

    crop = v2.Compose([v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    photos = datasets.ImageFolder(f"{folder}/train", crop)
    length = images + 8 * CORES * BATCH  # busy to the end, as ours is
    sampler = RandomSampler(photos, replacement=True, num_samples=length)
    return iter(DataLoader(photos, BATCH, sampler=sampler, num_workers=CORES))


def measure_loop(args):
    import jax

    from configs import cifar10

    if args.steps < 2:
        raise ValueError("--steps must be at least 2: the loop is timed from its first log on")
    config = cifar10.get_config()
    config.total_steps = config.eval_steps = config.checkpoint_steps = args.steps
    config.log_steps = min(config.log_steps, args.steps // 2)
    describe("jax", "jaxlib", "flax")
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    print(f"devices: {device}; batch {config.batch_size}, a log every {config.log_steps} steps")
    loop, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", f"{folder}/compiled")  # as train.py has one
        config.input.source = f"folder:{folder}/photos"
        make_photos(Path(folder, "photos", "train"), 1024, 32, 32)
        make_photos(Path(folder, "photos", "test"), 10, 32, 32)
        for i in range(args.rounds):
            bare.append(1000 * bare_round(config))
            loop.append(1000 * loop_round(config, f"{folder}/run{i}"))
    ours = table("training loop, ms a step", loop, ".2f")
    least = table("compiled step alone, ms", bare, ".2f")
    print(
        f"loop: {ours:.1f} ms a step, bare step {least:.1f} ms, {100 * (ours / least - 1):.1f} % "
        f"more (median of {args.rounds} rounds, {CORES} cores, {device})"
    )
    if ours > (1 + ALLOWED_SHARE) * least:
        sys.exit(f"benchmark.py: the loop takes more than {ALLOWED_SHARE:.0%} more")


def loop_round(config, workdir):
    """Returns seconds a step of train.train, after its first log."""
    import train
    from training import metrics

    with contextlib.redirect_stdout(sys.stderr):
        train.train(config, workdir)
    lines = [x for x in metrics.read_lines(workdir) if x.get("step", 0) > config.log_steps]
    # The rate covers everything since the last log but the writing of that log, 0.1 ms.
    rates = [x["train/images_per_second"] for x in lines if "train/images_per_second" in x]
    return statistics.mean(config.batch_size / rate for rate in rates)


def bare_round(config):
    """Returns seconds a step of the same compiled step on one batch, over as many steps."""
    import jax

    import data
    import train
    from training import sharding, steps

    mesh, source = sharding.make_mesh(), data.open_source(config.input, train=True)
    batch = next(data.make_train(source, config.input, config.batch_size, config.seed))
    batch = sharding.to_global(batch, mesh)
    total = config.total_steps
    _, now, step, _ = train.build(config, mesh, total, len(source) / config.batch_size)
    key = steps.make_key(config.seed, mesh)
    for _ in range(config.log_steps):
        now, metrics = step(now, batch, key)
    jax.block_until_ready(metrics)
    start = time.perf_counter()
    for _ in range(total - config.log_steps):
        now, metrics = step(now, batch, key)
    jax.block_until_ready((now, metrics))
    return (time.perf_counter() - start) / (total - config.log_steps)


def describe(*packages):
    """Prints what a figure depends on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), cpu)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    print(f"date: {datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')}")
    print(f"command: {shlex.join(['python', *sys.argv])}")
    print(f"machine: {cpu}, {CORES} cores, {platform.system()} {platform.machine()}")
    print(f"versions: python {platform.python_version()}, {', '.join(versions)}", flush=True)


def table(name, rounds, form):
    """Prints a row, a column for each round and one for the median, which it returns."""
    median = statistics.median(rounds)
    print(f"{name:40}", *(f"{x:>9{form}}" for x in rounds), f"   median {median:{form}}")
    return median


if __name__ == "__main__":
    main()
