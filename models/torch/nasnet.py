"""Names of timm's NASNet-A (large)."""


def describe(library):
    """Describes `nasnetalarge`, as `weights.describe` does."""
    fields = {
        "cells": 6,
        "filters": 168,
        "stem_filters": 96,
        "skip_reduction": True,
        "padded_average": True,
        "aux_head": False,
        "bn_momentum": 0.9,
    }
    names = {"cell_stem_0": "stem1", "cell_stem_1": "stem2"}
    for group in range(3):
        names |= {f"reduction_cell_{group - 1}": f"reduction{group}"} if group else {}
        names |= {f"cell_{i}": f"cell{i + 1}" for i in range(6 * group, 6 * group + 6)}
    layers = [("conv0.conv", "conv1", 1), ("conv0.bn", "bn1", 1)]
    for theirs, ours in names.items():
        if ours in ("stem2", "cell1", "cell7", "cell13"):  # a reduction is between it and its input
            layers.append((f"{theirs}.path_1.conv", f"{ours}/previous/left", 1))
            layers.append((f"{theirs}.path_2.conv", f"{ours}/previous/right", 1))
            layers.append((f"{theirs}.final_path_bn", f"{ours}/previous/bn", 1))
        elif ours != "stem1":
            layers.append((f"{theirs}.conv_prev_1x1.conv", f"{ours}/previous_conv", 1))
            layers.append((f"{theirs}.conv_prev_1x1.bn", f"{ours}/previous_bn", 1))
        layers.append((f"{theirs}.conv_1x1.conv", f"{ours}/conv", 1))
        layers.append((f"{theirs}.conv_1x1.bn", f"{ours}/bn", 1))
        for node in range(5):
            for side in ("left", "right"):
                for j in (1, 2):
                    operation = f"{theirs}.comb_iter_{node}_{side}"
                    separable = f"{operation}.separable_{j}"
                    ours_ = f"{ours}/node{node + 2}_{side}"
                    layers.append((f"{separable}.depthwise_conv2d", f"{ours_}/sep{j}_depthwise", 1))
                    layers.append((f"{separable}.pointwise_conv2d", f"{ours_}/sep{j}_pointwise", 1))
                    layers.append((f"{operation}.bn_sep_{j}", f"{ours_}/bn{j}", 1))
    return "nasnet", fields, [*layers, ("last_linear", "fc", 1)]
