"""What flows through the blocks of a trained ResNet or of its plain twin, and what one block is worth.

For the networks of basic blocks: 18 and 34 layers, and those for CIFAR.
"""

import re
from functools import partial
from typing import NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import data
import models
from analysis import style
from models import resnet
from training import checkpoints, sharding, state

IMAGES = 1000  # to judge a network without a block
BATCH = 128  # images for gradients and responses


class Images(NamedTuple):
    """Some images as the network sees them: normalised, without augmentation."""

    images: jax.Array  # float32 [N, height, width, channels]
    labels: jax.Array  # int32 [N]


def look_inside(config, workdir: str, training: Images, test: Images) -> dict:
    """Measures a trained network.

    Args:
      config: of the run.
      workdir: of the run; where it kept a checkpoint of the middle, gradients are taken there, too.
      training: images for gradients and responses.
      test: images to judge it without a block.

    Returns:
      "gradients": {"at the start": norms, ...}, "responses", "branches", "images", "top1" of that number of test
      images, "without": top-1 without each block.
    """
    model = models.create(**(config.model.to_dict() | {"scan": False}))
    mesh = sharding.make_mesh()
    shape = data.input_shape(config.input)
    start = state.create(model, optax.identity(), shape, config.seed, mesh)
    saved = checkpoints.Checkpoints(workdir, read_only=True)
    saved.network = model, shape
    end = saved.restore("latest", start)
    last = int(end.step)
    middle = min(saved.steps(), key=lambda step: abs(step - last / 2))
    moments = {"at the start": start}
    if middle != last:
        moments[f"at step {middle:,}"] = saved.restore(str(middle), start)
    moments[f"at step {last:,}"] = end
    saved.close()
    networks = {
        when: {"params": at.params, "batch_stats": at.batch_stats} for when, at in moments.items()
    }
    trained = networks[f"at step {last:,}"]
    sizes = responses(model, trained, training.images)
    top1, *without = top1_without(model, trained, test)
    return {
        "gradients": {when: gradient_norms(model, v, training) for when, v in networks.items()},
        "responses": sizes.layers,
        "branches": sizes.branches,
        "images": len(test.labels),
        "top1": top1,
        "without": without,
    }


def sample(config, train: bool, count: int, seed: int = 0) -> Images:
    """Draws `count` images, or all where there are fewer, of the training or the evaluation split.

    Args:
      config: the `input` section of a config.
      train: which of the two splits.
      count: how many.
      seed: of the draw.
    """
    source = data.open_source(config, train)
    chosen = np.random.default_rng(seed).permutation(len(source))[:count]
    [batch] = data.make_eval(data.subset(source, chosen), config, len(chosen))
    (images,) = data.make_preprocess(config, train=False)(batch["image"])
    kept = batch["mask"] > 0  # what could be decoded
    return Images(images[kept], jnp.asarray(batch["label"][kept]))


def gradient_norms(model, variables, batch: Images) -> list[float]:
    """Returns the norm of the loss's gradient for each 3x3 layer's kernel, from the input on.

    BatchNorm uses the statistics of the batch, as in training.
    """
    return [float(norm) for norm in _gradient_norms(model, variables, batch)]


@partial(jax.jit, static_argnums=0)
def _gradient_norms(model, variables, batch):
    def loss(params):
        changed = variables | {"params": params}
        logits, _ = model.apply(changed, batch.images, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels).mean()

    gradients = jax.grad(loss)(variables["params"])
    return [jnp.linalg.norm(g.ravel()) for g in _along(gradients, "conv[0-9]/kernel")]


class Responses(NamedTuple):
    """How large the signals are."""

    layers: list[float]  # standard deviation of each 3x3 layer, after BN, before the sum and ReLU
    branches: list[float]  # of each block: rms of the branch's output / rms of the shortcut's


def responses(model, variables, images) -> Responses:
    """Measures the responses of the layers, as figure 7 of arXiv:1512.03385 does, in evaluation mode.

    Args:
      model: a network of models/resnet.py; a plain one has no `branches`.
      variables: its parameters and statistics.
      images: [N, height, width, channels].
    """
    sizes = jax.device_get(_responses(model, variables, images))
    return Responses(*([float(value) for value in values] for values in sizes))


