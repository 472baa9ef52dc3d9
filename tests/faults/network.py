"""Lets an object store fail under runs of train.py that read their images there, and keep their workdir there.

At a random request about a checkpoint, the log or the images, the store answers 503, resets connections, is
slow, or is gone, for a while: the run has to end with the figures of one on a disk, to the bit, each step
once, and its last checkpoint has to be whole. Where the store is gone for good, the run has to end by
itself, with one line; once it is back, the same command has to end as before.

Examples:
  python tests/faults/network.py --tries=2
  python tests/faults/network.py --for_good --tries=1
"""

import argparse
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import kills
import numpy as np
import proxy
import stores
from PIL import Image

TOPICS = {
    "checkpoints": 150,
    "metrics.jsonl": 6,
    "photos": 600,
}  # and requests that may come before
RUN = [
    *("train.py", "--config=configs/digits.py", "--config.batch_size=16"),
    *("--config.input.in_memory=False", "--config.input.eval_split=val"),
    *("--config.model.num_classes=2", "--config.total_steps=40", "--config.log_steps=1"),
    *("--config.checkpoint_steps=10", "--config.eval_steps=20"),
]
PUT = "import fsspec, sys; f, at = fsspec.url_to_fs(sys.argv[2]); f.put(sys.argv[1], at, recursive=True)"
READ = "import fsspec, sys; print(fsspec.open(sys.argv[1], 'r').open().read(), end='')"


def draw_photos(folder: pathlib.Path) -> None:
    """Fills a folder with noise in two classes, 24 images to train on and 8 to evaluate."""
    rng = np.random.default_rng(0)
    for name, number in (("train", 12), ("val", 4)):
        for kind in ("cat", "dog"):
            (folder / name / kind).mkdir(parents=True)
            for i in range(number):
                image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
                image.save(folder / name / kind / f"{i}.png")


def python(url: str, *arguments) -> subprocess.CompletedProcess:
    env = os.environ | {"JAX_PLATFORMS": "cpu"} | stores.environment(url)
    arguments = [sys.executable, *map(str, arguments)]
    return subprocess.run(arguments, cwd=kills.PROJECT, env=env, text=True, capture_output=True)


def train(url: str, root: str, name: str) -> subprocess.CompletedProcess:
    """Trains in ROOT/NAME with the images of ROOT/photos."""
    photos = f"--config.input.source=folder:{root}/photos"
    return python(url, *RUN, photos, f"--workdir={root}/{name}")


def figures(text: str) -> list[dict]:
    """Returns the lines of metrics.jsonl, as those of tests/faults/kills.py."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "metrics.jsonl").write_text(text)
        return kills.figures(pathlib.Path(folder))["metrics.jsonl"]


def ends_as(expected, url: str, root: str, name: str) -> bool:
    """Whether the log, and an evaluation of the last checkpoint, are as they should be."""
    log = python(url, "-c", READ, f"{root}/{name}/metrics.jsonl").stdout
    evaluated = python(url, "eval.py", f"--workdir={root}/{name}").stdout.splitlines()
    return (figures(log), json.loads(evaluated[-1])["loss"]) == expected


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=2, help="of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="at most (%(default)s)")
    parser.add_argument("--for_good", action="store_true")
    parser.add_argument("--stores", nargs="+", default=[*stores.SERVERS], help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, seen, bad = random.Random(args.seed), collections.Counter(), 0
    with tempfile.TemporaryDirectory() as disk:
        draw_photos(pathlib.Path(disk) / "photos")
        train("", disk, "run")
        log = (pathlib.Path(disk) / "run" / "metrics.jsonl").read_text()
        loss = json.loads(python("", "eval.py", f"--workdir={disk}/run").stdout)["loss"]
        expected = figures(log), loss
        for scheme in args.stores:
            with stores.server(scheme) as address:
                direct, root = "http://{}:{}".format(*address), f"{scheme}://bucket"
                python(direct, "-c", PUT, f"{disk}/photos/", f"{root}/photos/")
                for number in range(args.tries):
                    for fault in ("gone",) if args.for_good else proxy.FAULTS:
                        for topic, most in TOPICS.items():
                            name = f"{fault}-{topic}-{number}"
                            seconds = 1e6 if args.for_good else rng.uniform(5, args.seconds)
                            with proxy.Proxy(address) as between:
                                between.plan(fault, topic, seconds, rng.randrange(most))
                                began = time.monotonic()
                                done = train(between.url, root, name)
                                ended = how_it_ends(done, args.for_good)
                            seconds = time.monotonic() - began
                            if args.for_good:
                                train(direct, root, name)
                            same = ends_as(expected, direct, root, name)
                            what = f"{scheme} {fault}, {topic}, {between.failed} requests failed"
                            print(f"{what}: {ended} after {seconds:.0f} s, the same: {same}")
                            print(f"  {done.stderr.strip()}"[:1000], flush=True)
                            bad += not same or ended not in ("went on", "one line")
                            figures_are = "the same" if same else "OTHER"
                            seen[f"{scheme} {fault}, {topic}: {ended}, {figures_are} figures"] += 1
    for what, count in sorted(seen.items()):
        print(f"{count:4d}  {what}")
    sys.exit(bad > 0)


def how_it_ends(done: subprocess.CompletedProcess, for_good: bool) -> str:
    if done.returncode == 0:
        return "went on"
    if "Traceback" in done.stderr or done.returncode != 1 or not for_good:
        return "traceback" if "Traceback" in done.stderr else f"exit status {done.returncode}"
    return "one line"


if __name__ == "__main__":
    main()
