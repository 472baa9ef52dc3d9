"""Evaluates a checkpoint; the last line of standard output is one JSON object.

Data and network are those of the run in --workdir; --config or --config.FIELD set others, and what then
differs from the run is told.

Examples:
  python eval.py --workdir=runs/digits
  python eval.py --workdir=runs/resnet50 --checkpoint=best --crops=10
  python eval.py --workdir=runs/mine --config.input.source=folder:OTHER
"""

if __name__ == "__main__":
    from training import start

    start.early()

import json
import math

from absl import flags

import configs
import data
import inference
import models
from data.messages import tell
from training import command, evaluation, initial, metrics, ranges, sharding, steps

flags.adopt_module_key_flags(command)  # --config and --workdir
CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "best (by top-1), latest, or a step.")
CROPS = flags.DEFINE_integer("crops", 1, "1, the centre; or 10, also the corners, and mirrored.")


def main() -> None:
    config, workdir = command.CONFIG.value, command.workdir()
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
    run = inference.load(workdir, CHECKPOINT.value, config)
    batch_size = sharding.eval_batch_size(config.batch_size, run.mesh.size)
    batches = data.make_eval(source, config.input, batch_size, CROPS.value)
    preprocess = data.make_preprocess(config.input, train=False, crops=CROPS.value)
    eval_step = steps.make_eval_step(run.module, preprocess, run.mesh)
    result = evaluation.evaluate(eval_step, run.state, batches, run.mesh)
    if not math.isfinite(result["loss"]):
        raise FloatingPointError(
            f"the loss is {result['loss']}: the network of step {run.step} answers with no numbers; "
            "choose another --checkpoint"
        )
    print(json.dumps({"step": run.step, **result}))


if __name__ == "__main__":
    command.run(main, configs)
