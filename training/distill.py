"""Learning from the answers of a network that was trained before: Distilling the Knowledge in a Neural
Network (Hinton et al., 2015), arXiv:1503.02531."""

import dataclasses
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data.messages import some, tell
from training import sharding, state
from training.loss import Loss


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A network that is asked of each batch, and does not change."""

    answer: Callable  # `f(variables, images as the student sees them) -> logits [N, classes]`
    variables: dict  # on the devices of the student
    record: dict  # what the header of the student's run says of it
    temperature: float
    weight: float

    def loss(self, of_labels: Loss, answers) -> Loss:
        """Returns the weighted mean of a loss and the divergence from the teacher's logits `answers`.

        Both sides are softened by the temperature. Its square makes up for the gradients, which shrink by
        that (section 2).
        """
        soft = jax.nn.softmax(answers / self.temperature)

        def both(logits, targets):
            found = jax.nn.log_softmax(logits / self.temperature)
            divergence = optax.kl_divergence(found, soft).mean() * self.temperature**2
            return (1 - self.weight) * of_labels(logits, targets) + self.weight * divergence

        return both


def make(
    config, find: Callable, before: dict, train_source, shape, mesh, sizes=()
) -> Teacher | None:
    """Returns the teacher that a config names; None: it names none.

    Args:
      config: whole.
      find: `inference.find`.
      before: header of the run that goes on, {} where there is none.
      train_source: of `data.open_source`.
      shape: (height, width, channels) of an image.
      mesh: of the devices.
      sizes: pixels a side of the images, where they grow.

    Raises:
      ValueError: it is not there, does not know the classes or cannot see the images; or the run that
        goes on has learned from another one.
    """
    name = config.distill.teacher
    known = before.get("teacher") or {}
    if not name:
        if known:
            raise ValueError(
                f"the run learns from {known['from']}: leave distill.teacher as it was"
            )
        return None
    moved = "; the run has learned from it: say where it is now" if known else ""
    try:
        origin = find(name)
    except (OSError, ValueError) as error:
        raise ValueError(f"distill.teacher: {error}{moved}") from error
    record = {"from": name, "step": origin.step, "checksum": _checksum(origin.variables)}
    if before and record["checksum"] != known.get("checksum"):
        was = f"{known['from']}, step {known['step']}" if known else "none"
        raise ValueError(
            f"distill.teacher {name}, step {origin.step}, has other weights than the teacher that the run "
            f"began with ({was}): name that one, as DIR:STEP, or choose another --workdir"
        )
    for size in sorted({shape[0], *sizes}):
        _check_images(name, origin, (size, size, shape[2]), mesh)
    chosen = _classes(name, origin, train_source.class_names)
    scale, offset = _renormalise(config.input, origin.config.input)

    def answer(variables, images):
        if np.any(scale != 1) or np.any(offset != 0):
            images = images * scale + offset
        return origin.module.apply(variables, images, train=False)[:, chosen]

    variables = jax.device_put(origin.variables, sharding.replicated(mesh))
    return Teacher(answer, variables, record, config.distill.temperature, config.distill.weight)


def told(record: dict) -> str:
    """Returns the line of the terminal for a teacher's record."""
    return f"learns from {record['from']}, step {record['step']}"


def _checksum(variables) -> int:
    found = 0
    for leaf in jax.tree.leaves(variables):
        found = zlib.crc32(np.asarray(leaf), found)
    return found


def _check_images(name: str, origin, shape, mesh) -> None:
    """Raises ValueError where the teacher cannot see images of this shape; tells where it saw others."""
    its = origin.config.input
    wanted = f"it saw {its.image_size} pixels a side and {len(its.mean)} channels"
    if shape[-1] != len(its.mean):
        raise ValueError(f"distill.teacher {name}: the images have {shape[-1]} channels; {wanted}")
    try:
        found = state.shapes(origin.module, optax.identity(), shape, mesh).params
        fits = jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, origin.state.params)
    except ValueError:  # nothing is left of the feature maps
        fits = False
    if not fits:
        raise ValueError(
            f"distill.teacher {name} cannot see images of {shape[0]} x {shape[1]}; {wanted}: "
            f"set --config.input.image_size={its.image_size}"
        )
    if shape[0] != its.image_size:
        tell(f"{name}, the teacher, sees images of {shape[0]} x {shape[1]}; in training {wanted}")


def _classes(name: str, origin, class_names: list[str]) -> np.ndarray:
    """Returns which of the teacher's logits are those of the classes, by name."""
    known = origin.header.get("classes")
    if not known:
        raise ValueError(
            f"distill.teacher {name} has not recorded its classes, so what its answers mean is not known"
        )
    missing = [one for one in class_names if one not in known]
    if missing:
        raise ValueError(
            f"distill.teacher {name} does not know the classes {some(missing)}, but {some(known)}"
        )
    return np.array([known.index(one) for one in class_names])


def _renormalise(ours, theirs) -> tuple[np.ndarray, np.ndarray]:
    """Returns (scale, offset) that make of images as the student sees them what the teacher sees."""
    mean, std, its_mean, its_std = (
        np.array(value, np.float64) for value in (ours.mean, ours.std, theirs.mean, theirs.std)
    )
    return np.float32(std / its_std), np.float32((mean - its_mean) / its_std)
