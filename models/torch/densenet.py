"""Names of DenseNet in torchvision and timm."""

from models import densenet


def describe(library, depth):
    """Describes a DenseNet, say `densenet121`, as `weights.describe` does."""
    depth, layers, i = int(depth), [], 0
    layers += [("features.conv0", "Conv_0", 1), ("features.norm0", "BatchNorm_0", 1)]
    for block, dense_layers in enumerate(densenet.BLOCKS[depth]):
        for n in range(dense_layers):
            theirs = f"features.denseblock{block + 1}.denselayer{n + 1}"
            for j in range(2):
                layers.append((f"{theirs}.norm{j + 1}", f"DenseLayer_{i}/BatchNorm_{j}", 1))
                layers.append((f"{theirs}.conv{j + 1}", f"DenseLayer_{i}/Conv_{j}", 1))
            i += 1
        theirs, ours = f"features.transition{block + 1}", f"Transition_{block}"
        layers += [
            (f"{theirs}.norm", f"{ours}/BatchNorm_0", 1),
            (f"{theirs}.conv", f"{ours}/Conv_0", 1),
        ]
    layers += [("features.norm5", "BatchNorm_1", 1), ("classifier", "Dense_0", 1)]
    return "densenet", {"depth": depth, "growth_rate": 48 if depth == 161 else 32}, layers
