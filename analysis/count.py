"""Counts parameters, multiply-adds and activations without compiling or allocating anything."""

import collections
import dataclasses
import math

import flax
import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Layer:
    """Counts of one layer for one image."""

    path: str  # for example "BottleneckBlock_0/Conv_1"
    parameters: int
    multiply_adds: int
    activations: int  # output elements of its convolution or matrix product


@dataclasses.dataclass(frozen=True)
class Count:
    """Counts of a network for one image: per layer, and in total."""

    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activations(self) -> int:
        return sum(layer.activations for layer in self.layers)


def count(module, input_shape: tuple[int, int, int]) -> Count:
    """Counts `module` on one image of shape (height, width, channels).

    Multiply-adds are those of convolutions and matrix products: no bias, normalisation, pooling
    or activation, as the papers count. Activations are the output elements of the same layers, as
    in "Designing Network Design Spaces" (arXiv:2003.13678, section 3).
    """
    if hasattr(module, "scan"):
        module = module.clone(scan=True)  # traces the alike blocks of a stage once
    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), image)
    jaxpr = jax.make_jaxpr(lambda v, x: module.apply(v, x, train=False))(variables, image)

    multiply_adds, activations = collections.Counter(), collections.Counter()
    for path, macs, outputs in _products(jaxpr.jaxpr, ""):
        multiply_adds[path] += macs
        activations[path] += outputs
    parameters = collections.Counter()
    for path, leaf in flax.traverse_util.flatten_dict(variables["params"], sep="/").items():
        parameters[path.rpartition("/")[0]] += math.prod(leaf.shape)

    paths = list(dict.fromkeys([*multiply_adds, *parameters]))
    return Count(tuple(Layer(p, parameters[p], multiply_adds[p], activations[p]) for p in paths))


def _products(jaxpr, outer: str):
    """Yields (path of the layer, multiply-adds, output elements) of each product in `jaxpr`."""
    for eqn in jaxpr.eqns:
        scope = "/".join(filter(None, [outer, str(eqn.source_info.name_stack)]))
        outputs = sum(math.prod(v.aval.shape) for v in eqn.outvars)
        if eqn.primitive.name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
            yield _layer(scope), outputs * math.prod(kernel) // features, outputs
        elif eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            inner = math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
            yield _layer(scope), outputs * inner, outputs
        elif eqn.params.get("branches_platforms"):  # one computation, a form for each platform
            yield from _products(eqn.params["branches"][-1].jaxpr, scope)  # the default
        elif eqn.primitive.name == "scan":  # alike blocks, see models/stages.py
            block = list(_products(eqn.params["jaxpr"].jaxpr, scope))
            for i in range(eqn.params["length"]):
                for path, macs, outputs in block:
                    yield _next_block(path, i), macs, outputs
        else:
            for value in eqn.params.values():
                for inner in value if isinstance(value, (tuple, list)) else (value,):
                    inner = getattr(inner, "jaxpr", inner)
                    if hasattr(inner, "eqns"):
                        yield from _products(inner, scope)


def _next_block(path: str, i: int) -> str:
    """Returns the same layer of the i-th block after, "BasicBlock_3/Conv_0" of "BasicBlock_1/Conv_0"."""
    block, _, layer = path.partition("/")
    name, _, number = block.rpartition("_")
    return f"{name}_{int(number) + i}/{layer}"


def _layer(scope: str) -> str:
    """Drops the network's own name from a name stack such as "Model/BasicBlock_0/Conv_0"."""
    return scope.partition("/")[2]
