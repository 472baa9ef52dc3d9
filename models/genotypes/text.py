"""Genotypes as JSON text, in a config or in a file."""

import json

from etils import epath


def as_tuples(genotype):
    """Returns a genotype of tuples or lists, or a JSON text of them, as tuples.

    Raises:
      ValueError: it is no JSON.
    """
    try:
        return _tuples(json.loads(genotype) if isinstance(genotype, str) else genotype)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"genotype {brief(genotype)}: it is no JSON ({error})") from error


def load(path: str) -> str:
    """Returns the genotype of a file, or of a bucket's, as a short JSON text.

    Args:
      path: of a JSON file that is a genotype, or an object with one under "genotype".

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no JSON, or has no genotype.
    """
    file = epath.Path(path).expanduser()
    if not file.exists():
        raise FileNotFoundError(f"there is no genotype {path}")
    try:
        found = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the genotype {path} is damaged, it is no JSON: {error}") from error
    if isinstance(found, dict):
        found = found.get("genotype")
    if not isinstance(found, list):
        raise ValueError(f'{path} has no genotype: a list, or an object with one as "genotype"')
    return as_text(found)


def as_text(genotype) -> str:
    """Returns the genotype as short JSON: its name in files and dictionaries."""
    return json.dumps(genotype, separators=(",", ":"))


def brief(genotype) -> str:
    """Returns the genotype for a message, cut where it is long."""
    text = str(genotype)
    return text if len(text) < 80 else f"{text[:76]} ..."


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value