@partial(jax.jit, static_argnums=0)
def _responses(model, variables, images):
    def is_response(module, method):
        return "BatchNorm" in type(module).__name__ or isinstance(module, resnet.Shortcut)

    _, found = model.apply(
        variables, images, capture_intermediates=is_response, mutable=["intermediates"]
    )
    layers = _along(found["intermediates"], "bn[0-9]/__call__")
    shortcuts = _along(found["intermediates"], "shortcut/__call__")
    branches = _along(found["intermediates"], "bn2/__call__") if shortcuts else []
    ratios = [_rms(y) / _rms(x) for y, x in zip(branches, shortcuts, strict=True)]
    return [jnp.std(layer) for layer in layers], ratios


def top1_without(model, variables, batch: Images) -> list[float]:
    """Returns top-1 of the whole network, then without its first block, without its second, ...

    What stays in the block's place is the shortcut without parameters (option A), in plain networks,
    too. Residual networks lose little by it (arXiv:1605.06431, section 4.1).
    """
    blocks = len(_blocks(variables["params"]))
    return [float(_top1(model, variables, batch, removed)) for removed in range(-1, blocks)]


@partial(jax.jit, static_argnums=0)
def _top1(model, variables, batch, removed):
    """Returns top-1 without the block of the number `removed`; -1: of the whole network."""

    blocks = _blocks(variables["params"])

    def keep_or_skip(call, args, kwargs, context):
        block = context.module
        y = call(*args, **kwargs)
        if not isinstance(block, resnet.BasicBlock) or context.method_name != "__call__":
            return y
        skipped = resnet.shortcut_a(args[0], block.width, block.stride)
        return jnp.where(removed == blocks.index(block.path), skipped, y)

    with nn.intercept_methods(keep_or_skip):
        logits = model.apply(variables, batch.images)
    return jnp.mean(jnp.argmax(logits, -1) == batch.labels)


def _blocks(params) -> list[tuple[str, str]]:
    """Returns the paths of the blocks, from the input to the output."""
    stages = sorted(name for name in params if name.startswith("stage"))
    return [(stage, f"block{i + 1}") for stage in stages for i in range(len(params[stage]))]


def _along(tree, pattern: str) -> list:
    """Returns the stem's and the blocks' leaves that fit, from the input to the output."""
    flat = flax.traverse_util.flatten_dict(tree, sep="/")
    fitting = [path for path in flat if re.fullmatch(f"(stage[0-9]/block[0-9]+/)?{pattern}", path)]
    numbers = {path: [int(n) for n in re.findall("[0-9]+", path)] for path in fitting}
    leaves = [flat[path] for path in sorted(fitting, key=lambda p: (len(numbers[p]), numbers[p]))]
    return [leaf[0] if isinstance(leaf, tuple) else leaf for leaf in leaves]  # sown once


def _rms(x):
    return jnp.sqrt(jnp.mean(jnp.square(x)))


def picture(networks: dict[str, dict]) -> bytes:
    """Draws what flows through plain and residual networks.

    Args:
      networks: name -> what `look_inside` measured, "residual" and "depth"; the deepest ones are drawn bold.

    Returns:
      The picture, as a PNG.
    """
    figure = Figure(figsize=(13, 7), layout="constrained")
    panels = figure.subplots(2, 3)
    moments = list(next(iter(networks.values()))["gradients"])[:3]
    deepest = max(found["depth"] for found in networks.values())
    for label, found in networks.items():
        look = {
            "color": "C0" if found["residual"] else "C3",
            "linewidth": 1.8 if found["depth"] == deepest else 1.0,
            "alpha": 1.0 if found["depth"] == deepest else 0.5,
            "label": label,
        }
        for axes, when in zip(panels[0], moments, strict=False):
            norms = found["gradients"][when]
            axes.plot(range(1, len(norms) + 1), norms, **look)
        panels[1][0].plot(range(1, len(found["responses"]) + 1), found["responses"], **look)
        if found["branches"]:
            panels[1][1].plot(
                range(1, len(found["branches"]) + 1), found["branches"], "o-", markersize=3, **look
            )
        lost = [100 * (found["top1"] - top1) for top1 in found["without"]]
        panels[1][2].plot(range(1, len(lost) + 1), lost, "o-", markersize=3, **look)
    for axes, when in zip(panels[0], moments, strict=False):
        axes.sharey(panels[0][0])
        axes.set(title=f"gradient norm by layer, {when}", xlabel="layer", yscale="log")
    panels[1][0].set(title="response of each layer (std after BN)", xlabel="layer", ylim=(0, None))
    panels[1][1].set(title="size of the branch / of the shortcut", xlabel="block", ylim=(0, None))
    panels[1][2].set(title="top-1 lost without the block (points)", xlabel="block")
    for axes in panels.flat:
        style.clean(axes)
    panels[0][0].legend(frameon=False, fontsize="small")
    return style.png(figure)
