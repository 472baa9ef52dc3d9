"""How the runs of a sweep stand: state, step, latest figures, time to go."""

import dataclasses
import math
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from data.messages import plain
from sweeps import folder as sweep_folder
from sweeps import sky, slurm
from training import files, metrics

READERS = 32  # runs that are read at a time: a bucket answers many, each late
QUEUES = {"slurm": slurm.queue, "sky": sky.queue}
WAITING = {"PENDING", "CONFIGURING", "SUBMITTED", "STARTING", "REQUEUED", "RECOVERING"}


@dataclasses.dataclass(frozen=True)
class Standing:
    """Of one run."""

    name: str
    state: str  # waiting, queued, running, finished, stopped, failed, lost, pruned
    lines: list[dict]  # of metrics.jsonl
    last: str  # end of the log of a failed run
    noted: dict = dataclasses.field(default_factory=dict)  # what state.json says

    @property
    def step(self) -> int:
        return max((line.get("step", 0) for line in self.lines), default=0)

    @property
    def headers(self) -> list[dict]:
        """Of the start and of each resumption; none where the file has lost them."""
        lines = [header for line in self.lines for header in (line, line.get("resumed", {}))]
        return [header for header in lines if "config" in header]

    @property
    def header(self) -> dict:
        """The first one, or an empty one."""
        return next(iter(self.headers), {})

    @property
    def total_steps(self) -> int:
        return max((header.get("total_steps", 0) for header in self.headers), default=0)

    @property
    def to_do(self) -> bool:
        """Whether it is to be launched: neither done nor in the hands of another launcher."""
        return self.state not in ("finished", "running", "queued", "pruned")

    @property
    def missing(self) -> str:
        """Why a report cannot have it; nothing where it has ended well and its figures can be read."""
        if self.state != "finished":
            return self.state
        known = {"parameters", "multiply_adds"} <= self.header.keys()
        whole = known and self.latest("eval/top1") is not None
        return "" if whole else "finished, but its metrics.jsonl is damaged"

    def latest(self, metric: str) -> float | None:
        values = (line.get(metric) for line in reversed(self.lines))
        return next((value for value in values if isinstance(value, int | float)), None)

    @property
    def seconds(self) -> float | None:
        """Of the training steps by the clock, without compilation and evaluations; None: no speed is known."""
        batch_size = self.header.get("config", {}).get("batch_size")
        if not batch_size or self.latest("train/images_per_second") is None:
            return None
        total, before = 0.0, 0
        for line in self.lines:
            if rate := line.get("train/images_per_second"):
                total += (line["step"] - before) * batch_size / rate
                before = line["step"]
        return total

    @property
    def seconds_left(self) -> float | None:
        rate = self.latest("train/images_per_second")
        batch_size = self.header.get("config", {}).get("batch_size")
        if self.state != "running" or not rate or not self.total_steps or not batch_size:
            return None
        seconds = (self.total_steps - self.step) * batch_size / rate
        return seconds if math.isfinite(seconds) else None


def look(
    folder: str, names: list[str] | None = None, before: Iterable[Standing] = ()
) -> list[Standing]:
    """Returns how each run of the sweep stands, in the order of the sweep.

    Args:
      folder: of the sweep: a folder, or a bucket.
      names: of the runs; else all.
      before: what the last look returned: figures of which there are no new ones are not read again.

    Raises:
      FileNotFoundError: there is no sweep.
    """
    sweep = sweep_folder.read(folder)
    jobs, known = sweep["jobs"], {one.name: one for one in before}
    queues = {
        engine: QUEUES[engine]() for engine in {job["engine"] for job in jobs.values()} & {*QUEUES}
    }

    def read(name: str) -> Standing:
        noted = sweep_folder.state(folder, name)
        state, job = noted["state"], jobs.get(name)
        in_queue = queues.get(job["engine"], {}).get(job["id"]) if job else None
        if in_queue in WAITING:  # also a run that was stopped, and is to go on
            state = "queued"
        elif in_queue and state not in ("finished", "failed"):  # its job has just begun
            state = "running"
        last = known.get(name)
        # A disk has the newest figures at once, a bucket not sooner than the next sign of life.
        grows = noted["state"] == "running" and not files.in_bucket(folder)
        if last is not None and last.noted == noted and not grows:
            lines = last.lines
        else:
            lines = metrics.read_lines(sweep_folder.workdir(folder, name))
        return Standing(name, state, lines, str(noted.get("last", "")), noted)

    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(read, sweep["runs"] if names is None else names))


