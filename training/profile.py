"""A trace of some training steps, and the operations that cost the most in it."""

import collections
import pathlib
import re
import tempfile

import jax

from training import files

MOST = 10  # operations that are told


class Profile:
    """Traces the steps of --profile into WORKDIR/profile, from the first process only, and tells what they cost.

    The trace has what happens between these steps, too, such as an evaluation. As a context it ends
    with the run.
    """

    def __init__(self, steps: str, workdir, say):
        """Takes note.

        Args:
          steps: "10:15", the first and the last, counted from 1; "": none.
          workdir: of the run; a bucket gets the files once the last step is over.
          say: `f(text)` that prints.

        Raises:
          ValueError: `steps` are no such two numbers.
        """
        self._first, self._last = between(steps) if steps else (0, 0)
        self._folder, self._say, self._traced = files.absolute(workdir) / "profile", say, 0
        self._local = None  # while it traces

    def before(self, step: int) -> None:
        """Begins the trace before the first of the steps."""
        if self._first <= step <= self._last and not self._local and jax.process_index() == 0:
            self._local = tempfile.TemporaryDirectory()
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # every call of a function, which takes time itself
            jax.profiler.start_trace(self._local.name, profiler_options=options)

    def after(self, step: int, outcome) -> None:
        """Ends the trace after the last of the steps, once `outcome` of it is there."""
        if self._local:
            self._traced += 1
            if step == self._last:
                jax.block_until_ready(outcome)
                self._end()

    def _end(self) -> None:
        jax.profiler.stop_trace()
        with self._local as local:
            self._local = None
            files.copy(pathlib.Path(local), self._folder)
            times = operations(local)
        self._say(
            f"{self._traced} step(s) are traced in {self._folder}; milliseconds a step, and operation:"
        )
        for name, milliseconds in times.most_common(MOST):
            self._say(f"{milliseconds / self._traced:10.3f} {name}")

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        if self._local:
            self._end()
        elif self._first and not self._traced and jax.process_index() == 0:
            self._say(f"no trace: this run did none of the steps {self._first} to {self._last}")


def between(steps: str) -> tuple[int, int]:
    """Returns (10, 15) of "10:15"; raises ValueError."""
    found = re.fullmatch(r"(\d+):(\d+)", steps)
    first, last = map(int, found.groups()) if found else (0, 0)
    if not 1 <= first <= last:
        raise ValueError(f"--profile={steps}: give the first step and the last, such as 10:15")
    return first, last


def operations(folder) -> collections.Counter:
    """Returns the milliseconds of each operation of XLA in a trace, over all threads and devices.

    An operation that calls others, such as a loop, has their time, too.
    """
    times = collections.Counter()
    for file in pathlib.Path(folder).rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                for event in line.events:
                    name = dict(event.stats).get("hlo_op")
                    if name and not event.name.startswith("end: "):
                        times[name] += event.duration_ns / 1e6
    return times
