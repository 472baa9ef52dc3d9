"""Exact evaluation: each image counts once."""

import jax
from tqdm import tqdm

from training import ema
from training.sharding import to_global


def evaluate_sets(eval_step, state, sets: dict, mesh) -> dict[str, dict[str, float]]:
    """Returns name of a set -> its figures, see `evaluate`; with a moving average those of the average.

    Those of the weights themselves on the set "eval" are then "eval_raw".

    Args:
      eval_step: from `steps.make_eval_step`.
      state: a TrainState.
      sets: name -> batches, from `data.make_eval`.
      mesh: of the devices.
    """
    judged = ema.judged(state)
    found = {name: evaluate(eval_step, judged, batches, mesh) for name, batches in sets.items()}
    if judged is not state:
        found["eval_raw"] = evaluate(eval_step, state, sets["eval"], mesh)
    return found


def evaluate(eval_step, state, batches, mesh) -> dict[str, float]:
    """Returns mean loss, top1 and top5 (fractions) and images (the number counted).

    Sums are taken in double precision on the host, so the figures do not depend on the batch size
    beyond float32 rounding within a batch.

    Raises:
      ValueError: no image could be counted.
    """
    hidden = None if jax.process_index() == 0 else True  # None: where there is no terminal
    shown = tqdm(batches, "evaluating", unit="batch", leave=False, disable=hidden)
    sums = [eval_step(state, to_global(batch, mesh)) for batch in shown]
    totals = {
        k: sum(float(s[k]) for s in jax.device_get(sums))
        for k in ("loss", "top1", "top5", "images")
    }
    images = totals.pop("images")
    if not images:
        raise ValueError("evaluation had no image, or none that can be decoded")
    return {k: v / images for k, v in totals.items()} | {"images": int(images)}
