"""Tables, in Markdown and for a terminal."""

import re


def table(rows, left: int = 1) -> str:
    """Returns a table of cells that are text; the first row are its heads.

    Args:
      rows: of as many cells each.
      left: number of columns that are aligned to the left, the others to the right.
    """
    heads, *body = rows
    rule = [*["---"] * left, *["---:"] * (len(heads) - left)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rule, *body])


def columns(rows, left: int = 1) -> str:
    """Returns the same in columns of equal width, for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def fill(page: str, name: str, content: str) -> str:
    """Returns a page with `content` between the markers of a name, and all else as it was.

    Before it stands a line `<!-- NAME: made by ... -->`, after it `<!-- end of NAME -->`.

    Raises:
      ValueError: the page lacks the markers, or has them more than once.
    """
    marked = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    filled, number = marked.subn(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", page)
    if number != 1:
        raise ValueError(
            f"the page needs two lines once each, around what is written: <!-- {name}: made by a script --> and "
            f"<!-- end of {name} -->"
        )
    return filled
