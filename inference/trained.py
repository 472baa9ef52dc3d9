"""The network of a run, and what it says of images."""

import contextlib
import dataclasses
import difflib
import functools
from collections.abc import Iterable, Iterator

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

import data
import models
from training import checkpoints, command, files, metrics, sharding, sizes, state, steps

BATCH_SIZE = 32  # images a step: with more, memory grows, and speed on a CPU does not


def load(
    workdir, checkpoint: str = "latest", config: ConfigDict | None = None, raw: bool = False
) -> "Trained":
    """Returns the network of a run as one of its checkpoints has it.

    Args:
      workdir: folder or bucket of a run of train.py, or of scripts/import_torch.py.
      checkpoint: "latest", "best" (by top-1), or a step.
      config: in place of that of the run.
      raw: the weights themselves, where the run keeps their average (`ema_decay`), which is the default.

    Raises:
      FileNotFoundError: there is no such folder, no checkpoint, or not that one.
      ValueError: the run has recorded no config, the network is another, or the checkpoint is damaged.
    """
    header = metrics.newest_header(metrics.read_lines(workdir))
    config = config or command.config_of(header)
    if config is None:
        _check_folder(workdir)
        raise ValueError(
            f"{workdir} holds no run: train.py and scripts/import_torch.py make one, with its config"
        )
    mesh = sharding.make_mesh()
    module = models.create(**config.model)
    shape = data.input_shape(config.input)
    sizes.check(module, shape, (), data.eval_shape(config.input)[0], mesh)
    like = state.shapes(module, optax.identity(), shape, mesh)
    with contextlib.closing(checkpoints.Checkpoints(workdir, read_only=True)) as saved:
        saved.network, saved.raw = (module, shape), raw
        restored = saved.restore(checkpoint, like)
    return Trained(config, module, restored, header, mesh)


def _check_folder(workdir) -> None:
    """Raises FileNotFoundError where there is no such folder; the message names the nearest beside it."""
    folder = files.absolute(workdir)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {workdir}{_near(folder)}: give that of a run; "
            "scripts/import_torch.py makes one of published weights"
        )


def _near(path) -> str:
    """Returns which folder beside may be meant, for a message."""
    beside = path.parent.iterdir() if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, [one.name for one in beside], n=1)
    return f" (did you mean {path.parent / near[0]}?)" if near else ""


def find(what: str) -> "Trained":
    """Returns the network that `what` names.

    Args:
      what: a run, DIR (its latest checkpoint) or DIR:CHECKPOINT, see `load`; or PyTorch's weights,
        LIBRARY/MODEL:FILE, see `models.load_torch`, or published ones, LIBRARY/MODEL or LIBRARY/MODEL.TAG,
        which are downloaded, see `models.torch.download`; their config has what answers need.

    Raises:
      FileNotFoundError, ValueError: there is no such thing, or it cannot be read.
    """
    workdir, _, checkpoint = what.rpartition(":")
    for folder, which in ((what, "latest"), (workdir, checkpoint)):
        if folder and files.absolute(folder).is_dir():
            return load(folder, which)
    if files.in_bucket(what):
        raise FileNotFoundError(f"there is no run {what}")
    from models.torch import weights  # a run needs none of it

    name, _, file = what.partition(":")
    path = files.absolute(what)
    if path.is_file():
        raise ValueError(f"{what}: say whose weights these are, as in torchvision/resnet50:{what}")
    try:
        weights.describe(name)
    except ValueError as error:
        raise ValueError(
            f"{what} is no folder of a run{_near(path)}, and no network of PyTorch: {error}"
        ) from error
    return of_pytorch(name, file)


def of_pytorch(name: str, file=None) -> "Trained":
    """Returns a network with PyTorch's weights; its config has what answers need.

    Args:
      name: LIBRARY/MODEL or LIBRARY/MODEL.TAG, see `models.load_torch`.
      file: of the weights; default: the published ones, see `models.torch.download`.

    Raises:
      OSError, ValueError: there are no such weights, or they cannot be read.
    """
    from models.torch import download, published, weights
    from models.torch import files as torch_files

    if not file:
        file, name = download.fetch(name), published.find(name).name  # with the tag
    module, variables = models.load_torch(name, torch_files.read(file))
    images = weights.preprocessing(name) | {"threads": 0}
    config = ConfigDict({"model": models.fields(module), "input": images})
    mesh = sharding.make_mesh()
    variables = jax.device_put(variables, sharding.replicated(mesh))
    step = np.zeros((), np.int32)
    start = state.TrainState(step, variables["params"], variables.get("batch_stats", {}), {})
    header = {"weights": name} | classes_of(name, file, module.num_classes)
    return Trained(config, module, start, header, mesh)


