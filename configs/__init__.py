"""Experiments, one a file: get_config() returns an ml_collections.ConfigDict. Pure data."""

import importlib
import pathlib
import re
import shlex

from configs import common

FOLDER = pathlib.Path(__file__).parent
DEFAULT = FOLDER / "digits.py"  # the experiment of a command that is given none
NOT_EXPERIMENTS = {"__init__", "common", "spaces"}


def available() -> dict[str, str]:
    """Returns the name of the argument of each experiment's get_config, "" where it takes none."""
    files = sorted(f for f in FOLDER.glob("*.py") if f.stem not in NOT_EXPERIMENTS)
    return {f.stem: re.search(r"^def get_config\((\w*)", f.read_text(), re.M)[1] for f in files}


def check(path: str) -> None:
    """Raises ValueError that lists the experiments where the file of FILE or FILE:ARGUMENT is none."""
    file = pathlib.Path(path.partition(":")[0])
    if file.is_file() and file.suffix == ".py" and file.stem not in NOT_EXPERIMENTS:
        return
    names = (f"{name}:{argument.upper()}".rstrip(":") for name, argument in available().items())
    remedy = _renamed(file.stem) or f"configs/ has {', '.join(names)}"
    raise ValueError(f"there is no config {file}; {remedy}")


def _renamed(name: str) -> str | None:
    """Returns the remedy where each depth had a file of its own: resnet152.py is resnet.py:152."""
    for file in available():
        module = importlib.import_module(f"configs.{file}")
        for depth in getattr(module, "DEPTHS", ()):
            if re.match(r"\D*\d*", name)[0] == f"{module.get_config(depth).model.name}{depth}":
                return f"write configs/{file}.py:{depth}, and for a run of it --workdir=DIR alone"
    return None


def describe(config) -> str:
    """Returns a line for each field of a config: the flag that sets it to its value, and its meaning.

    The meanings are the comments in configs/common.py, and in the class of the network.
    """
    meanings = common.comments(FOLDER / "common.py") | common.comments(FOLDER / "nas" / "common.py")
    network = common.fields_of(config.model.name) if config.model.name else {}
    for name, field in network.items():
        meanings[f"model.{name}"] = field.meaning
    lines = []
    for name, value in _flat(config.to_dict()):
        text = f'"{value}"' if isinstance(value, tuple) else shlex.quote(str(value))
        flag = f"--config.{name}={text}"
        lines.append(f"  {flag:<45} {meanings.get(name, '')}".rstrip())
    return "\n".join(lines)


def _flat(fields: dict, prefix: str = ""):
    for name, value in sorted(fields.items(), key=lambda field: isinstance(field[1], dict)):
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
