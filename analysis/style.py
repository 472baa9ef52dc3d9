"""What all pictures share."""

import io
import math
import warnings

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

DPI = 110


def clean(axes) -> None:
    """Takes off what no panel needs."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def colors(number: int) -> list:
    """Returns that number of colours: the ten that tell lines apart best, or a scale from dark to light."""
    if number <= 10:
        return [f"C{i}" for i in range(number)]
    return [matplotlib.colormaps["viridis"](i / (number - 1)) for i in range(number)]


def label(axes, points: list[tuple[float, float, str]]) -> None:
    """Writes a name beside each point, with a line to it, where it hides no other name and no point."""
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    centres = [axes.transData.transform(point[:2]) for point in points]
    taken = []
    places = [
        (distance * math.cos(angle), distance * math.sin(angle))
        for distance in (12, 22, 34, 48, 64)
        for angle in (0.5, -0.5, 2.6, -2.6, 1.2, -1.2, 1.9, -1.9)
    ]
    for x, y, name in sorted(points, key=lambda point: (-point[1], point[0])):
        for dx, dy in places:
            written = axes.annotate(
                name,
                (x, y),
                (dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right",
                va="center",
                fontsize=7,
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0},
            )
            written.update_positions(renderer)
            box = Text.get_window_extent(written, renderer)
            free = not any(box.overlaps(other) for other in taken)
            if free and not any(box.padded(3).contains(*centre) for centre in centres):
                break
            if (dx, dy) != places[-1]:
                written.remove()
        taken.append(box)


def png(figure) -> bytes:
    return picture(figure, "png")


def picture(figure, format: str) -> bytes:
    """Returns the picture as a file of a format that matplotlib knows, "png", "svg" or "pdf"."""
    output = io.BytesIO()
    with warnings.catch_warnings():
        # Names of classes may be in any script; what the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(output, dpi=DPI, format=format)
    return output.getvalue()
