"""The talk of a worker with `benchmarks/rounds.py`, in JSON, a line each.

The worker's one argument says what to measure. Once it has compiled and warmed up, it answers with
facts, among them "step_seconds"; then, for each line on stdin, the seconds that a round shall take, with
"steps" and "step_seconds". A failure is answered as {"error": "..."}. Workers run as files; PyTorch's
Python runs this one, too, so it imports nothing of the project.
"""

import json
import os
import sys
import time

SLOW = 20.0  # seconds a step: it is timed once


def serve(prepare) -> None:
    """Answers until stdin ends.

    Args:
      prepare: `f(spec) -> (facts, run)`; `run(n)` does n steps and returns once they are done.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        found, run = prepare(json.loads(sys.argv[1]))
        print(json.dumps(found), file=answers, flush=True)
        step_seconds = found["step_seconds"]
        for line in sys.stdin:
            steps = max(1, round(float(line) / step_seconds))
            step_seconds = seconds(run, steps) / steps
            answer = {"steps": steps, "step_seconds": step_seconds}
            print(json.dumps(answer), file=answers, flush=True)
    except Exception as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        print(json.dumps({"error": f"{type(error).__name__}: {text}"}), file=answers, flush=True)
        sys.exit(1)


def seconds(run, steps: int) -> float:
    """Returns the seconds that `run(steps)` takes."""
    start = time.perf_counter()
    run(steps)
    return time.perf_counter() - start
