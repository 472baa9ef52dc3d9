"""Takes the disk away from runs of train.py, gives it back, and compares how they end. Needs root, to mount.

At a random moment the disk fills up ("full"), the folder of TensorBoard does ("tensorboard"), or an ext4 disk
finds an error, drops what it has not written, and becomes read-only ("readonly"). The run has to end by itself, with one line, or to go on; once the disk is as
before, the same command has to end with the figures of an undisturbed run, to the bit.

Example:
  sudo python tests/faults/disks.py --tries=20
"""

import argparse
import collections
import contextlib
import errno
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import kills

FAULTS = ("full", "tensorboard", "readonly")


@contextlib.contextmanager
def disk(folder: pathlib.Path, megabytes: int, image: pathlib.Path | None = None):
    """Makes `folder` a disk of its own: in memory, or of ext4 in the file `image`, which outlives it."""
    folder.mkdir(parents=True, exist_ok=True)
    if image is None:
        mount = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"]
    else:
        if not image.exists():
            image.touch()
            os.truncate(image, megabytes * 2**20)
            subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        mount = ["-o", "loop,errors=remount-ro", image]
    subprocess.run(["mount", *mount, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: pathlib.Path, process: subprocess.Popen) -> None:
    """Writes until nothing fits, for as long as the run lives; frees it all when that has ended."""
    filler, deadline = folder / "filler", time.monotonic() + 60
    with filler.open("wb", buffering=0) as file:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                file.write(bytes(2**12))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                time.sleep(0.002)
    filler.unlink()


def damage(folder: pathlib.Path) -> None:
    """Lets ext4 find an error, which makes it read-only."""
    device = subprocess.check_output(["findmnt", "-no", "SOURCE", folder], text=True).strip()
    pathlib.Path("/sys/fs/ext4", pathlib.Path(device).name, "trigger_fs_error").write_text("1")


def disturb(fault: str, folder: pathlib.Path, seconds: float) -> tuple[str, dict]:
    """Returns (how the disturbed run ended, the figures in the end)."""
    workdir, image = folder / "run", folder / "image" if fault == "readonly" else None
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(disk(workdir, 16, image))
        if fault == "tensorboard":
            target = stack.enter_context(disk(workdir / "tensorboard", 1))
        process = kills.start(kills.RUN, workdir)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        if image:
            damage(target)
        else:
            fill(target, process)
        ended = how_it_ends(process, fault)
        if image:
            stack.close()
            subprocess.run(["e2fsck", "-fy", image], capture_output=True)
            stack.enter_context(disk(workdir, 16, image))
        errors = kills.start(kills.RUN, workdir).communicate()[1].strip()
        if errors:
            print(f"  again: {errors.splitlines()[-1]}"[:200], flush=True)
        return ended, kills.figures(workdir)


def how_it_ends(process: subprocess.Popen, fault: str) -> str:
    try:
        errors = process.communicate(timeout=60)[1].strip()
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "hung"
    if errors:
        print(f"  {fault}: {errors.splitlines()[-1]}"[:200], flush=True)
    if process.returncode == 0:
        return "went on"
    if "Traceback" in errors or process.returncode < 0:
        print(errors, flush=True)
        return "traceback"
    return "one line"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=20, help="of each fault (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, seen, bad = random.Random(args.seed), collections.Counter(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for part in ("whole", "timed"):  # the first fills the cache of compiled programs
            began = time.monotonic()
            kills.start(kills.RUN, folder / part).communicate()
        seconds, expected = time.monotonic() - began, kills.figures(folder / "whole")
        for number in range(args.tries):
            for fault in FAULTS:
                moment = rng.uniform(0.3, 1) * seconds
                ended, found = disturb(fault, folder / f"{fault}-{number}", moment)
                same = found == expected
                bad += not same or ended in ("hung", "traceback")
                seen[f"{fault}: {ended}, {'the same' if same else 'OTHER'} figures"] += 1
    for what, count in sorted(seen.items()):
        print(f"{count:4d}  {what}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
