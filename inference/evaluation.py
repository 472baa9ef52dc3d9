"""A trained network and the images that it is judged by."""

from collections.abc import Callable

from ml_collections import ConfigDict

import data
import models
from data.messages import tell
from inference import trained
from training import evaluation, initial, metrics, ranges, sharding, steps


def open_evaluation(config: ConfigDict, workdir, checkpoint: str = "latest", raw: bool = False):
    """Returns (the network of a run, the source of its evaluation images); what differs from the run is told.

    Args:
      config: whole; of the run, or changed by flags.
      workdir: see `inference.load`.
      checkpoint: see `inference.load`.
      raw: see `inference.load`.

    Raises:
      FileNotFoundError: there is no checkpoint, or there are no images.
      ValueError: a mistake in the config, the images are of other classes, and see `inference.load`.
    """
    models.resolve(config.model)
    ranges.check(config)
    header = metrics.newest_header(metrics.read_lines(workdir))
    if not header:
        tell(f"{workdir} does not say what config its run had: nothing is compared")
    initial.fill(config, header, None)
    if header and "classes" not in header:
        tell("the run has not recorded its classes: labels are those of the sorted names")
    for difference in metrics.differences_that_count(header, config.to_dict()):
        tell(f"other than the run: {difference}")

    source = data.open_source(config.input, train=False, class_names=header.get("classes"))
    if len(source.class_names) != config.model.num_classes:
        raise ValueError(
            f"the images are of {len(source.class_names)} classes, the network knows "
            f"{config.model.num_classes}: these are not the data that it was trained on"
        )
    return trained.load(workdir, checkpoint, config, raw), source


def evaluator(run: trained.Trained, source, crops: int = 1) -> Callable:
    """Returns `f(state) -> figures`, see `training.evaluation.evaluate`, for weights of the network of `run`.

    Args:
      run: a network whose config is whole.
      source: of `data.open_source`.
      crops: 1, the centre; or 10.
    """
    batch_size = sharding.eval_batch_size(run.config.batch_size, run.mesh.size)
    batches = data.make_eval(source, run.config.input, batch_size, crops)
    preprocess = data.make_preprocess(run.config.input, train=False, crops=crops)
    step = steps.make_eval_step(run.module, preprocess, run.mesh)
    return lambda state: evaluation.evaluate(step, state, batches, run.mesh)
