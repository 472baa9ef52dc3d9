"""Makes analysis/choice.csv: the multiply-adds of every ImageNet network with published weights.

python tests/record_choice.py    # two minutes

tests/test_choice.py compares it with the networks.
"""

import csv
import pathlib

import analysis
from analysis import choice
from models.torch import published

FILE = pathlib.Path(choice.__file__).with_suffix(".csv")


def keys() -> list[tuple[str, int]]:
    """Returns (LIBRARY/MODEL, pixels a side) of the published weights whose network the project has."""
    found = {}
    for one in published.networks().values():
        name = one.name.partition(".")[0]
        if one.data == "imagenet" and known(name):
            found[name, one.image_size] = None
    return list(found)


def known(name: str) -> bool:
    try:
        choice.network(name)
    except ValueError:
        return False
    return True


def main() -> None:
    counted = {}
    with FILE.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["network", "pixels", "multiply_adds"])
        for name, pixels in keys():
            network = choice.network(name), pixels
            if network not in counted:
                counted[network] = analysis.count(network[0], (pixels, pixels, 3)).multiply_adds
            rows.writerow([name, pixels, counted[network]])
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
