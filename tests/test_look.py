"""A look inside a network: the maps are what the papers say, the pictures show what they promise."""

import re
import subprocess

import browser
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import command, few_digits
from PIL import Image
from test_models import TINY, tiny, variables_of

import data
import inference
import models
import train
from analysis import page, style
from analysis.look import answers, maps, pictures, report, training
from training import metrics, sharding, steps
from training.state import TrainState

FLATTEN = {"alexnet", "vgg", "zfnet"}  # before their linear layers; the others average


@pytest.fixture(scope="module")
def run(few_digits_trained):
    return inference.load(few_digits_trained)


# Maps


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "resnet" else pytest.mark.slow) for n in TINY]
)
def test_grad_cam_is_cam_where_the_network_averages(name):
    module, images = tiny(name)
    variables = variables_of(module, images)
    classes = jnp.array([3, 0, 1, 3])
    shapes = maps.shapes(module, variables, images.shape[1:])
    *_, last = shapes
    assert shapes[last][0] <= images.shape[1] and len(shapes[last]) == 3
    assert maps.averages(variables) == (name not in FLATTEN)

    @jax.jit
    def computed(variables):
        logits, seen, backward = models.backward(module, variables, images, last)
        slopes = backward(jax.nn.one_hot(classes, 5))
        logits = jnp.take_along_axis(logits, classes[:, None], 1)[:, 0]
        grad_cam = maps.grad_cam(seen[last], slopes)
        if name in FLATTEN:
            return logits, grad_cam, (seen[last], slopes)
        return logits, grad_cam, maps.class_activation(seen[last], variables, classes)

    logits, grad_cam, other = computed(variables)
    assert grad_cam.shape == (4, *shapes[last][:2])
    if name not in FLATTEN:
        bias = variables["params"]["fc"]["bias"][classes]
        np.testing.assert_allclose(other.mean((1, 2)) + bias, logits, rtol=1e-3, atol=1e-4)
        expected = np.maximum(other, 0) / (other.shape[1] * other.shape[2])
        np.testing.assert_allclose(grad_cam, expected, rtol=1e-3, atol=1e-5)
        assert (other < 0).any() and (other > 0).any()
        return
    seen, slopes = other  # of small maps, by which the logit is nearly linear
    step = 1e-3 * slopes
    moved = {**variables, "perturbations": {last: step}}
    after = jnp.take_along_axis(jax.jit(module.apply)(moved, images), classes[:, None], 1)[:, 0]
    np.testing.assert_allclose(after - logits, (step * slopes).sum((1, 2, 3)), rtol=0.2, atol=1e-5)
    weighted = (slopes.mean((1, 2), keepdims=True) * seen).sum(-1)
    np.testing.assert_allclose(grad_cam, np.maximum(weighted, 0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "name, first", [("resnet", "conv1"), ("vgg", "conv1_1"), ("zoph_le", "layer1_conv")]
)
def test_the_filters_are_those_of_the_first_convolution(name, first):
    module, images = tiny(name)
    variables = variables_of(module, images)
    kernel = maps.first_filters(module, variables, images.shape[1:])
    np.testing.assert_array_equal(kernel, variables["params"][first]["kernel"])


# Answers


def collected(probabilities, labels, read=None):
    """Returns the answers of a network that knows nothing but `probabilities`, in batches of 4."""
    mesh = sharding.make_mesh(jax.devices()[:1])
    read = np.ones(len(labels)) if read is None else read
    batches = [
        {
            "image": np.arange(i, i + 4, dtype=np.int32),
            "label": labels[i : i + 4],
            "mask": read[i : i + 4],
        }
        for i in range(0, len(labels), 4)
    ]
    return answers.collect(lambda _, batch: probabilities[batch["image"]], None, batches, mesh)


@pytest.fixture(scope="module")
def judged():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 40).astype(np.float32)
    labels = rng.integers(0, 3, 40).astype(np.int32)
    read = np.ones(40)
    read[[5, 17]] = 0
    return probabilities, labels, read, collected(probabilities, labels, read)


