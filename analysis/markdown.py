"""Tables in Markdown."""


def table(rows, left: int = 1) -> str:
    """Returns a table of cells that are text; the first row are its heads.

    Args:
      rows: of as many cells each.
      left: number of columns that are aligned to the left, the others to the right.
    """
    heads, *body = rows
    rule = [*["---"] * left, *["---:"] * (len(heads) - left)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rule, *body])
