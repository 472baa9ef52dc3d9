"""Genotypes of networks whose layers read any layers before them (Zoph and Le, 2016), arXiv:1611.01578.

A genotype is a tuple of layers (height, width, filters, stride, inputs). Inputs are numbers of earlier
layers, counted from 1; 0 is the image, which a layer without inputs reads, too.
"""

from models.genotypes.text import as_tuples, brief


def check(genotype: str | tuple) -> tuple:
    """Returns a genotype, of tuples or lists or as JSON text, as tuples.

    Raises:
      ValueError: it does not describe a network; the message names the layer.
    """
    genotype = as_tuples(genotype)
    form = "(height, width, filters, stride, inputs)"
    if not isinstance(genotype, tuple) or not genotype:
        raise ValueError(f"genotype {brief(genotype)}: it must be one or more layers {form}")
    for number, layer in enumerate(genotype, 1):
        if not isinstance(layer, tuple) or len(layer) != 5 or not isinstance(layer[4], tuple):
            raise ValueError(f"layer {number}, {layer!r}: it must be {form}")
        *sizes, inputs = layer
        for name, size in zip(("height", "width", "filters", "stride"), sizes, strict=True):
            if type(size) is not int or size < 1:
                raise ValueError(f"{name} {size!r} of layer {number}: give a whole number above 0")
        for i in inputs:
            if type(i) is not int or not 0 <= i < number:
                raise ValueError(
                    f"input {i!r} of layer {number}: give the number of an earlier layer, "
                    "counted from 1, or 0 for the image"
                )
        if len(set(inputs)) < len(inputs):
            raise ValueError(f"inputs {inputs!r} of layer {number}: give each once")
    return genotype
