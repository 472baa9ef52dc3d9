"""A page of a sweep for a browser: parallel coordinates, curves and the table.

It holds all that it needs, Plotly's script of 5 MB, too, and so opens from any place.
"""

import math
from html import escape

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.offline import get_plotlyjs

from analysis import page as pages
from sweeps import pictures, results, watch

POINTS = 500  # the most of a curve
TICKS = 10  # the most of an axis
SCALE = "Viridis"


def page(groups: list[results.Group], metric: str) -> str:
    """Returns the page, as HTML.

    Args:
      groups: of `results.collect`.
      metric: which colours the lines, and by which the groups are sorted.
    """
    best = groups[0]
    facts = {
        "runs": watch.totals([run for group in groups for run in group.runs]),
        "best": f"{best.label}: {pictures.named(metric)} {best.mean(metric):.4g}",
    }
    sections = [
        pages.Section(
            "coordinates",
            "All runs",
            "A line is a run. Drag along an axis to keep the runs that cross it there, and an axis by its "
            "name to another place.",
            _html(_coordinates(groups, metric)),
        )
    ]
    for name in dict.fromkeys((metric, "train/loss")):
        if any(group.values(name) for group in groups):
            text = "Click on a name to hide its runs, twice to see them alone; drag over a part to enlarge it."
            curves = _html(_curves(groups, name, metric))
            sections.append(
                pages.Section(name.replace("/", "-"), pictures.named(name), text, curves)
            )
    table = _table(results.rows(groups, metric))
    text = "Mean and standard deviation (n - 1) over runs that differ in their seed alone."
    sections.append(pages.Section("table", "Table", text, table))
    return pages.write("Results of the sweep", facts, sections, get_plotlyjs())


def _html(figure: go.Figure) -> str:
    figure.update_layout(template="plotly_white", height=480, margin={"t": 90, "b": 40})
    return figure.to_html(full_html=False, include_plotlyjs=False)


def _coordinates(groups: list[results.Group], metric: str) -> go.Figure:
    runs = [
        (group, run) for group in groups for run in group.runs if run.latest(metric) is not None
    ]
    figures = [name for name in results.FIGURES if name != metric]
    figures = [name for name in figures if all(run.latest(name) is not None for _, run in runs)]
    dimensions = [
        _axis(field, [group.fields[field] for group, _ in runs]) for field in groups[0].fields
    ]
    for name in [*figures, metric]:
        values = [run.latest(name) for _, run in runs]
        dimensions.append({"label": pictures.named(name), "values": values})
    line = {"color": values, "colorscale": SCALE}  # of the metric
    return go.Figure(go.Parcoords(line=line, dimensions=dimensions))


def _axis(field: str, values: list) -> dict:
    """Returns a dimension of Plotly's: numbers in their places, wide ones by their logarithm, others side by side."""
    if all(pictures.is_number(value) for value in values):
        chosen = sorted({*values})
        wide = pictures.is_wide(values)
        place = math.log10 if wide else float
        if not wide and len(chosen) > TICKS:
            return {"label": pictures.named(field), "values": values}
    else:
        values = [pictures.text(value) for value in values]
        chosen = sorted({*values})
        place = chosen.index
    ticks = chosen[:: math.ceil(len(chosen) / TICKS)]
    return {
        "label": pictures.named(field),
        "values": [place(value) for value in values],
        "tickvals": [place(tick) for tick in ticks],
        "ticktext": [pictures.text(tick) for tick in ticks],
    }


def _curves(groups: list[results.Group], name: str, metric: str) -> go.Figure:
    figure = go.Figure()
    means = [group.mean(metric) for group in groups]
    known = [mean for mean in means if not math.isnan(mean)]
    low, span = min(known), (max(known) - min(known)) or 1.0
    for number, (group, mean) in enumerate(zip(groups, means, strict=True)):
        place = 0.0 if math.isnan(mean) else (mean - low) / span
        [color] = sample_colorscale(SCALE, [place])
        curves = zip(group.runs, group.curves(name), strict=True)
        drawn = [(run.name, curve) for run, curve in curves if curve]
        for first, (run, curve) in enumerate(drawn):
            curve = thinned(curve)
            figure.add_scatter(
                x=[step for step, _ in curve],
                y=[value for _, value in curve],
                name=group.label or "all",
                legendgroup=str(number),
                showlegend=first == 0,
                zorder=-number,  # the best on top
                mode="lines",
                line={"color": color, "width": 1.5},
                hovertemplate=f"{run}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
            )
    return figure.update_layout(xaxis_title="step", yaxis_title=pictures.named(name))


def thinned(curve: list) -> list:
    """Returns every n-th point of a curve, and its last."""
    return curve[:: math.ceil(len(curve) / POINTS)] + curve[-1:]


def _table(rows: list[list]) -> str:
    heads, *rest = [[escape(results.cell(cell)) for cell in row] for row in rows]
    lines = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in heads)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rest]
    return (
        f'<div style="overflow-x: auto; white-space: nowrap"><table>{"".join(lines)}</table></div>'
    )
