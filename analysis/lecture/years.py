"""The table of all networks by year, from tests/counts.json."""

from analysis import markdown
from analysis.lecture.counted import MB


def table(networks: list[dict]) -> str:
    """Returns a row a network.

    Args:
      networks: of tests/counts.json.
    """
    rows = [
        [
            "year", "network", "size", "parameters, M", "multiply-adds, G", "activations, M", "MB",
            "top-1 error, %", "top-5", "of",
        ]
    ]  # fmt: skip
    for network in by_year(networks):
        known = network["published"] or {"top1": None, "top5": None}
        of = f"{known['where']}, {known['source']}" if network["published"] else ""
        activations = network["activations"]
        rows.append(
            [
                str(year(network)),
                network["name"],
                str(network["image_size"]),
                f"{network['parameters'] / 1e6:.2f}",
                f"{network['multiply_adds'] / 1e9:.3f}",
                f"{activations / 1e6:.2f}",
                f"{4 * activations / MB:.1f}",
                *(f"{known[k]:.2f}" if known[k] is not None else "" for k in ("top1", "top5")),
                of,
            ]
        )
    return markdown.table(rows, left=2)


def check(networks: list[dict]) -> None:
    """Raises ValueError where a network of the page lacks one of its numbers."""
    wanted = {"image_size", "parameters", "multiply_adds", "activations", "published", "paper"}
    for network in networks:
        missing = sorted(wanted - network.keys())
        if network.get("readme") and missing:
            raise ValueError(
                f"tests/counts.json: {network['name']} is a row of docs/networks.md and docs/lecture.md, but has no "
                f"{', '.join(missing)}: scripts/summarize.py counts a network"
            )


def year(network: dict) -> int:
    """Returns the year of the first version of a network's paper."""
    venue, _, number = network["paper"].rpartition(" ")
    return int(number) if venue else 2000 + int(number[:2])  # NIPS 2012, or arXiv's 1512.03385


def by_year(networks: list[dict]) -> list[dict]:
    """Returns the ImageNet networks of docs/networks.md by year, within a year in the order of the file."""
    chosen = [n for n in networks if n.get("readme") and n["image_size"] >= 224]
    return sorted(chosen, key=year)


def charted(networks: list[dict]) -> list[dict]:
    """Returns those of `by_year` that have a published error of one crop, and AlexNet in Caffe's copy, which has one."""
    [alexnet] = [network for network in networks if network["name"] == "AlexNet, 227 x 227"]
    return [
        network
        for network in [alexnet | {"name": "AlexNet"}, *by_year(networks)]
        if network["published"] and network["published"]["where"].startswith("1 crop")
    ]
