"""The sections of the page: of an evaluation, or of photographs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import data
import inference
import models
from analysis import page, style
from analysis.look import answers, maps, pictures
from inference import trained
from training import sharding, steps

EXAMPLES = 4  # of an evaluation, whose maps are drawn, and half as many mistakes
TOP = 5  # classes of the answer to a photo
CHANNELS = 8  # of each feature map, the strongest
CAM = (
    "Purple places speak for the answer, orange ones against it: its class activation map (CAM), "
    "whose mean and a constant of the class are the score, in logits. "
)
GRAD_CAM = (
    "Bright places speak for a class: Grad-CAM, of the answer and of the class that it is, or could "
    "be, confused with. "
)


def of_evaluation(run: inference.Trained, source, most: int, layer: str = ""):
    """Returns (facts, sections of the page) of the images that a network is judged by.

    Args:
      run: the network.
      source: of `data.open_source`.
      most: photos of a contact sheet.
      layer: see `View`.

    Raises:
      ValueError: see `View` and `answers.collect`.
    """
    names, view = source.class_names, View(run, layer)
    batch_size = sharding.eval_batch_size(min(trained.BATCH_SIZE, len(source)), run.mesh.size)
    preprocess = data.make_preprocess(run.config.input, train=False)
    found = answers.collect(
        steps.make_answer_step(run.module, preprocess, run.mesh),
        run.state,
        data.make_eval(source, run.config.input, batch_size),
        run.mesh,
    )
    counts = answers.confusion(found, len(names))
    facts = {
        "top-1": f"{found.right.mean():.2%} of {len(found.number):,} images",
        "images": f"{run.config.input.source}, {run.config.input.eval_split}",
    }

    worst, nearest = found.worst(most), found.nearest(most)
    mistakes = None
    if len(worst):
        title = "The worst mistakes: wrong answers of the highest probability"
        mistakes = style.png(pictures.sheet(_cards(run, source, found, worst, 1), title))
    title = "Nearest to the decision: two classes about equally likely"
    close = style.png(pictures.sheet(_cards(run, source, found, nearest, 2), title))

    spread = np.linspace(0, len(found.number) - 1, min(EXAMPLES, len(found.number))).astype(int)
    rows = list(dict.fromkeys([*spread, *worst[: EXAMPLES // 2]]))
    truths = [int(truth) for truth in found.truth[rows]]
    photos = run.pixels(data.subset(source, found.number[rows]))
    examples = [
        Example(photo, names[truth], truth, view(photo, truth))
        for photo, truth in zip(photos, truths, strict=True)
    ]

    def files(rows):
        return [source.describe(int(i)) for i in found.number[rows]]

    return facts, [
        page.Section(
            "confusion",
            "Which classes are confused",
            "A row has the images of a class, a column those that got an answer."
            if len(names) <= pictures.MATRIX
            else "The true class stands left, the wrong answer right of the arrow.",
            style.png(pictures.confusion(counts, names)),
        ),
        page.Section(
            "classes",
            "Accuracy of each class",
            "The share of its images that were answered right, the lowest first.",
            style.png(pictures.classes(counts, names)),
        ),
        page.Section(
            "mistakes",
            "The worst mistakes",
            "Wrong answers that the network was surest of. Look for wrong labels, too."
            if len(worst)
            else "There is none: each answer was right.",
            mistakes,
            files(worst),
        ),
        page.Section(
            "margin",
            "Nearest to the decision",
            "The images whose two likeliest classes have the nearest probabilities.",
            close,
            files(nearest),
        ),
        _evidence(view, names, examples, files(rows)),
        _features("features", examples[0]),
        _filters(run),
    ]


def of_photographs(run: inference.Trained, files: list[str], layer: str = ""):
    """Returns (facts, sections of the page) of photographs; what cannot be read is told and left out.

    Args:
      run: the network.
      files: of the photographs.
      layer: see `View`.

    Raises:
      ValueError: see `View`, and where none can be read.
    """
    view, source = View(run, layer), data.Images(files)
    photos = zip(files, run.pixels(source, max_broken_images=len(files)), strict=True)
    seen = {file: (photo, view(photo)) for file, photo in photos if photo is not None}
    names = run.class_names
    facts = {
        file: ", ".join(f"{names[i]} {probability:.1%}" for i, probability in one.top)
        for file, (_, one) in seen.items()
    }
    examples = [
        Example(photo, file.rpartition("/")[2], None, one) for file, (photo, one) in seen.items()
    ]
    return facts, [
        _evidence(view, names, examples, list(seen)),
        *(_features(f"features_{i}", example) for i, example in enumerate(examples, 1)),
        _filters(run),
    ]


class Seen(NamedTuple):
    """What a network makes of a photo."""

    top: list[tuple[int, float]]  # the likeliest classes and their probabilities
    other: int  # the true class, where that is not the answer; else the second likeliest
    activation: np.ndarray | None  # class activation map of the answer, [height, width]
    gradients: np.ndarray  # Grad-CAM of the answer and of `other`, [2, height, width]
    stages: list[pictures.Stage]  # from the image to the answer


class Example(NamedTuple):
    """A photo, and what the network makes of it."""

    photo: np.ndarray
    name: str  # of its class, else of its file
    truth: int | None  # None: that is not known
    seen: Seen


class View:
    """Looks at one photo after another, by one compiled program."""

    def __init__(self, run: inference.Trained, layer: str = ""):
        """Prepares to look.

        Args:
          run: the network.
          layer: the feature map that Grad-CAM is of; default: the last one of more than one place.

        Raises:
          ValueError: there is no such feature map; the message lists those that there are.
        """
        module, shape = run.module, data.eval_shape(run.config.input)
        self._variables = jax.device_put(jax.device_get(run.variables))  # on one device
        shapes = maps.shapes(module, self._variables, shape)
        *_, last = shapes
        if layer and layer not in shapes:
            raise ValueError(f"the network has no feature map {layer!r}, but {', '.join(shapes)}")
        of_several_places = [name for name, (h, w, _) in shapes.items() if h * w > 1]
        self.layer = layer or (of_several_places or [last])[-1]
        self.shape = shapes[self.layer]
        with_activation = self.layer == last and maps.averages(self._variables)
        preprocess = data.make_preprocess(run.config.input, train=False)

        @jax.jit
        def see(variables, photo, truth):
            image = preprocess(photo[None])[0]
            logits, features, backward = models.backward(module, variables, image, self.layer)
            scores, top = jax.lax.top_k(jax.nn.softmax(logits[0]), min(TOP, logits.shape[1]))
            other = jnp.where((truth < 0) | (truth == top[0]), top[1 % len(top)], truth)
            both = jax.nn.one_hot(jnp.stack([top[0], other]), logits.shape[1])
            slopes = jnp.concatenate([backward(one[None]) for one in both])
            gradients = maps.grad_cam(features[self.layer], slopes)
            activation = None
            if with_activation:
                activation = maps.class_activation(features[last], variables, top[:1])[0]
            stages = [strongest(features[name][0].astype(jnp.float32)) for name in shapes]
            return scores, top, other, activation, gradients, stages

        def strongest(map_):
            chosen = jnp.argsort(-map_.mean((0, 1)))[:CHANNELS]
            return chosen, map_[..., chosen]

        self._see, self._shapes = see, shapes

    def __call__(self, photo: np.ndarray, truth: int = -1) -> Seen:
        """Returns what the network makes of a photo, uint8 [height, width, channels]; truth -1: unknown."""
        found = jax.device_get(self._see(self._variables, photo, truth))
        scores, top, other, activation, gradients, stages = found
        return Seen(
            list(zip(map(int, top), map(float, scores), strict=True)),
            int(other),
            activation,
            gradients,
            [
                pictures.Stage(name, shape[2], *stage)
                for (name, shape), stage in zip(self._shapes.items(), stages, strict=True)
            ],
        )


def _cards(run, source, found: answers.Answers, rows, number: int) -> list[pictures.Card]:
    """Returns images, each with the likeliest class, or with the two likeliest."""
    names = source.class_names
    photos = run.pixels(data.subset(source, found.number[rows]))
    cards = []
    for row, photo in zip(rows, photos, strict=True):
        truth, first, second = found.truth[row], found.answer[row], found.second[row]
        probability, margin = found.probability[row], found.margin[row]
        both = [
            pictures.Answer(names[first], probability, first == truth),
            pictures.Answer(names[second], probability - margin, second == truth),
        ]
        cards.append(pictures.Card(photo, names[truth], both[:number]))
    return cards


def _evidence(view: View, names, examples: list[Example], files: list[str]) -> page.Section:
    rows = []
    for photo, name, truth, seen in examples:
        known = truth is not None
        top = [pictures.Answer(names[i], p, i == truth if known else None) for i, p in seen.top]
        classes = (names[seen.top[0][0]], names[seen.other])
        gradients = list(zip(classes, seen.gradients, strict=True))
        heading = f"truth: {name}" if known else name
        rows.append(pictures.Evidence(photo, heading, top, seen.activation, gradients))
    height, width, _ = view.shape
    of = f"{view.layer}, {height} x {width} places"
    return page.Section(
        "evidence",
        "Where the network found its answer",
        (GRAD_CAM if rows[0].activation is None else CAM + GRAD_CAM) + f"The maps are of {of}.",
        style.png(pictures.evidence(rows, f"Where the network found its answer ({of})")),
        files,
    )


def _features(file: str, example: Example) -> page.Section:
    title = f"Feature maps: {pictures.short(example.name)}"
    return page.Section(
        file,
        f"What each stage sees: {example.name}",
        "The feature maps of highest mean, from the image (above) to the answer (below).",
        style.png(pictures.features(example.photo, example.seen.stages, title)),
    )


def _filters(run: inference.Trained) -> page.Section:
    kernel = maps.first_filters(run.module, run.variables, data.input_shape(run.config.input))
    return page.Section(
        "filters",
        "What the first layer looks for",
        "Edges, blobs and colours; grey is a weight of zero.",
        style.png(pictures.filters(kernel)),
    )
