"""What came of a sweep: a table grouped over seeds, pictures, and a page of both for a browser."""

import csv
import dataclasses
import io
import math
import statistics

from analysis import markdown
from data.messages import tell
from sweeps import expand, pictures, watch
from sweeps import folder as sweep_folder

FIGURES = ("eval/top1", "eval/top5", "eval/loss", "train/loss", "train/images_per_second")
COUNTS = ("parameters", "multiply_adds")


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    fields: dict  # short name -> value, of what differs between groups
    runs: tuple[watch.Standing, ...]

    @property
    def counted(self) -> list[watch.Standing]:
        """The finished runs; where there is none, those of which something is known."""
        finished = [run for run in self.runs if run.state == "finished"]
        return finished or [run for run in self.runs if run.lines]

    @property
    def states(self) -> str:
        states = [run.state for run in self.runs]
        if {*states} == {"finished"}:
            return "finished"
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))

    @property
    def label(self) -> str:
        return ", ".join(f"{name} {pictures.text(value)}" for name, value in self.fields.items())

    def values(self, figure: str) -> list[float]:
        """Returns the latest value of each run that counts."""
        found = [run.latest(figure) for run in self.counted]
        return [value for value in found if value is not None]

    def mean(self, figure: str) -> float:
        values = self.values(figure)
        return statistics.mean(values) if values else math.nan

    def deviation(self, figure: str) -> float:
        """Returns the standard deviation over the seeds (n - 1); nan for one run."""
        values = self.values(figure)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def curves(self, figure: str) -> list[list[tuple[int, float]]]:
        """Returns the (step, value) pairs of each run."""
        return [
            [
                (line["step"], line[figure])
                for line in run.lines
                if figure in line and "step" in line
            ]
            for run in self.runs
        ]


def collect(folder: str, metric: str) -> list[Group]:
    """Reads the runs of a sweep, whether finished, running or failed, the best group first.

    Args:
      folder: of the sweep: a folder, or a bucket.
      metric: to sort by, a name in metrics.jsonl such as eval/top1; a loss is best when low.

    Raises:
      FileNotFoundError: there is no sweep.
      ValueError: no run has such a metric yet.
    """
    sweep = sweep_folder.read(folder)
    names = expand.short_names(list(sweep["runs"].values()))
    names.pop("seed", None)
    members = {}
    for standing in watch.look(folder):
        overrides = sweep["runs"][standing.name]
        config = standing.header.get("config", sweep["base"])
        fields = {
            short: overrides.get(field, _value(config, field)) for field, short in names.items()
        }
        members.setdefault(repr(fields), (fields, []))[1].append(standing)
    groups = [Group(fields, tuple(runs)) for fields, runs in members.values()]
    if not any(group.values(metric) for group in groups):
        known = {name for g in groups for run in g.runs for line in run.lines for name in line}
        figures = ", ".join(sorted(name for name in known if "/" in name)) or "none yet"
        raise ValueError(f"no run has {metric}; the metrics are: {figures}")
    sign = 1 if is_loss(metric) else -1
    return sorted(groups, key=lambda group: _key(sign * group.mean(metric)))


def is_loss(metric: str) -> bool:
    """Whether less is better."""
    return metric.endswith("loss")


def rows(groups: list[Group], metric: str) -> list[list]:
    """Returns the table: the names of the columns, then a row for each group."""
    figures = [metric, *(figure for figure in FIGURES if figure != metric)]
    figures = [f for f in figures if any(group.values(f) for group in groups)]
    heads = [*groups[0].fields, "n", "state", metric, f"{metric} sd", *figures[1:], *COUNTS]
    found = [heads]
    for group in groups:
        header = next((run.header for run in group.counted if run.header), {})
        found.append(
            [
                *group.fields.values(),
                len(group.values(metric)),
                group.states,
                group.mean(metric),
                group.deviation(metric),
                *(group.mean(figure) for figure in figures[1:]),
                *(header.get(count, "") for count in COUNTS),
            ]
        )
    return found


def as_csv(rows: list[list]) -> str:
    output = io.StringIO()
    clean = [["" if _is_nan(cell) else cell for cell in row] for row in rows]
    csv.writer(output, lineterminator="\n").writerows(clean)
    return output.getvalue()


def as_markdown(rows: list[list]) -> str:
    cells = [[cell(value) for value in row] for row in rows]
    return markdown.table(cells, left=rows[0].index("state") + 1) + "\n"


def write(folder: str, groups: list[Group], metric: str, x: str | None) -> list[str]:
    """Writes results.csv, results.md, the pictures and report.html into the folder; returns the files' names.

    Args:
      folder: for the files.
      groups: of `collect`.
      metric: that the pictures show.
      x: a column of the table, for example multiply_adds, to draw the metric against, beside the fields.
    """
    table = rows(groups, metric)
    if x is not None and x not in table[0]:
        raise ValueError(f"--x={x}: choose one of {', '.join(table[0])}")
    into = sweep_folder.path(folder)
    into.mkdir(parents=True, exist_ok=True)
    contents = {"results.csv": as_csv(table).encode(), "results.md": as_markdown(table).encode()}
    known = [group for group in groups if group.values(metric)]
    points = [
        pictures.Point(group.fields, group.mean(metric), group.deviation(metric)) for group in known
    ]
    contents["curves.png"] = pictures.means(
        {group.label or "all": group.curves(metric) for group in known}, metric
    )
    fields = list(groups[0].fields)
    if fields:
        contents["fields.png"] = pictures.against(points, fields, metric)
    if len(fields) > 1:
        contents["pairs.png"] = pictures.pairs(points, fields, metric)
    if x is not None:
        column = table[0].index(x)
        values = [row[column] for g, row in zip(groups, table[1:], strict=True) if g in known]
        drawn = [
            point._replace(fields=point.fields | {x: value})
            for point, value in zip(points, values, strict=True)
        ]
        contents[f"{x.replace('/', '_')}.png"] = pictures.against(drawn, [x], metric, by=fields[:1])
    try:
        from sweeps import report
    except ModuleNotFoundError:
        tell("no report.html, which needs Plotly: pip install -e '.[sweeps]'")
    else:
        contents["report.html"] = report.page(groups, metric).encode()
    for name, content in contents.items():
        (into / name).write_bytes(content)
    return list(contents)


def _value(config: dict, field: str):
    for part in field.split("."):
        config = config.get(part, {}) if isinstance(config, dict) else {}
    return "" if config == {} else config


def _key(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _is_nan(cell) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def cell(value) -> str:
    """Returns a value of the table as a reader wants it."""
    if _is_nan(value):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if type(value) is int and value >= 10_000 else str(value)
