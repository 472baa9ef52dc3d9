"""What all pictures share."""

import io
import warnings

import matplotlib

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


def png(figure) -> bytes:
    """Returns the picture as a PNG."""
    output = io.BytesIO()
    with warnings.catch_warnings():
        # Names of classes may be in any script; what the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(output, dpi=DPI, format="png")
    return output.getvalue()
