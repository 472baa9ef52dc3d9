"""A sweep's folder, and what its runs say of themselves in it.

  FOLDER/sweep.json       config, flags, git revision, jobs of the engine, and the runs: name -> overrides
  FOLDER/NAME/            the workdir of a run: metrics.jsonl, checkpoints/, ...
  FOLDER/NAME/state.json  {"state": "running", "time": ...}, renewed while it runs
  FOLDER/NAME/log.txt     what train.py printed

Folders may be on a shared disk or in a bucket. This needs no JAX, so that commands answer at once.
"""

import os
import pathlib
import re
import time

import yaml
from etils import epath

from training import files

PROJECT = pathlib.Path(__file__).resolve().parents[1]
RENEWED = 20.0  # seconds between two signs of life
LOST = 90.0  # seconds without one after which a run counts as killed
STATES = {"running", "finished", "stopped", "failed", "pruned"}  # of state.json
FIELDS = {
    "config": str,
    "arguments": list,
    "base": dict,
    "runs": dict,
    "jobs": dict,
}  # of sweep.json


def read(folder: str) -> dict:
    """Returns what FOLDER/sweep.json holds.

    Raises:
      FileNotFoundError: it does not exist.
      ValueError: it is damaged.
    """
    file, remedy = path(folder) / "sweep.json", "remove it and launch again"
    try:
        found = files.read_json(file, FIELDS, remedy)
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} holds no sweep: no sweep.json in it") from None
    for name, overrides in found["runs"].items():
        workdir(folder, name)
        if not isinstance(overrides, dict):
            raise ValueError(f"{file} is damaged (the run {name} has no overrides): {remedy}")
    for name, job in found["jobs"].items():
        if not isinstance(job, dict) or {type(job.get("engine")), type(job.get("id"))} != {str}:
            raise ValueError(f"{file} is damaged (the job of {name} has no number): {remedy}")
    return found


def workdir(folder: str, name: str) -> epath.Path:
    """Returns the folder of a run.

    Raises:
      ValueError: no run has such a name, since it would lead elsewhere.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w+,=-][\w.+,=-]*", name):
        raise ValueError(
            f"{folder} has a run called {name!r}: names are letters, digits and .,=+-_, such as seed=1"
        )
    return path(folder) / name


def describe(config: str, changes: dict, base: dict, git: str | None) -> dict:
    """Returns what sweep.json says of a sweep beside its runs.

    Args:
      config: path of the config file, with what follows its colon.
      changes: fields that the command line changes in every run -> values.
      base: the config with these changes, as a dict.
      git: revision of the project.
    """
    return {
        "config": config,
        "arguments": [f"--config.{field}={value}" for field, value in changes.items()],
        "git": git,
        "base": base,
    }


def record(folder: str, sweep: dict) -> None:
    """Writes FOLDER/sweep.json; the runs and jobs of before stay in it.

    Raises:
      ValueError: the folder holds a sweep of another config, or with other flags, or a name leads elsewhere.
    """
    for name in sweep.get("runs", {}):
        workdir(folder, name)
    path(folder).mkdir(parents=True, exist_ok=True)
    with files.lock(path(folder) / "lock"):
        try:
            before = read(folder)
        except FileNotFoundError:
            before = sweep
        for what in ("config", "arguments"):
            if before[what] != sweep[what]:
                raise ValueError(
                    f"{folder} holds a sweep with {what} {before[what]}, not {sweep[what]}: "
                    "choose another --workdir"
                )
        runs, jobs = ({**before.get(k, {}), **sweep.get(k, {})} for k in ("runs", "jobs"))
        files.write_json(path(folder) / "sweep.json", sweep | {"runs": runs, "jobs": jobs})


def environment() -> dict[str, str]:
    """Returns the environment of a child, in which Python runs the code of this checkout.

    Another one may be installed. Start modules with `python -P -m`: else the current folder comes first.
    """
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def command(sweep: dict, workdir: str, overrides: dict) -> list[str]:
    """Returns the arguments that train one run, after the name of Python."""
    return [
        str(PROJECT / "train.py"),
        f"--config={PROJECT / sweep['config']}",
        f"--workdir={workdir}",
        *sweep["arguments"],
        *(f"--config.{field}={value}" for field, value in overrides.items()),
    ]


def state(folder: str, name: str) -> dict:
    """Returns the run's state.json; {"state": "waiting"} where it never ran, "lost" where it was killed.

    Where the file is damaged the run is "waiting", too: it goes on from its checkpoint and loses nothing.
    """
    waiting, file = {"state": "waiting"}, workdir(folder, name) / "state.json"
    try:
        found = files.read_json(file, {"state": str, "time": (int, float)}, "")
    except (FileNotFoundError, ValueError):
        return waiting
    if found["state"] not in STATES:
        return waiting
    if found["state"] == "running" and not abs(time.time() - found["time"]) < LOST:
        return found | {"state": "lost"}
    return found


def write_state(folder: str, name: str, state: str, **more) -> None:
    files.write_json(
        workdir(folder, name) / "state.json", {"state": state, "time": time.time(), **more}
    )


def last_lines(folder: str, name: str, number: int = 5) -> str:
    """Returns the end of the run's log, or nothing where the engine keeps it."""
    try:
        log = (workdir(folder, name) / "log.txt").read_bytes()
    except FileNotFoundError:
        return ""
    return "\n".join(log.decode(errors="replace").splitlines()[-number:])


def relative(config: str) -> str:
    """Returns a config's path, within this project if it can be: other machines have another root."""
    file = pathlib.Path(config).absolute()
    return str(file.relative_to(PROJECT) if file.is_relative_to(PROJECT) else file)


def engine_settings(file: str | None) -> dict:
    """Returns the settings of an engine, none where no file is given; see sweeps/engines/.

    Raises:
      FileNotFoundError: it does not exist.
      ValueError: it is no YAML, or has no settings.
    """
    if file is None:
        return {}
    try:
        settings = yaml.safe_load(pathlib.Path(file).read_text())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"--engine={file} is no YAML: {error}") from error
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise ValueError(f"--engine={file} has no settings; see sweeps/engines/")
    return settings


def path(folder: str) -> epath.Path:
    return epath.Path(folder).expanduser()


def rank() -> int:
    """Returns which of the processes of a run this is; 0 looks after its state."""
    return int(os.environ.get("SLURM_PROCID", os.environ.get("SKYPILOT_NODE_RANK", 0)))
