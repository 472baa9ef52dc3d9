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
    names = ["cell_stem_0", "cell_stem_1"]
    for group in range(3):
        names += [f"reduction_cell_{group - 1}"] if group else []
        names += [f"cell_{6 * group + i}" for i in range(6)]
    layers = [("conv0.conv", "Conv_0", 1), ("conv0.bn", "BatchNorm_0", 1)]
    for i, theirs in enumerate(names):
        ours, adjusted = f"Cell_{i}", 0
        factorized = i == 1 or names[i - 1].startswith("reduction") or i == 2
        if factorized:
            reduction = f"{ours}/FactorizedReduction_0"
            layers.append((f"{theirs}.path_1.conv", f"{reduction}/Conv_0", 1))
            layers.append((f"{theirs}.path_2.conv", f"{reduction}/Conv_1", 1))
            layers.append((f"{theirs}.final_path_bn", f"{reduction}/BatchNorm_0", 1))
        elif i > 1:
            layers.append((f"{theirs}.conv_prev_1x1.conv", f"{ours}/Conv_0", 1))
            layers.append((f"{theirs}.conv_prev_1x1.bn", f"{ours}/BatchNorm_0", 1))
            adjusted = 1
        layers.append((f"{theirs}.conv_1x1.conv", f"{ours}/Conv_{adjusted}", 1))
        layers.append((f"{theirs}.conv_1x1.bn", f"{ours}/BatchNorm_{adjusted}", 1))
        for node in range(5):
            for side in ("left", "right"):
                for j in range(2):
                    operation = f"{theirs}.comb_iter_{node}_{side}"
                    separable = f"{operation}.separable_{j + 1}"
                    ours_ = f"{ours}/node{node + 2}_{side}"
                    layers.append((f"{separable}.depthwise_conv2d", f"{ours_}/Conv_{2 * j}", 1))
                    layers.append((f"{separable}.pointwise_conv2d", f"{ours_}/Conv_{2 * j + 1}", 1))
                    layers.append((f"{operation}.bn_sep_{j + 1}", f"{ours_}/BatchNorm_{j}", 1))
    return "nasnet", fields, [*layers, ("last_linear", "Dense_0", 1)]
