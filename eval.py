"""Evaluates a checkpoint; the last line of standard output is one JSON object.

Examples:
  python eval.py --config=configs/digits.py
  python eval.py --config=configs/resnet50.py --workdir=runs/resnet50 --checkpoint=best --crops=10
"""

import json

import optax
from absl import flags

import data
import models
from training import checkpoints, command, evaluation, sharding, state, steps

flags.adopt_module_key_flags(command)  # --config and --workdir
CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "best (by top-1), latest, or a step.")
CROPS = flags.DEFINE_integer("crops", 1, "1, the centre; or 10, also the corners, and mirrored.")


def main() -> None:
    config = command.CONFIG.value
    mesh = sharding.make_mesh()
    model = models.create(**config.model)
    source = data.open_source(config.input, train=False)
    batch_size = sharding.eval_batch_size(config.batch_size, mesh.size)
    batches = data.make_eval(source, config.input, batch_size, CROPS.value)

    saved = checkpoints.Checkpoints(command.workdir(), read_only=True)
    shape = data.input_shape(config.input)
    like = state.create(model, optax.identity(), shape, config.seed, mesh)  # no optimizer state
    train_state = saved.restore(CHECKPOINT.value, like)

    preprocess = data.make_preprocess(config.input, train=False, crops=CROPS.value)
    eval_step = steps.make_eval_step(model, preprocess, mesh)
    result = evaluation.evaluate(eval_step, train_state, batches, mesh)
    print(json.dumps({"step": int(train_state.step), **result}))


if __name__ == "__main__":
    command.run(main)
