"""What a network costs, layer by layer, without compiling or allocating anything.

The network is traced for one image. Each convolution, matrix product and pooling of the trace is a layer,
and so is each other module that has parameters, such as a BatchNorm.
"""

import collections
import dataclasses
import itertools
import math
import re
from typing import NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

import models

Pair = tuple[int, int]
POOLINGS = {"reduce_window_max": "max pool", "reduce_window_sum": "average pool"}
WITH_OUTPUT = ("conv", "dense", "max pool", "average pool", "global average")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer, for one image. Of `kernel` and `stride` each has a value for rows and one for columns."""

    path: str  # for example "stage1/block1/conv2"
    kind: str  # "conv", "dense", "max pool", "average pool", "global average", or the module's name
    input: tuple[int, ...] = ()  # (height, width, channels), or (features,)
    output: tuple[int, ...] = ()
    kernel: Pair = ()
    stride: Pair = ()
    padding: tuple[Pair, Pair] = ()  # (above, below), (left, right)
    groups: int = 1
    parameters: int = 0
    multiply_adds: int = 0
    receptive_field: Pair = ()  # pixels of the image that an output sees, where it is not cut by the edge
    field_start: Pair = ()  # the first pixel that the first output sees; below 0: of the padding
    field_step: Pair = ()  # pixels from the field of an output to that of its neighbour
    after: tuple[str, ...] = ()  # paths of what it takes in, layers or operations; none: the image

    @property
    def activations(self) -> int:
        """Output elements of a convolution or matrix product."""
        return math.prod(self.output) if self.multiply_adds else 0

    @property
    def memory(self) -> int:
        """Bytes of the output in float32; 0 where it can overwrite the input, as in a BatchNorm."""
        return 4 * math.prod(self.output) if self.kind in WITH_OUTPUT else 0


@dataclasses.dataclass(frozen=True)
class Operation:
    """What changes or joins feature maps and costs nothing that is counted."""

    path: str  # for example "stage1/block1/add1"
    kind: str  # "add", "concatenate", "relu" or "channel shuffle"
    output: tuple[int, ...]
    after: tuple[str, ...]  # as of a layer


@dataclasses.dataclass(frozen=True)
class Count:
    """Counts of a network for one image: per layer in the order of computation, and in total."""

    layers: tuple[Layer, ...]
    blocks: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)  # path -> output
    operations: tuple[Operation, ...] = ()  # that lie between the layers

    @property
    def products(self) -> list[Layer]:
        """The convolutions and matrix products."""
        return [layer for layer in self.layers if layer.multiply_adds]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activations(self) -> int:
        return sum(layer.activations for layer in self.layers)

    @property
    def memory(self) -> int:
        return sum(layer.memory for layer in self.layers)


def count(module: nn.Module, input_shape: tuple[int, int, int]) -> Count:
    """Counts `module` on one image of shape (height, width, channels).

    Multiply-adds are those of convolutions and matrix products: no bias, normalisation, pooling
    or activation, as the papers count. Activations are the output elements of the same layers, as
    in "Designing Network Design Spaces" (arXiv:2003.13678, section 3). The receptive field grows by
    (kernel - 1) times the product of the strides before (https://distill.pub/2019/computing-receptive-fields).
    """
    if hasattr(module, "scan"):
        module = module.clone(scan=True)  # traces the alike blocks of a stage once
    kinds, blocks, root = {}, {}, None

    def note_kind(call, arguments, named, context):
        kinds[context.module.name] = type(context.module).__name__
        return call(*arguments, **named)

    def note_output(call, arguments, named, context):
        nonlocal root
        scope = context.module.scope.root
        root = root or scope  # a block inside a loop has another, and paths of its own
        output = call(*arguments, **named)
        if context.method_name == "__call__" and scope is root and hasattr(output, "shape"):
            blocks["/".join(context.module.path)] = output.shape[1:]
        return output

    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    with nn.intercept_methods(note_kind):
        variables = models.shapes(module, input_shape)
    with models.layers.use_stock(), nn.intercept_methods(note_output):  # as in `shapes`
        jaxpr = jax.make_jaxpr(module.apply)(variables, image)

    parameters = collections.Counter()
    for path, leaf in flax.traverse_util.flatten_dict(variables["params"], sep="/").items():
        parameters[path.rpartition("/")[0]] += math.prod(leaf.shape)
    trace = _Trace(parameters, kinds)
    views = [None] * (len(jaxpr.jaxpr.invars) - 1) + [View((0, 0), (1, 1), (1, 1))]
    trace.follow(jaxpr.jaxpr, views, "")
    unused = [path for path in parameters if path not in trace.layers]  # auxiliary heads
    unused = [Layer(path, trace.kind(path), parameters=parameters[path]) for path in unused]
    return Count((*trace.layers.values(), *unused), blocks, tuple(trace.operations.values()))


def xla_flops(module: nn.Module, input_shape: tuple[int, int, int]) -> float:
    """Returns XLA's count of the operations of `module` on one image, without compiling.

    A multiply-add is two of them; products with the zeros of a padding are none. Activations,
    normalisation and pooling count too.
    """
    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    with models.layers.use_stock():
        lowered = jax.jit(module.apply).lower(models.shapes(module, input_shape), image)
    return lowered.cost_analysis()["flops"]


class View(NamedTuple):
    """What an element of an array sees of the image, in pixels: for rows and for columns."""

    start: Pair  # of the first element
    size: Pair
    step: Pair  # between two neighbours
    source: frozenset[str] = frozenset()  # paths of the layers and operations that made the array

    def through(self, window: Pair, stride: Pair = (1, 1), before: Pair = (0, 0)) -> "View":
        """Returns the view after windows of `window` neighbours, the first one `before` of them outside."""
        return View(
            tuple(s - b * d for s, b, d in zip(self.start, before, self.step, strict=True)),
            tuple(s + (w - 1) * d for s, w, d in zip(self.size, window, self.step, strict=True)),
            tuple(d * s for d, s in zip(self.step, stride, strict=True)),
            self.source,
        )

    def made_by(self, path: str) -> "View":
        return self._replace(source=frozenset([path]))


def _joined(views: list[View]) -> View:
    """Returns what an element sees that is computed from one of each array."""
    if len(views) == 1:
        return views[0]
    sides = range(2)
    start = tuple(min(view.start[i] for view in views) for i in sides)
    end = [max(view.start[i] + view.size[i] for view in views) for i in sides]
    return View(
        start,
        tuple(end[i] - start[i] for i in sides),
        tuple(max(view.step[i] for view in views) for i in sides),
        frozenset().union(*(view.source for view in views)),
    )


class _Trace:
    """Collects the layers of a jaxpr."""

    def __init__(self, parameters: dict[str, int], kinds: dict[str, str]):
        """`parameters`: how many a layer has, by its path; `kinds`: its class, by its name."""
        self.parameters, self.kinds = parameters, kinds
        self.layers: dict[str, Layer] = {}
        self.operations: dict[str, Operation] = {}

    def follow(self, jaxpr, views: list[View | None], outer: str, rename=lambda path: path):
        """Notes the layers of `jaxpr` and returns the views of its outputs.

        Args:
          jaxpr: an open jaxpr.
          views: of its inputs; None: it does not depend on the image.
          outer: scope of the jaxpr.
          rename: of a layer's path.
        """
        known = dict(zip(jaxpr.invars, views, strict=True))

        def view_of(variable):
            return None if hasattr(variable, "val") else known.get(variable)

        for eqn in jaxpr.eqns:
            scope = "/".join(filter(None, [outer, str(eqn.source_info.name_stack)]))
            path = rename(_layer(scope))
            inputs = [view_of(v) for v in eqn.invars]
            inner, length = _inner(eqn)
            if inner is None:
                outputs = [self.step(eqn, inputs, path)] * len(eqn.outvars)
            elif eqn.primitive.name == "scan":  # alike blocks, see models/layers/stages.py
                constants, carried = _constant_and_carried(eqn, inner)
                outputs = inputs[constants:]
                for i in range(length):
                    views = [
                        *inputs[:constants],
                        *outputs[:carried],
                        *inputs[constants + carried :],
                    ]
                    outputs = self.follow(
                        inner, views, scope, lambda path, i=i: _next_block(rename(path), i)
                    )
            else:
                outputs = self.follow(inner, inputs, scope, rename)
            known.update(zip(eqn.outvars, outputs, strict=True))
        return [view_of(v) for v in jaxpr.outvars]

    def step(self, eqn, inputs: list[View | None], path: str) -> View | None:
        """Notes the layer that an equation without inner jaxpr belongs to; returns its output's view."""
        kind = eqn.primitive.name
        seen = [view for view in inputs if view is not None]
        if not seen:
            return None
        view = _joined(seen)
        shape, result = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
        outputs = math.prod(result)
        if kind == "conv_general_dilated":
            kernel, dilation = eqn.invars[1].aval.shape, eqn.params["rhs_dilation"]
            features, _, *sides = (kernel[i] for i in eqn.params["dimension_numbers"].rhs_spec)
            side = tuple((k - 1) * d + 1 for k, d in zip(sides, dilation, strict=True))
            padding = tuple(map(tuple, eqn.params["padding"]))
            view = view.through(side, eqn.params["window_strides"], _low(padding))
            return self.note(
                path,
                "conv",
                shape,
                result,
                view,
                kernel=tuple(sides),
                stride=tuple(eqn.params["window_strides"]),
                padding=padding,
                groups=eqn.params["feature_group_count"],
                multiply_adds=outputs * math.prod(kernel) // features,
            )
        if kind == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            inner = math.prod(shape[i] for i in contracted)
            return self.note(path, "dense", shape, result, view, multiply_adds=outputs * inner)
        if kind in POOLINGS:
            window, stride = (eqn.params[f"window_{x}"][1:3] for x in ("dimensions", "strides"))
            padding = tuple(map(tuple, eqn.params["padding"][1:3]))
            return self.note(
                self.numbered(path, POOLINGS[kind]),
                POOLINGS[kind],
                shape,
                result,
                view.through(window, stride, _low(padding)),
                kernel=tuple(window),
                stride=tuple(stride),
                padding=padding,
            )
        if kind.startswith("reduce_") and len(shape) == 4 and "axes" in eqn.params:
            sides = tuple(shape[i] if i in eqn.params["axes"] else 1 for i in (1, 2))
            view = view.through(sides)
            if path not in self.parameters and set(eqn.params["axes"]) >= {1, 2}:
                name = self.numbered(path, "global average")
                return self.note(name, "global average", shape, result, view, kernel=sides)
        elif kind == "reshape" and len(shape) == 4 > len(result):  # before a matrix product
            view = view.through(shape[1:3])
        elif kind == "slice" and len(shape) == 4:
            outside = tuple(-int(start) for start in eqn.params["start_indices"][1:3])
            view = view.through((1, 1), (eqn.params["strides"] or (1,) * 4)[1:3], outside)
        elif kind == "pad" and len(shape) == 4:
            view = view.through((1, 1), before=_low(eqn.params["padding_config"][1:3]))
        elif path in self.parameters and len(result) == len(shape) and path not in self.layers:
            return self.note(path, self.kind(path), shape, result, view)
        elif operation := _operation(eqn, seen):
            name = self.numbered(path, operation)
            output = result[1:3] + (math.prod(result[3:]),) if len(result) > 3 else result[1:]
            self.operations[name] = Operation(name, operation, output, _sorted(view.source))
            view = view.made_by(name)
        return view

    def note(self, path: str, kind: str, shape, result, view: View, multiply_adds=0, **geometry):
        """Notes a layer and returns the view of its output, which is `view`."""
        before = self.layers.get(path)
        if before is not None and before.multiply_adds:  # a second product of the same layer
            more = before.multiply_adds + multiply_adds
            self.layers[path] = dataclasses.replace(before, multiply_adds=more)
            return view.made_by(path)
        self.layers[path] = Layer(
            path,
            kind,
            shape[1:],
            result[1:],
            parameters=self.parameters.get(path, 0),
            multiply_adds=multiply_adds,
            receptive_field=view.size,
            field_start=view.start,
            field_step=view.step,
            after=_sorted(view.source),
            **geometry,
        )
        return view.made_by(path)

    def numbered(self, module: str, kind: str) -> str:
        """Returns a path in `module` for one more layer or operation of a kind that is no module."""
        name = kind.replace(" ", "_")
        for number in itertools.count(1):
            path = "/".join(filter(None, [module, f"{name}{number}"]))
            if path not in self.layers and path not in self.operations:
                return path

    def kind(self, path: str) -> str:
        """Returns the class of a layer."""
        return self.kinds[path.rpartition("/")[2]]


def _operation(eqn, seen: list[View]) -> str:
    """Returns the kind of `Operation` that an equation is; "": none."""
    kind = eqn.primitive.name
    if kind in ("add", "concatenate") and len({view.source for view in seen}) > 1:
        return kind
    if kind == "max" and any(hasattr(variable, "val") for variable in eqn.invars):  # max(x, 0)
        return "relu"
    if kind == "transpose" and len(eqn.outvars[0].aval.shape) == 5:
        return "channel shuffle"
    return ""


def _low(padding) -> Pair:
    """Returns what is padded above and on the left."""
    return tuple(int(side[0]) for side in padding)


def _sorted(paths: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(paths))


def _constant_and_carried(eqn, inner) -> tuple[int, int]:
    """Returns how many inputs of a scan stay the same, and how many pass from step to step.

    Read from the shapes, since each version of JAX has other parameters: what is scanned has one more axis
    outside, constants come first.
    """
    carried = sum(
        v.aval.ndim == w.aval.ndim for v, w in zip(eqn.outvars, inner.outvars, strict=True)
    )
    scanned = sum(v.aval.ndim > w.aval.ndim for v, w in zip(eqn.invars, inner.invars, strict=True))
    return len(inner.invars) - carried - scanned, carried


def _inner(eqn):
    """Returns the jaxpr inside an equation and how often it runs; None where there is none."""
    for value in eqn.params.values():
        for inner in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                return inner, eqn.params.get("length", 1)
    return None, 0


def _next_block(path: str, i: int) -> str:
    """Returns the same layer of the i-th block after, "stage1/block4/bn1" of "stage1/block2/bn1"."""
    return re.sub(r"(?<=/block)\d+", lambda number: str(int(number[0]) + i), path)


def _layer(scope: str) -> str:
    """Returns the path of "Model/cell1/cell1.adjust/previous_conv": without network and methods."""
    return "/".join(part for part in scope.split("/")[1:] if "." not in part)
