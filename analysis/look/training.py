"""Training images as the network sees them: cropped, augmented and mixed, with their labels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import data
from analysis.look import pictures
from training import ranges, steps

COLUMNS = 5  # images of a step


def seen(config, most: int, start_step: int = 0):
    """Returns (photos uint8 [n, H, W, C], labels) of the first images of some steps of a run.

    Mean and standard deviation are put back. A label is {class: its part}, without those that get no
    more than what smoothing gives to all.

    Args:
      config: of the run.
      most: photos, in all.
      start_step: the first of the steps, from 0.

    Raises:
      ValueError, FileNotFoundError: a mistake in the config, or data that are not there.
    """
    ranges.check(config)
    if not config.input.image_size:
        raise ValueError(
            "input.image_size 0 is that of what a run starts from: give a size, or --workdir of the run"
        )
    source = data.open_source(config.input, train=True)
    names = data.readable(source.class_names)
    preprocess, mix = data.make_preprocess(config.input, train=True), data.make_mix(config.input)

    @jax.jit
    def augment(step, batch):
        key, _ = steps.keys(jax.random.key(config.seed), step)
        images, targets = steps.inputs(
            key, batch, preprocess, mix, len(names), config.label_smoothing
        )
        images = images * jnp.array(config.input.std) + jnp.array(config.input.mean)
        return jnp.clip(jnp.round(255 * images), 0, 255).astype(jnp.uint8), targets

    batches = data.make_train(source, config.input, config.batch_size, config.seed, start_step)
    smallest = config.label_smoothing / len(names) + 1e-3
    photos, labels = [], []
    few = itertools.islice(batches, -(-most // COLUMNS))
    for step, batch in enumerate(few, start_step):
        images, targets = augment(step, batch)
        photos.extend(np.asarray(images[:COLUMNS]))
        for target in np.asarray(targets[:COLUMNS]):
            labels.append(
                {names[i]: target[i] for i in np.argsort(-target) if target[i] > smallest}
            )
    return np.stack(photos[:most]), labels[:most]


def drawn(config, most: int, start_step: int = 0) -> np.ndarray:
    """Returns the sheet of what `seen` returns as uint8 [height, width, 3]."""
    canvas = FigureCanvasAgg(sheet(*seen(config, most, start_step)))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def sheet(photos: np.ndarray, labels: list[dict[str, float]]) -> Figure:
    """Draws photos, a step a row, each above its label."""
    rows, height = -(-len(photos) // COLUMNS), pictures.WIDTH / COLUMNS + 0.35
    figure = Figure(figsize=(pictures.WIDTH, 0.5 + height * rows), layout="constrained")
    figure.suptitle("Training images as the network sees them, a step a row")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, photo, label in zip(grid, photos, labels, strict=False):
        axes.imshow(pictures.pixels(photo), cmap="gray", vmin=0, vmax=255)
        parts = [f"{pictures.short(name)} {part:.0%}" for name, part in label.items()]
        axes.text(0.5, -0.03, "\n".join(parts), transform=axes.transAxes, ha="center", va="top")
    return figure
