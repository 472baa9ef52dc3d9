"""Networks of the lecture "CNN Architectures", one paper a file.

A file of this folder is an architecture, with a class named `Model`; its file name is its name in a
config. A folder of this folder is machinery.
"""

import contextlib
import dataclasses
import difflib
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models import genotypes, layers


def available() -> list[str]:
    """Returns the names that `create` accepts."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg)


def create(name: str, **fields: Any) -> nn.Module:
    """Returns the network `name`, a stateless module.

    `module.apply(variables, x, train=False)` maps normalised float images [N, height, width, 3] to
    float32 logits [N, num_classes].

    Args:
      name: one of `available()`.
      **fields: the fields of that architecture's `Model`, for example `depth=50`; see `resolve`.

    Raises:
      FileNotFoundError: a field names a file that is not there.
      ValueError: no such architecture, field or dtype, or no number of classes; the message lists the
        right ones.
    """
    if name not in available():
        raise ValueError(
            f"unknown model {name!r}{_meant(name)}; available: {', '.join(available())}"
        )
    model = importlib.import_module(f"models.{name}").Model
    known = fields_of(model)
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ValueError(
            f"model {name!r} has no field {', '.join(map(repr, unknown))}; "
            f"its fields: {', '.join(known)}"
        )
    if fields.get("num_classes", 0) < 1:
        raise ValueError(f"model {name!r} needs num_classes, the number of classes, at least 1")
    layers.one_of("dtype", fields.get("dtype", "float32"), ("float32", "bfloat16", "float16"))
    resolve(fields)
    return model(**fields)


def _meant(name: str) -> str:
    """Returns what to type for a network of PyTorch's libraries or Keras, as resnet50; else the nearest name."""
    from models.torch import weights  # only this mistake needs them

    theirs = name.rpartition("/")[2].lower()
    found = []
    if theirs not in available():
        keras = {"nasnetlarge": "nasnetalarge"}.get(theirs, theirs)
        for library in weights.LIBRARIES:
            with contextlib.suppress(ValueError):
                found.append(weights.describe(f"{library}/{keras}")[:2])
        if match := re.fullmatch(r"resnet(50|101|152)v2", theirs):
            found.append(("preact_resnet", {"depth": int(match[1])}))
    if found:
        ours, fields = found[0]
        given = "".join(f"{field}={value!r}, " for field, value in fields.items())
        return f" (type models.create({ours!r}, {given}num_classes=N), or these as --config.model.FIELD)"
    near = difflib.get_close_matches(theirs, available(), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def resolve(fields: MutableMapping[str, Any]) -> None:
    """Replaces the name of a JSON file in the field "genotype" by what the file holds.

    So a recorded config says all of the network.

    Args:
      fields: those of `create`, a dictionary or a config's section, which is changed.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds no genotype.
    """
    genotype = fields.get("genotype", "")
    if isinstance(genotype, str) and genotype.endswith(".json"):
        fields["genotype"] = genotypes.load(genotype)


def shapes(module: nn.Module, input_shape: tuple[int, int, int]) -> dict:
    """Returns the shapes of a network's parameters and BatchNorm statistics, as `module.init` nests them.

    Args:
      module: from `create` or `load_torch`.
      input_shape: (height, width, channels) of one image.
    """
    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    with layers.use_stock():  # half as long to trace
        return jax.eval_shape(lambda x: module.init(jax.random.key(0), x), image)


def features(
    module: nn.Module, variables: Mapping[str, Any], x: jax.typing.ArrayLike
) -> dict[str, jax.Array]:
    """Returns the intermediate feature maps of a network by name, for example "stage1" or "conv5".

    Args:
      module: from `create` or `load_torch`.
      variables: its parameters and BatchNorm statistics.
      x: normalised float images [N, height, width, 3].
    """
    _, state = module.apply(variables, x, train=False, mutable=["intermediates"])
    return state["intermediates"]["features"]


def backward(
    module: nn.Module, variables: Mapping[str, Any], x: jax.typing.ArrayLike, name: str
) -> tuple[jax.Array, dict[str, jax.Array], Callable[[jax.Array], jax.Array]]:
    """Returns (logits, feature maps by name, the backward pass from the logits to one of these).

    The last is `f(gradient by the logits [N, num_classes]) -> gradient by the map [N, height, width, C]`.

    Args:
      module, variables, x: as in `features`.
      name: of the feature map.
    """

    def forward(added: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        perturbed = {**variables, "perturbations": {name: added}}
        logits, state = module.apply(perturbed, x, mutable=["intermediates"])
        return logits, state["intermediates"]["features"]

    like = jax.eval_shape(lambda v, x: features(module, v, x), variables, x)[name]
    logits, pull, seen = jax.vjp(forward, jnp.zeros(like.shape, like.dtype), has_aux=True)
    return logits, seen, lambda by_logits: pull(by_logits)[0]


def load_torch(name: str, state_dict: Mapping[str, np.ndarray]) -> tuple[nn.Module, dict]:
    """Returns (module, variables) with the weights of a network of PyTorch.

    The module has as many classes as the weights; GoogLeNet has its auxiliary heads where they do.

    Args:
      name: LIBRARY/MODEL, for example "torchvision/resnet50", "timm/nasnetalarge",
        "akamaster/resnet20" or "pytorchcv/zfnet".
      state_dict: maps PyTorch's names to NumPy arrays; prefixes such as "module." are dropped, see
        `models.torch.weights.canonical`. `models.torch.files.read` reads one from a file.

    Raises:
      ValueError: the network is unknown, or a tensor is missing, left over or of another shape.
    """
    from models.torch import weights

    ours, fields, pairs = weights.describe(name)
    tensors = weights.canonical(pairs, state_dict)
    if ours == "googlenet" and not any(n.startswith("aux") for n in tensors):
        fields["aux_heads"] = False
        pairs = [pair for pair in pairs if not pair[0].startswith("aux")]
    classifier = f"{pairs[-1][0]}.weight"
    if not np.shape(tensors.get(classifier)):
        raise ValueError(f"the weights do not fit the network; missing: {classifier}")
    module = create(ours, num_classes=tensors[classifier].shape[0], **fields)
    size = 32 if fields.get("layout") == "cifar" else 224
    return module, weights.convert(pairs, tensors, shapes(module, (size, size, 3)))


def fields(module: nn.Module) -> dict:
    """Returns the name and the fields by which `create` makes this network."""
    named = {field: getattr(module, field) for field in fields_of(type(module))}
    return {"name": type(module).__module__.rpartition(".")[2]} | named


def fields_of(model: type[nn.Module]) -> list[str]:
    """Returns the names of the fields that `model` takes, without Flax's own two."""
    return [
        f.name for f in dataclasses.fields(model) if f.init and f.name not in ("parent", "name")
    ]
