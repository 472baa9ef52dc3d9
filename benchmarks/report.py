"""What a figure depends on, rows of rounds, and a Python that has PyTorch."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def facts(*packages: str) -> dict:
    """Returns what a figure depends on: date, command, machine, versions of Python and `packages`."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), cpu)
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{cpu}, {CORES} cores, {platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
    }


def describe(found: dict) -> None:
    """Prints what `facts` returns, and what was added to it, a line each."""
    for name, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        print(f"{name}: {value}", flush=True)


def table(name: str, rounds: list[float], form: str) -> float:
    """Prints a row, a column for each round and one for the median, which it returns."""
    median = statistics.median(rounds)
    print(f"{name:40}", *(f"{x:>9{form}}" for x in rounds), f"   median {median:{form}}")
    return median


def output(*command) -> str:
    """Returns what a command prints; raises subprocess.CalledProcessError where it fails."""
    command = [str(part) for part in command]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def find_torch(chosen: str | None, modules: tuple[str, ...]):
    """Returns a Python that can import `modules`; makes an environment for it where there is none.

    Raises:
      ValueError: `chosen`, the path of a Python, cannot import them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = cache / "cnn-architectures" / "benchmark-torch"
    own = folder / "bin" / "python"
    for python in [chosen] if chosen else [sys.executable, own]:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            output(python, "-c", f"import {', '.join(modules)}")
            return python
    if chosen:
        raise ValueError(f"--torch_python={chosen} is no Python that has {' and '.join(modules)}")
    packages = ("torch", "torchvision", "timm", "pillow")
    print(f"installing {', '.join(packages)} in {folder}; this may take minutes", flush=True)
    output(sys.executable, "-m", "venv", folder)
    output(own, "-m", "pip", "install", "--quiet", *packages)
    return own
