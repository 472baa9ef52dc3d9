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
import inference
from training import command

flags.adopt_module_key_flags(command)  # --config and --workdir
CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "best (by top-1), latest, or a step.")
RAW = flags.DEFINE_bool("raw", False, "The weights themselves, not their moving average.")
CROPS = flags.DEFINE_integer("crops", 1, "1, the centre; or 10, also the corners, and mirrored.")


def main() -> None:
    config = command.CONFIG.value
    run, source = inference.open_evaluation(config, command.workdir(), CHECKPOINT.value, RAW.value)
    result = inference.evaluator(run, source, CROPS.value)(run.state)
    if not math.isfinite(result["loss"]):
        raise FloatingPointError(
            f"the loss is {result['loss']}: the network of step {run.step} answers with no numbers; "
            "choose another --checkpoint"
        )
    print(json.dumps({"step": run.step, **result}))


if __name__ == "__main__":
    command.run(main, configs)