def test_the_confusion_matrix_counts_each_image_that_could_be_read(judged):
    probabilities, labels, read, found = judged
    there = read > 0
    assert found.number.tolist() == np.flatnonzero(there).tolist()
    counts = answers.confusion(found, 3)
    np.testing.assert_array_equal(counts.sum(1), np.bincount(labels[there], minlength=3))
    answered = probabilities[there].argmax(1)
    np.testing.assert_array_equal(counts.sum(0), np.bincount(answered, minlength=3))
    assert counts.trace() == (answered == labels[there]).sum() == found.right.sum()
    pairs = answers.most_confused(counts, 100)
    share = counts / counts.sum(1, keepdims=True)
    shares = [share[pair] for pair in pairs]
    assert shares == sorted(shares, reverse=True) and all(truth != other for truth, other in pairs)
    assert len(pairs) == (counts > 0).sum() - (counts.diagonal() > 0).sum()


def test_the_worst_mistakes_are_the_surest_and_the_nearest_images_have_the_least_margin(judged):
    probabilities, labels, read, found = judged
    surest = np.where(read > 0, probabilities.max(1), 0)
    wrong = probabilities.argmax(1) != labels
    expected = sorted(np.flatnonzero(wrong & (read > 0)), key=lambda i: -surest[i])
    assert found.number[found.worst(1000)].tolist() == expected
    assert found.number[found.worst(2)].tolist() == expected[:2]
    two = np.sort(probabilities, 1)[:, :-3:-1]
    margins = np.where(read > 0, two[:, 0] - two[:, 1], 2)
    nearest = found.nearest(5)
    assert found.number[nearest].tolist() == np.argsort(margins)[:5].tolist()
    np.testing.assert_allclose(found.margin[nearest], np.sort(margins)[:5])
    order = np.argsort(-probabilities[found.number], axis=1)
    np.testing.assert_array_equal(found.second, order[:, 1])


def test_an_answer_that_is_no_number_and_a_single_class_are_told():
    labels = np.zeros(4, np.int32)
    with pytest.raises(FloatingPointError, match="choose another --checkpoint"):
        collected(np.full((4, 3), np.nan, np.float32), labels)
    with pytest.raises(ValueError, match="knows one class"):
        collected(np.ones((4, 1), np.float32), labels)
    with pytest.raises(ValueError, match="no image that can be read"):
        collected(np.full((4, 2), 0.5, np.float32), labels, np.zeros(4))


# Pictures


def test_filters_are_scaled_by_their_largest_weight():
    kernel = np.random.default_rng(0).normal(size=(5, 5, 3, 6)) * [0.01, 100, 0, 1, 1, 1]
    images = [axes.images[0].get_array() for axes in pictures.filters(kernel).axes if axes.images]
    assert len(images) == 6
    for i, image in enumerate(images):
        largest = np.abs(kernel[..., i]).max() or 1
        np.testing.assert_allclose(2 * np.asarray(image) - 1, kernel[..., i] / largest, atol=1e-6)