def wait(folder: str, names: list[str], poll: float = 10.0) -> None:
    """Returns when an engine has ended all these runs, well or not, or when it knows of none of them any more."""
    quiet = 0  # times in a row; between two states of a job there is a moment without any
    while quiet < 3:
        states = [one.state for one in look(folder, names)]
        if all(state in ("finished", "failed") for state in states):
            return
        quiet = 0 if {"queued", "running"} & set(states) else quiet + 1
        time.sleep(poll)


class Pace:
    """Says when runs will be done, from the part of their work that is done and the time it took."""

    def __init__(self, folder: str, costs: dict[str, int | None]):
        """Begins to count.

        Args:
          folder: of the sweep.
          costs: name of each run -> what it costs, in any unit; None: as much as any other.
        """
        self._folder = folder
        self.costs = {name: cost or 1 for name, cost in costs.items()}
        self._began, self._before = time.monotonic(), self._done()[0]

    def _done(self) -> tuple[float, int]:
        """Returns what is done, and of how many runs the end has come."""
        done, ended = 0.0, 0
        for one in look(self._folder, list(self.costs)):
            over = one.state in ("finished", "failed")
            part = 1.0 if over else one.step / one.total_steps if one.total_steps else 0.0
            done, ended = done + self.costs[one.name] * part, ended + over
        return done, ended

    def text(self) -> str:
        """Returns for example "3 of 20 runs done, all in 12:34, at 14:05"."""
        done, ended = self._done()
        text = f"{ended} of {len(self.costs)} runs done"
        gained, left = done - self._before, sum(self.costs.values()) - done
        if gained <= 0 or left <= 0:
            return text
        seconds = left / gained * (time.monotonic() - self._began)
        at = time.localtime(time.time() + seconds)
        day = "%a " if seconds > 12 * 3600 else ""
        return (
            f"{text}, all in {tqdm.format_interval(seconds)}, at {time.strftime(day + '%H:%M', at)}"
        )


def table(standings: list[Standing], metric: str) -> str:
    """Returns what a terminal shows of them, with a line of totals at the end."""
    width = max((len(standing.name) for standing in standings), default=3)
    rows = [f"{'run':{width}}  {'state':9} {'step':>15} {metric:>12} {'images/s':>9} {'ETA':>9}"]
    for one in standings:
        value, rate = one.latest(metric), one.latest("train/images_per_second")
        left = one.seconds_left
        cells = (
            f"{one.step}/{one.total_steps}" if one.total_steps else "",
            "" if value is None else f"{value:.4f}",
            f"{rate:,.0f}" if rate else "",
            "" if left is None else tqdm.format_interval(left),
        )
        row = "{:>15} {:>12} {:>9} {:>9}".format(*cells)
        rows.append(f"{one.name:{width}}  {one.state:9} {row}".rstrip())
        if one.state == "failed":
            rows += [f"    {plain(line)}" for line in one.last.splitlines()[-1:]]
    return "\n".join([*rows, totals(standings)])


def totals(standings: list[Standing]) -> str:
    """Returns for example "20 runs: 3 finished, 1 running, 16 waiting"."""
    states = [one.state for one in standings]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{len(states)} run{'s' * (len(states) != 1)}: {counts}"


def pause(folder: str) -> float:
    """Returns the seconds between two looks at a sweep; in a bucket nothing is sooner there, and each look costs."""
    return sweep_folder.RENEWED if files.in_bucket(folder) else 2.0


def follow(folder: str, metric: str) -> None:
    """Prints the table; on a terminal again and again, until no run is to come or Ctrl-C."""
    standings = []
    while True:
        standings = look(folder, before=standings)
        show(table(standings, metric))
        ended = not {one.state for one in standings} & {"running", "queued"}
        if ended or not sys.stdout.isatty():
            return
        try:
            time.sleep(pause(folder))
        except KeyboardInterrupt:
            return


def show(text: str) -> None:
    """Prints in place of what a terminal shows, so that a table seems to stand still."""
    clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
    print(clear + text, flush=True)
