"""Names of DenseNet in torchvision and timm."""

from models import densenet


def describe(library, depth):
    """Describes a DenseNet, say `densenet121`, as `weights.describe` does."""
    depth, layers = int(depth), []
    layers += [("features.conv0", "conv1", 1), ("features.norm0", "bn1", 1)]
    for block, dense_layers in enumerate(densenet.BLOCKS[depth], 1):
        for n in range(1, dense_layers + 1):
            theirs, ours = f"features.denseblock{block}.denselayer{n}", f"block{block}/layer{n}"
            for j in (1, 2):
                layers.append((f"{theirs}.norm{j}", f"{ours}/bn{j}", 1))
                layers.append((f"{theirs}.conv{j}", f"{ours}/conv{j}", 1))
        theirs, ours = f"features.transition{block}", f"transition{block}"
        layers += [(f"{theirs}.norm", f"{ours}/bn", 1), (f"{theirs}.conv", f"{ours}/conv", 1)]
    layers += [("features.norm5", "last_bn", 1), ("classifier", "fc", 1)]
    return "densenet", {"depth": depth, "growth_rate": 48 if depth == 161 else 32}, layers
