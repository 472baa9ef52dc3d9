"""Weights that are the mean of several, and BatchNorm statistics that are those of these very weights.

Averaging Weights Leads to Wider Optima and Better Generalization (Izmailov et al., 2018), arXiv:1803.05407.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

import data
from data.messages import some, tell
from inference.trained import Trained
from models import layers
from training import metrics, sharding, steps


def average(runs: Iterable[Trained]) -> Trained:
    """Returns the first network with the mean of the parameters and statistics of all, and the latest step.

    Sums are taken in double precision. One network at a time is in memory, where `runs` is a generator.

    Raises:
      ValueError: they are not of one network, or not of the same classes.
    """
    runs = iter(runs)
    first = next(runs)
    number, step = 1, first.step
    total = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), first.variables)
    for run in runs:
        _check_alike(first, run)
        number, step = number + 1, max(step, run.step)
        total = jax.tree.map(lambda a, b: a + np.asarray(b, np.float64), total, run.variables)
    return _with(first, jax.tree.map(lambda leaf: leaf / number, total), step)


def with_statistics_of(run: Trained, source, batches: int) -> Trained:
    """Returns the network with the BatchNorm statistics that its weights have on training images.

    They are the moments of all these images together, as far as those of batches of one size say: the mean
    of the batches' means, and of their second moments, in double precision; no running average
    (arXiv:1803.05407, section 3; arXiv:2105.07576, section 3). Images are cropped, augmented and mixed as in
    the first steps of a training with the run's seed, but never smaller than `input.image_size`, and
    dropout acts: the result is a function of the weights, the config and the number of batches.

    Args:
      run: a network whose config is whole.
      source: its training images, of `data.open_source`.
      batches: of `batch_size` images.
    """
    config, mesh = run.config, run.mesh
    sharding.check_batch_size(config.batch_size, mesh.size)
    images = config.input.copy_and_resolve_references()
    images.update(start_size=0)
    preprocess, mix = data.make_preprocess(images, train=True), data.make_mix(images)
    key = steps.make_key(config.seed, mesh)

    def statistics(variables, number, batch):
        augment_key, dropout_key = steps.keys(key, number)
        seen, _ = steps.inputs(
            augment_key, batch, preprocess, mix, run.module.num_classes, config.label_smoothing
        )
        _, updates = run.module.apply(
            {**variables, "schedule": {"progress": 1.0}},
            seen,
            train=True,
            mutable=["aux_logits", "batch_stats"],
            rngs={"dropout": dropout_key},
        )
        return updates["batch_stats"]

    everywhere = sharding.replicated(mesh)
    step = jax.jit(
        statistics,
        in_shardings=(everywhere, None, sharding.split_batch(mesh)),
        out_shardings=everywhere,
    )
    totals = {}
    train = data.make_train(source, images, config.batch_size, config.seed)
    with layers.keep_batch_statistics():
        for number, batch in enumerate(itertools.islice(train, batches)):
            found = step(run.variables, number, sharding.to_global(batch, mesh))
            for name, value in _moments(jax.device_get(found)).items():
                totals[name] = totals.get(name, 0) + value / batches
    found = {
        name: value - totals[*name[:-1], "mean"] ** 2 if name[-1] == "var" else value
        for name, value in totals.items()
    }
    return _with(run, run.variables | {"batch_stats": unflatten_dict(found)}, run.step)


def _moments(statistics: dict) -> dict[tuple, np.ndarray]:
    """Returns means and, in place of variances, second moments, in double precision."""
    flat = {name: np.asarray(v, np.float64) for name, v in flatten_dict(statistics).items()}
    return {
        name: value + flat[*name[:-1], "mean"] ** 2 if name[-1] == "var" else value
        for name, value in flat.items()
    }


def _with(run: Trained, variables: dict, step: int) -> Trained:
    """Returns the network with other weights, in float32 and on all devices."""
    arrays = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), variables)
    arrays = jax.device_put(arrays, sharding.replicated(run.mesh))
    now = run.state.replace(step=np.int32(step), opt_state={}, **arrays)
    return dataclasses.replace(run, state=now)


def _check_alike(first: Trained, run: Trained) -> None:
    """Raises ValueError where two are not of one network; tells where they saw images in other forms."""
    found = metrics.differences(
        *(
            {section: one.config[section].to_dict() for section in ("model", "input")}
            for one in (first, run)
        )
    )
    found = {name: text for name, text in found.items() if name not in metrics.ONLY_FOR_TRAINING}
    of_model = [name for name in found if name.startswith("model.")]
    wrong = [found[name] for name in sorted(of_model, key=lambda name: name != "model.name")]
    if first.header.get("classes") != run.header.get("classes"):
        wrong.append("the classes are others")
    shapes = (jax.tree.map(np.shape, one.variables) for one in (first, run))
    if wrong or next(shapes) != next(shapes):
        raise ValueError(
            "networks that differ have no average: "
            + (some(wrong) or "the weights have other shapes")
        )
    for text in found.values():
        tell(f"the images of one were others than those of the first: {text}")
