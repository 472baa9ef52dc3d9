"""Names of torchvision's GoogLeNet."""

from models import googlenet


def describe(library):
    """Describes GoogLeNet, as `weights.describe` does."""

    def conv(theirs, ours):
        return [(f"{theirs}.conv", f"{ours}/Conv_0", 1), (f"{theirs}.bn", f"{ours}/BatchNorm_0", 1)]

    layers = [pair for i in range(3) for pair in conv(f"conv{i + 1}", f"ConvReLU_{i}")]
    branches = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
    for i, name in enumerate(googlenet.INCEPTION):
        for j, branch in enumerate(branches):
            layers += conv(f"inception{name}.{branch}", f"Inception_{i}/ConvReLU_{j}")
    for i in range(2):
        theirs, ours = f"aux{i + 1}", f"AuxiliaryHead_{i}"
        layers += conv(f"{theirs}.conv", f"{ours}/ConvReLU_0")
        layers += [(f"{theirs}.fc1", f"{ours}/Dense_0", 4), (f"{theirs}.fc2", f"{ours}/Dense_1", 1)]
    return "googlenet", {"form": "torchvision", "dropout": 0.2}, [*layers, ("fc", "Dense_0", 1)]
