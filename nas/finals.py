"""What is trained at the end, from scratch, on all training images and tested on images that no search saw."""

import pathlib
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from models.genotypes import as_text, cells
from nas.children import costs, name_of
from sweeps import folder as sweep_folder


class Finalist(NamedTuple):
    """A network, trained with several seeds; those of one group are told about together."""

    group: str  # "ppo"
    name: str  # of its runs, which a network has once, whoever chose it
    genotype: tuple | None  # None: a network made by hand
    network: str  # of the config file, after its colon
    overrides: dict  # field -> value


def finalists(
    config: ConfigDict, space, chosen: dict[str, list], known: dict[str, dict]
) -> list[Finalist]:
    """Returns the networks to train, cells with as many filters as give nas.final.parameters.

    Args:
      config: of the search.
      space: that was searched.
      chosen: group -> genotypes that its searches found.
      known: genotype as text -> overrides of a run of before, to save counting.
    """
    final, rng = config.nas.final, np.random.default_rng(0)
    drawn = [space.decode(space.draw(rng)) for _ in range(final.drawn)]
    groups = chosen | {"drawn": drawn}
    if space.network == "nasnet":
        groups |= {cell: [cells.PUBLISHED[cell]] for cell in final.cells}
    result = []
    for group, genotype in ((g, one) for g, genotypes in groups.items() for one in genotypes):
        text = as_text(genotype)
        if text not in known:
            known[text] = {"model.genotype": text} | fitting(config, space.network, genotype)
        result.append(Finalist(group, name_of(genotype), genotype, "", known[text]))
    return result + [Finalist(name, name, None, name, {}) for name in final.networks]


def folder_of(folder: pathlib.Path, network: str):
    """Returns the folder of the trainings of a network made by hand, or of the cells.

    Raises:
      ValueError: its name would lead elsewhere.
    """
    return sweep_folder.workdir(str(folder / "final"), network or "cells")


def known(folder: pathlib.Path) -> dict[str, dict]:
    """Returns the overrides, without the seed, of the cells that were trained before: genotype -> overrides."""
    cells = folder_of(folder, "")
    if not (cells / "sweep.json").exists():
        return {}
    runs = sweep_folder.read(str(cells))["runs"].values()
    return {
        run["model.genotype"]: {field: value for field, value in run.items() if field != "seed"}
        for run in runs
        if "model.genotype" in run
    }


def fitting(config: ConfigDict, network: str, genotype) -> dict:
    """Returns the even number of filters whose parameters are the nearest to nas.final.parameters."""
    target = config.nas.final.parameters
    if network != "nasnet" or not target:
        return {}
    ratio = config.model.stem_filters / config.model.filters

    def fields(filters):
        return {"filters": filters, "stem_filters": round(ratio * filters)}

    # Kernels grow with the square of the filters, BatchNorm and the classifier with the filters.
    tried = (8, 16, 24)
    counted = [costs(config, genotype, **fields(filters))["parameters"] for filters in tried]
    size = np.polyfit(tried, counted, 2)
    filters = min(range(2, 2000, 2), key=lambda f: abs(np.polyval(size, f) - target))
    return {f"model.{name}": value for name, value in fields(filters).items()}
