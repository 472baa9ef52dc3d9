"""The runs that a config with a `sweep()` stands for."""

import dataclasses
import difflib
import importlib.util
import inspect
import re
from collections.abc import Iterable
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from training import ranges


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run of a sweep."""

    name: str  # of what differs, for example "residual=False,depth=56,seed=1"; its folder, too
    overrides: dict[str, Any]  # "model.depth": 56
    config: ConfigDict


def load(path: str):
    """Returns the module of a config file, for its `sweep()` and `space()`."""
    spec = importlib.util.spec_from_file_location("sweep_config", path.partition(":")[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def swept(module, path: str) -> Iterable[dict[str, Any]]:
    """Returns what the `sweep()` of a config's module returns.

    It gets what `get_config` gets, "laptop" of configs/depth.py:laptop, if it takes something.
    """
    takes = inspect.signature(module.sweep).parameters
    return module.sweep(*path.split(":", 1)[1:] if takes else ())


def expand(path: str, base: ConfigDict) -> list[Run]:
    """Returns the runs of the config file `path`.

    Args:
      path: for example configs/depth.py, or configs/depth.py:laptop.
      base: what its `get_config()` returned, with the flags of the command line.

    Raises:
      ValueError: there is no `sweep()`, a field does not exist or is of another type, or two runs have
        one name.
    """
    module = load(path)
    if not hasattr(module, "sweep"):
        raise ValueError(f"{path} has no sweep(): see configs/depth.py for one")
    return runs(swept(module, path), base)


def runs(overrides: Iterable[dict[str, Any]], base: ConfigDict) -> list[Run]:
    """Returns a run for each of the overrides; raises what `expand` raises."""
    overrides = list(overrides)  # sweep() may be a generator
    for one in overrides:
        if not isinstance(one, dict):
            raise ValueError(f'the sweep() has {one!r}: let it be overrides, {{"model.depth": 56}}')
    found = {}
    names = short_names(overrides)
    for one in overrides:
        name = ",".join(f"{names[field]}={_text(one[field])}" for field in names if field in one)
        if name in found:
            raise ValueError(
                f"two runs would be called {name}: {found[name].overrides} and {one}; "
                "let each run of a sweep() differ in a field"
            )
        found[name] = Run(name, one, override(base, one))
        ranges.check(found[name].config)
    if not found:
        raise ValueError("the sweep() is empty")
    return list(found.values())


def short_names(overrides: list[dict[str, Any]]) -> dict[str, str]:
    """Returns the fields that tell runs apart, else all, each with its shortest clear name.

    A field that changes always and only with another one before it is left out: `resize` in a sweep over
    image sizes. The seed is always in, so that names stay when seeds are added.
    """
    fields = list(dict.fromkeys(field for one in overrides for field in one))
    telling = []
    for field in fields:
        values = {repr(one.get(field)) for one in overrides}
        follows = any(
            len({(repr(one.get(other)), repr(one.get(field))) for one in overrides})
            == len(values)
            == len({repr(one.get(other)) for one in overrides})
            < len(overrides)
            for other in telling
        )
        if field == "seed" or (len(values) > 1 and not follows):
            telling.append(field)
    telling = telling or fields
    last = [field.rpartition(".")[2] for field in telling]
    return {
        field: short if last.count(short) == 1 else field
        for field, short in zip(telling, last, strict=True)
    }


def override(base: ConfigDict, overrides: dict[str, Any]) -> ConfigDict:
    """Returns a copy of `base` with other values; raises ValueError where a field is not one of its."""
    config = base.copy_and_resolve_references()
    known = list(flatten_dict(config.to_dict(), sep="."))
    for field, value in overrides.items():
        if field not in known:
            close = difflib.get_close_matches(field, known, 1, 0.0)[0]
            raise ValueError(f"the sweep sets {field}, which is no config field: {close}?")
        try:
            config.update_from_flattened_dict({field: value})
        except (TypeError, ValueError) as error:
            raise ValueError(f"the sweep sets {field} to {value!r}: {error}") from error
    return config


def _text(value) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w.+-]+", "-", text).strip("-")
