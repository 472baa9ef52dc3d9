"""AlexNet on two devices, as in 2012: what lies where, and what travels, read from the compiled program."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

import models
from analysis import markdown
from analysis.communication import collectives
from analysis.lecture.counted import KB
from analysis.summary import shape_text
from training import sharding

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
SHAPE = (224, 224, 3)


class Part(NamedTuple):
    """A layer on the two devices."""

    name: str
    kernel: tuple[int, ...]  # of the whole layer
    local: tuple[int, ...]  # what lies on each device
    output: tuple[int, ...]  # of one image, the whole layer's
    received: int  # bytes an image that each device receives before the layer

    @property
    def local_output(self) -> tuple[int, ...]:
        *sides, channels = self.output
        return *sides, channels * self.local[-1] // self.kernel[-1]


def alexnet() -> list[Part]:
    """Compiles AlexNet for two devices and returns its layers.

    Raises:
      ValueError: there are fewer than two devices.
    """
    mesh = sharding.make_mesh(jax.devices()[:2], 2)
    model = models.create("alexnet", num_classes=1000, response_norm="tower")
    image = jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32)
    variables = models.shapes(model, SHAPE)
    shardings = sharding.of_state(mesh, variables)
    apply = sharding.split(model, mesh).apply
    forward = jax.jit(apply, in_shardings=(shardings, None))
    options = {"xla_backend_optimization_level": "0"}  # to compile takes the time
    compiled = forward.lower(variables, image).compile(compiler_options=options)
    received = {}
    for one in collectives(compiled):
        layer = one.scope.partition("exchange_for_")[2].partition("/")[0]
        received[layer] = received.get(layer, 0) + one.bytes
    unknown = set(received) - set(LAYERS)
    if unknown:
        raise RuntimeError(f"the program exchanges outside of the layers: {unknown}")

    maps = jax.eval_shape(partial(models.features, model), variables, image)
    kernels = [
        (variables["params"][name]["kernel"], shardings["params"][name]["kernel"])
        for name in LAYERS
    ]
    return [
        Part(
            name,
            kernel.shape,
            placed.shard_shape(kernel.shape),
            maps[name].shape[1:] if name in maps else kernel.shape[-1:],  # fc8's are the logits
            received.get(name, 0),
        )
        for name, (kernel, placed) in zip(LAYERS, kernels, strict=True)
    ]


def table(parts: list[Part]) -> str:
    """Returns a row a layer."""
    rows = [
        [
            "layer",
            "kernel",
            "on each device",
            "output on each device",
            "received before it, KB an image",
        ]
    ]
    for part in parts:
        shapes = (part.kernel, part.local, part.local_output)
        received = f"{part.received / KB:.1f}" if part.received else "nothing"
        rows.append([part.name, *(shape_text(shape) for shape in shapes), received])
    received = sum(part.received for part in parts)
    rows.append(["all", "", "", "", f"{received / KB:.1f}"])
    return markdown.table(rows, left=4)