def test_of_a_thousand_classes_there_is_no_matrix_but_the_most_confused_pairs():
    names = [f"class {i}" for i in range(998)] + ["$x^2$ costs $5", "line\nbreak \u72ac"]
    counts = np.diag(np.full(1000, 40))
    counts[998, 999] = 10
    counts[3, 4] = 20
    [axes] = pictures.confusion(counts, names).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["class 3 \u2192 class 4", r"\$x^2\$ costs \$5 " + "\u2192 line break \u72ac"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([20 / 60, 10 / 50])

    figure = pictures.classes(counts, names)
    low, high = figure.axes
    assert len(low.patches) == len(high.patches) == pictures.BARS / 2
    assert low.get_yticklabels()[0].get_text() == "class 3"
    assert low.patches[0].get_width() == pytest.approx(40 / 60)
    assert style.png(figure).startswith(b"\x89PNG")


def test_the_page_holds_its_pictures_and_takes_no_name_for_code():
    png = style.png(pictures.confusion(np.eye(2, dtype=int), ["<b>", "&"]))
    section = page.Section("one", "<script>alert(1)</script>", "a & b", png, ["<img src=x>.jpg"])
    text = page.write("<title>", {"top-1": "<50 %"}, [section, section._replace(picture=None)])
    assert text.count("<img ") == 1 and "data:image/png;base64,iVBOR" in text
    assert "<script" not in text and "<b>" not in text
    assert not re.search(r'(src|href)="(?!data:)', text)


# The command


SECTIONS = ["confusion", "classes", "mistakes", "margin", "evidence", "features", "filters"]


@pytest.mark.slow
def test_an_evaluation_has_all_sections_and_counts_as_eval_does(run):
    source = data.open_source(run.config.input, train=False)
    facts, sections = report.of_evaluation(run, source, most=7)
    assert [section.name for section in sections] == SECTIONS
    assert len(sections[2].items) == len(sections[3].items) == 7
    probabilities = run.predict(list(source.images))
    right = (probabilities.argmax(1) == source.labels).mean()
    assert facts["top-1"] == f"{right:.2%} of 360 images"
    wrong = np.where(probabilities.argmax(1) == source.labels, 0, probabilities.max(1))
    assert sections[2].items[0] == source.describe(int(wrong.argmax()))


@pytest.mark.slow
def test_a_network_of_a_thousand_classes_without_cam_is_looked_into():
    module, images = tiny("vgg", num_classes=1000)
    variables = variables_of(module, images)
    config = few_digits()
    config.input.update(source="synthetic", image_size=32, resize=32)
    config.input.update(mean=(0.5,) * 3, std=(0.2,) * 3)
    config.model = models.fields(module)
    start = TrainState(jnp.zeros((), int), variables["params"], {}, {})
    run = inference.Trained(config, module, start, {}, sharding.make_mesh(jax.devices()[:1]))
    source = data.subset(data.open_source(config.input, train=False), np.arange(70))
    facts, sections = report.of_evaluation(run, source, most=3)
    assert facts["top-1"].endswith("of 70 images")
    assert [section.name for section in sections] == SECTIONS
    evidence = sections[4].text
    assert "Grad-CAM" in evidence and "(CAM)" not in evidence and "stage5, 2 x 2" in evidence


@pytest.mark.slow
def test_the_maps_of_a_photo_are_those_of_its_answer(run):
    photo = data.open_source(run.config.input, train=False).images[3]
    view = report.View(run)
    seen = view(photo)
    probabilities = run.predict([photo])[0]
    first, second = np.argsort(-probabilities)[:2]
    assert [i for i, _ in seen.top][:2] == [first, second] and seen.other == second
    assert seen.top[0][1] == pytest.approx(probabilities[first], rel=1e-4)
    truth = int(np.argsort(-probabilities)[4])
    assert view(photo, truth).other == truth and view(photo, int(first)).other == second
    assert [stage.name for stage in seen.stages] == ["layer1", "layer2", "last"]
    for name, channels, chosen, strongest in seen.stages:
        all_ = models.features(run.module, run.variables, run.preprocess([photo]))[name][0]
        assert all_.shape[-1] == channels
        means = np.asarray(all_.mean((0, 1)))
        np.testing.assert_allclose(means[chosen], np.sort(means)[::-1][: len(chosen)])
        np.testing.assert_allclose(strongest, all_[..., chosen], rtol=1e-3, atol=1e-5)
    places = seen.activation.size
    expected = np.maximum(seen.activation, 0) / places
    np.testing.assert_allclose(seen.gradients[0], expected, rtol=1e-3, atol=1e-6)
    assert report.View(run, "layer1")(photo).gradients.shape == (2, 8, 8)
    with pytest.raises(ValueError, match="no feature map 'conv9', but layer1, layer2, last"):
        report.View(run, "conv9")


@pytest.mark.slow
def test_training_images_are_those_that_the_step_hands_to_the_network():
    config = few_digits()
    config.label_smoothing = 0.2
    config.input.update({"crop": "pad", "cutmix_alpha": 1.0, "mixup_prob": 0.5})
    photos, labels = training.seen(config, 12)
    assert photos.shape == (12, 8, 8, 1) and len(labels) == 12

    class Images:
        """Leaves behind what it sees."""

        num_classes = 10

        def apply(self, variables, images, train, mutable, rngs):
            return jnp.zeros((len(images), 10)), {"batch_stats": images}

    mesh, tx = sharding.make_mesh(jax.devices()[:1]), optax.sgd(1.0)
    step = steps.make_train_step(
        Images(),
        tx,
        data.make_preprocess(config.input, train=True),
        mesh,
        label_smoothing=0.2,
        aux_weight=0.0,
        total_steps=3,
        mix=data.make_mix(config.input),
    )
    source = data.open_source(config.input, train=True)
    batches = data.make_train(source, config.input, config.batch_size, config.seed)
    now = TrainState(jnp.zeros((), jnp.int32), {}, {}, tx.init({}))
    for row in range(3):
        batch = next(batches)
        now, _ = step(now, sharding.to_global(batch, mesh), steps.make_key(config.seed, mesh))
        images = np.asarray(now.batch_stats) * config.input.std + config.input.mean
        shown = photos[5 * row : 5 * row + 5]
        levels = 255 * images.clip(0, 1)[: len(shown)]
        np.testing.assert_allclose(shown, levels, atol=0.51)
        for label, number in zip(labels[5 * row :], batch["label"][:5], strict=False):
            assert str(number) in label
            assert sum(label.values()) == pytest.approx(0.8 + 0.2 / 10 * len(label), abs=1e-5)
    assert np.array_equal(training.seen(config, 2, start_step=2)[0], photos[10:])
    figure = training.sheet(photos, labels)
    assert style.png(figure).startswith(b"\x89PNG")
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert written[0].split("\n")[0].split() == [
        next(iter(labels[0])),
        f"{next(iter(labels[0].values())):.0%}",
    ]


@pytest.mark.slow
def test_each_start_of_a_run_logs_training_images(tmp_path, monkeypatch):
    drawn, logged = [], []
    monkeypatch.setattr(training, "drawn", lambda _, most, step: drawn.append((most, step)))
    monkeypatch.setattr(metrics.Writer, "picture", lambda _, *what: logged.append(what))
    config = few_digits()
    config.log_images = 7
    for config.total_steps in (2, 3, 3):
        train.train(config, tmp_path)
    assert drawn == [(7, 0), (7, 2)]  # a run that has ended draws nothing
    assert logged == [(0, "train/images", None), (2, "train/images", None)]


def test_a_size_that_a_run_would_decide_is_asked_for():
    config = few_digits()
    config.input.image_size = 0
    with pytest.raises(ValueError, match="image_size 0 .*give a size"):
        training.seen(config, 5)


def look(*arguments):
    return subprocess.run(**command("scripts/look.py", *arguments))


@pytest.mark.slow
def test_the_page_opens_in_a_browser(few_digits_trained, tmp_path):
    folder = tmp_path / "look"
    done = look(f"--workdir={few_digits_trained}", f"--output={folder}", "--most=6")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(folder / "index.html")
    assert {path.stem for path in folder.glob("*.png")} == set(SECTIONS)
    opens_in_a_browser(folder / "index.html", tmp_path, len(SECTIONS))


def opens_in_a_browser(file, tmp_path, number):
    """Checks in Chromium that a page, moved elsewhere, shows that number of images without an error."""
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "page.html"
    count = (
        "addEventListener('load', () => {"
        " const shown = [...document.images].filter(i => i.complete && i.naturalWidth > 100);"
        " document.title = `images ${shown.length} of ${document.images.length}`; })"
    )
    text = file.read_text("utf-8").replace("</head>", f"<script>{count}</script></head>")
    copy.write_text(text, "utf-8")
    shown, picture = browser.opened(copy, copy.parent, "--disable-gpu")
    assert f"<title>images {number} of {number}</title>" in shown
    with Image.open(picture) as image:
        assert len(image.convert("RGB").resize((300, 1000)).getcolors(300_000)) > 1000


@pytest.mark.slow
def test_training_images_are_drawn_without_a_run(tmp_path):
    done = look("--config=configs/digits.py", "--augmented", f"--output={tmp_path}", "--most=5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "augmented.png")]
    assert (tmp_path / "augmented.png").exists()


@pytest.mark.slow
def test_photos_are_looked_at_and_a_broken_one_is_passed_over(few_digits_trained, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 14, 3), np.uint8)
    for name in ("a & b.png", "c.png", "d.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    where = [f"--workdir={few_digits_trained}", f"--output={tmp_path / 'look'}"]
    done = look(*where, tmp_path, "--most=3")
    assert done.returncode == 0, done.stderr
    assert "broken.jpg" in done.stderr and "of 4 photos the first 3" in done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if ".png: " in line] == lines[2:4] and len(lines) == 5
    names = {"evidence", "features_1", "features_2", "filters"}
    assert {path.stem for path in (tmp_path / "look").glob("*.png")} == {
        f"photos_{name}" for name in names
    }
    opens_in_a_browser(tmp_path / "look" / "photos.html", tmp_path, len(names))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--workdir=nowhere"], "nowhere/checkpoints: train first"),
        (["nowhere.jpg"], "there is no image and no folder nowhere.jpg"),
        (["README.md"], "there are no others"),
    ],
)
def test_a_mistake_of_the_command_is_told_in_one_line(arguments, message, few_digits_trained):
    done = look(f"--workdir={few_digits_trained}", *arguments)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert "Traceback" not in done.stderr
