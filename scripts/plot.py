"""Draws loss and error of one or more runs into one picture.

Example:
  python scripts/plot.py residual=runs/digits plain=runs/plain --output=docs/digits.png
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from analysis import curves


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="[LABEL=]WORKDIR")
    parser.add_argument("--output", default="curves.png", help="default: curves.png")
    parser.add_argument("--title", default="")
    args = parser.parse_args()
    runs = {run.partition("=")[0]: run.rpartition("=")[2] for run in args.runs}
    try:
        curves.draw(runs, args.output, args.title)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    print(f"drew {args.output}")


if __name__ == "__main__":
    main()
