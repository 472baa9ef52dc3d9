"""Evaluates a checkpoint; the last line of standard output is one JSON object.

Examples:
  python eval.py --config=configs/digits.py
  python eval.py --config=configs/resnet50.py --workdir=runs/resnet50 --checkpoint=best --crops=10
"""

import json
import pathlib

from absl import flags
from ml_collections import config_flags

import data
import models
from training import checkpoints, command, evaluation, optimizer, sharding, state, steps

CONFIG = config_flags.DEFINE_config_file("config", "configs/digits.py", "The experiment.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where train.py put it; default: runs/NAME-OF-CONFIG."
)
CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "best (by top-1), latest, or a step.")
CROPS = flags.DEFINE_integer("crops", 1, "1, the centre; or 10, also the corners, and mirrored.")


def main() -> None:
    config = CONFIG.value
    workdir = (
        WORKDIR.value or f"runs/{pathlib.Path(config_flags.get_config_filename('config')).stem}"
    )
    mesh = sharding.make_mesh()
    model = models.create(**config.model)
    source = data.open_source(config.input, train=False)
    batch_size = sharding.eval_batch_size(config.batch_size)
    batches = data.make_eval(source, config.input, batch_size, CROPS.value)

    saved = checkpoints.Checkpoints(workdir, read_only=True)
    tx, _ = optimizer.make(config.optimizer, config.batch_size, 1, 1)
    input_shape = (config.input.image_size, config.input.image_size, len(config.input.mean))
    like = state.create(model, tx, input_shape, config.seed, sharding.replicated(mesh))
    train_state = saved.restore(CHECKPOINT.value, like)

    preprocess = data.make_preprocess(config.input, train=False, crops=CROPS.value)
    eval_step = steps.make_eval_step(model, preprocess, mesh)
    result = evaluation.evaluate(eval_step, train_state, batches, mesh)
    print(json.dumps({"step": int(train_state.step), **result}))


if __name__ == "__main__":
    command.run(main)
