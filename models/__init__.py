"""Networks of the lecture "CNN Architectures", one paper a file.

A file of this folder that defines a class named `Model` is an architecture; its file name is its
name in a config. There is no list to edit.
"""

import dataclasses
import importlib
import pkgutil

import flax.linen as nn

_NOT_ARCHITECTURES = {"layers"}


def available() -> list[str]:
    """Returns the names that `create` accepts."""
    return sorted(
        m.name for m in pkgutil.iter_modules(__path__) if m.name not in _NOT_ARCHITECTURES
    )


def create(name: str, **fields) -> nn.Module:
    """Returns the network `name`, a stateless module.

    `module.apply(variables, x, train=False)` maps normalised float images [N, height, width, 3] to
    float32 logits [N, num_classes].

    Args:
      name: one of `available()`.
      **fields: the fields of that architecture's `Model`, for example `depth=50`.

    Raises:
      ValueError: no such architecture, or no such field; the message lists the right ones.
    """
    if name not in available():
        raise ValueError(f"unknown model {name!r}; available: {', '.join(available())}")
    model = importlib.import_module(f"models.{name}").Model
    known = fields_of(model)
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ValueError(
            f"model {name!r} has no field {', '.join(map(repr, unknown))}; "
            f"its fields: {', '.join(known)}"
        )
    return model(**fields)


def fields_of(model: type[nn.Module]) -> list[str]:
    """Returns the names of the fields that `model` takes, without Flax's own two."""
    return [
        f.name for f in dataclasses.fields(model) if f.init and f.name not in ("parent", "name")
    ]