def classes_of(name: str, file, num_classes: int) -> dict[str, list[str]]:
    """Returns what the header of a run is to say of the classes of PyTorch's weights, where they are known.

    1,000 are taken for ImageNet's. Others are known of a file that is the published one.
    """
    from models.torch import download, published

    if num_classes == len(data.CLASSES["imagenet"]):
        return {"classes": data.CLASSES["imagenet"]}
    if download.is_published(name, file):
        classes = data.CLASSES.get(published.find(name).data, [])
        return {"classes": classes} if len(classes) == num_classes else {}
    return {}


@dataclasses.dataclass
class Trained:
    """A network with its weights, and all that its answers depend on."""

    config: ConfigDict
    module: nn.Module  # see `models.create`
    state: state.TrainState  # without that of an optimizer
    header: dict  # of the run, see `metrics.newest_header`
    mesh: Mesh

    def __repr__(self) -> str:
        """One line: the weights would fill pages of a notebook."""
        classes = self.config.model.num_classes
        return f"<Trained {self.config.model.name}, step {self.step}, {classes} classes>"

    @property
    def variables(self) -> dict:
        """Parameters and BatchNorm statistics, for `module.apply` and `models.features`."""
        return {"params": self.state.params, "batch_stats": self.state.batch_stats}

    @property
    def step(self) -> int:
        """The step of the checkpoint."""
        return int(self.state.step)

    @functools.cached_property
    def class_names(self) -> list[str]:
        """The name of each logit, "tench" for n01440764; its number, where the run recorded no names."""
        numbers = map(str, range(self.config.model.num_classes))
        return data.readable(self.header.get("classes") or list(numbers))

    def preprocess(self, images: Iterable) -> jax.Array:
        """Returns images as the network sees them, float32 [N, eval_size, eval_size, 3 or 1].

        Args:
          images: see `predict`.
        """
        pixels = np.stack(list(self.pixels(data.Images(images))))
        return data.make_preprocess(self.config.input, train=False)(pixels)[0]

    def pixels(self, source, max_broken_images: int = 0) -> Iterator[np.ndarray | None]:
        """Yields each image in turn as the network sees it, but uint8; for the arguments see `answers`."""
        left = len(source)
        for batch in data.make_eval(source, self._input(max_broken_images), BATCH_SIZE):
            for image, is_read in zip(batch["image"][:left], batch["mask"], strict=False):
                yield image if is_read else None
            left -= len(batch["mask"])

    def predict(self, images: Iterable, crops: int = 1) -> np.ndarray:
        """Returns the probability of each class, float32 [N, num_classes].

        Args:
          images: paths, encoded files (bytes), Pillow's images, or uint8 arrays [height, width] or
            [height, width, 3 or 1], of any size.
          crops: 1, the centre; or 10, the mean of whose probabilities counts.

        Raises:
          ValueError, OSError: an image cannot be read.
        """
        found = list(self.answers(data.Images(images), crops))
        return np.array(found, np.float32).reshape(-1, self.config.model.num_classes)

    def answers(
        self, source, crops: int = 1, max_broken_images: int = 0
    ) -> Iterator[np.ndarray | None]:
        """Yields the probabilities [num_classes] of each image in turn, in bounded memory.

        Args:
          source: of images, see data/sources/.
          crops: see `predict`.
          max_broken_images: this number of images that cannot be read are told, and None comes for them.
        """
        if not len(source):
            return
        number = sharding.eval_batch_size(min(BATCH_SIZE, len(source)), self.mesh.size)
        batches = data.make_eval(source, self._input(max_broken_images), number, crops)
        preprocess = data.make_preprocess(self.config.input, train=False, crops=crops)
        step = steps.make_answer_step(self.module, preprocess, self.mesh)
        left = len(source)
        for batch in batches:
            answers = np.asarray(step(self.state, sharding.to_global(batch, self.mesh)))
            for answer, is_read in zip(answers[:left], batch["mask"], strict=False):
                yield answer if is_read else None
            left -= len(answers)

    def _input(self, max_broken_images: int = 0) -> ConfigDict:
        """Returns the section `input` for images that are read once."""
        config = self.config.input.copy_and_resolve_references()
        config.update(in_memory=False, max_broken_images=max_broken_images)
        return config

    def top(self, probabilities: np.ndarray, number: int = 5) -> list[tuple[str, float]]:
        """Returns the likeliest classes, (name, probability) each, of one image."""
        order = np.argsort(-probabilities, kind="stable")[:number]
        return [(self.class_names[i], float(probabilities[i])) for i in order]
