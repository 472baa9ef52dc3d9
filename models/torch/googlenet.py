"""Names of torchvision's GoogLeNet."""

from models import googlenet


def describe(library):
    """Describes GoogLeNet, as `weights.describe` does."""

    def conv(theirs, ours):
        return [(f"{theirs}.conv", f"{ours}/conv", 1), (f"{theirs}.bn", f"{ours}/bn", 1)]

    layers = [*conv("conv1", "conv1"), *conv("conv2", "conv2_reduce"), *conv("conv3", "conv2")]
    branches = {
        "branch1": "1x1",
        "branch2.0": "3x3_reduce",
        "branch2.1": "3x3",
        "branch3.0": "5x5_reduce",
        "branch3.1": "5x5",
        "branch4.1": "pool_proj",
    }
    for name in googlenet.INCEPTION:
        for theirs, ours in branches.items():
            layers += conv(f"inception{name}.{theirs}", f"inception{name}/{ours}")
    for head in ("aux1", "aux2"):
        layers += conv(f"{head}.conv", f"{head}/conv")
        layers += [(f"{head}.fc1", f"{head}/fc1", 4), (f"{head}.fc2", f"{head}/fc2", 1)]
    return "googlenet", {"form": "torchvision", "dropout": 0.2}, [*layers, ("fc", "fc", 1)]
