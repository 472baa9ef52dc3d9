"""Runs a sweep as managed jobs of SkyPilot, on the large clouds and Kubernetes, spot with recovery.

All runs share one YAML; each is `sky jobs launch` of it with the run's name in the variable RUN. SkyPilot has
an environment of its own, so this calls its command.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator

import yaml

from sweeps import folder as sweep_folder
from training import files

CHECK = "import sys, sky; sky.Task.from_yaml(sys.argv[1])"


def check(folder: str) -> None:
    """Raises ValueError where there is no SkyPilot, or `folder` is not in a bucket."""
    if not shutil.which("sky"):
        raise ValueError(
            "--launcher=sky needs SkyPilot, in an environment of its own: "
            "pipx install 'skypilot[gcp]' (or aws, kubernetes, ...), then: sky check"
        )
    if not files.in_bucket(folder):
        raise ValueError(
            f"--workdir={folder}: SkyPilot's nodes need a bucket, gs://... or s3://..."
        )


def write(folder: str, name: str, settings: dict, file: pathlib.Path) -> None:
    """Writes the YAML of a sweep, and has it checked by SkyPilot's own parser.

    Args:
      folder: of the sweep, in a bucket.
      name: of the sweep.
      settings: a task of SkyPilot without `run`: resources, setup, file_mounts, secrets, ...
      file: to write.

    Raises:
      ValueError: SkyPilot does not accept it.
    """
    envs = settings.get("envs", {})
    if not isinstance(envs, dict):
        raise ValueError(f"--engine: envs are {envs!r}: let them be names and values")
    task = {
        "name": name,
        "workdir": str(sweep_folder.PROJECT),
        **settings,
        "envs": {"RUN": "", **envs},
        "run": f'{settings.get("run", "")}\npython -m sweeps.worker {folder} "$RUN"\n'.lstrip(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(task, sort_keys=False))
    # The command's first line names the Python of SkyPilot's environment.
    python = pathlib.Path(shutil.which("sky")).read_text().splitlines()[0].removeprefix("#!")
    done = subprocess.run([*python.split(), "-c", CHECK, str(file)], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"SkyPilot does not accept {file}: {reason}")


def launch(names: list[str], file: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Submits a managed job for each run; yields (run, name of its job).

    Raises:
      ValueError: SkyPilot refuses one, or a secret is not in the environment.
    """
    secrets = yaml.safe_load(file.read_text()).get("secrets", {})
    wanted = [name for name, value in secrets.items() if value is None]
    absent = [name for name in wanted if name not in os.environ]
    if absent:
        raise ValueError(f"the secrets {', '.join(absent)} are not in the environment: export them")
    for name in names:
        # SkyPilot's names have letters, digits and dashes.
        job = f"{file.stem}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
        command = ["sky", "jobs", "launch", "--yes", "--detach-run", f"--name={job}"]
        command += [f"--env=RUN={name}", *(f"--secret={secret}" for secret in wanted), str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"SkyPilot refuses {name}: {reason}")
        yield name, job


def queue() -> dict[str, str]:
    """Returns the state of each managed job that waits or runs: "PENDING", "RECOVERING", ..."""
    command = ["sky", "jobs", "queue", "--all", "--skip-finished", "--output=json"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {job["job_name"]: job["status"] for job in json.loads(output)}
    except (OSError, subprocess.CalledProcessError, ValueError, TypeError, KeyError):
        return {}  # watched elsewhere, or no controller yet
