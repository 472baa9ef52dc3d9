"""Measures the input pipeline beside PyTorch's, and the training loop beside its compiled step."""

import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import input_round
from benchmarks.report import CORES, describe, facts, find_torch, output, table

WANTED_RATIO, ALLOWED_SHARE = 2.0, 0.03


def measure_input(args):
    torch_python = find_torch(args.torch_python, ("torchvision", "PIL", "numpy"))
    describe(facts("numpy", "grain", "opencv-python-headless", "simplejpeg"))
    versions = "import torch, torchvision as tv, PIL; print(torch.__version__, tv.__version__, PIL.__version__)"
    print("peer: torch, torchvision, pillow", output(torch_python, "-c", versions))
    peers = (sys.executable, "ours"), (torch_python, "torch")
    rates = [], []
    with tempfile.TemporaryDirectory() as folder:
        size = make_photos(Path(folder, "train"), 400, 500, 375)
        print(f"files: 400 of 500 x 375, {size / 1000:.0f} kB on average", flush=True)
        for _ in range(args.rounds):
            for (python, side), found in zip(peers, rates, strict=True):
                flags = side, folder, args.images, args.threads
                found.append(float(output(python, input_round.__file__, *flags)))
    ours = table("data.make_train, images/s", rates[0], ",.0f")
    theirs = table("PyTorch DataLoader + Pillow, images/s", rates[1], ",.0f")
    print(
        f"input: {ours:,.0f} images/s, PyTorch DataLoader + Pillow {theirs:,.0f} images/s, "
        f"ratio {ours / theirs:.2f} (median of {args.rounds} rounds, {CORES} cores, "
        f"{args.threads} threads or processes)"
    )
    if ours < WANTED_RATIO * theirs:
        sys.exit(f"benchmark.py: the ratio is below {WANTED_RATIO}")


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


def measure_loop(args):
    import jax

    from configs import cifar10

    if args.steps < 2:
        raise ValueError("--steps must be at least 2: the loop is timed from its first log on")
    config = cifar10.get_config()
    config.total_steps = config.eval_steps = config.checkpoint_steps = args.steps
    config.log_steps = min(config.log_steps, args.steps // 2)
    describe(facts("jax", "jaxlib", "flax"))
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
    _, now, step, *_ = train.build(config, mesh, total, len(source) / config.batch_size)
    key = steps.make_key(config.seed, mesh)
    for _ in range(config.log_steps):
        now, metrics = step(now, batch, key)
    jax.block_until_ready(metrics)
    start = time.perf_counter()
    for _ in range(total - config.log_steps):
        now, metrics = step(now, batch, key)
    jax.block_until_ready((now, metrics))
    return (time.perf_counter() - start) / (total - config.log_steps)
