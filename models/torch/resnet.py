"""Names of ResNet in torchvision and timm, and in akamaster's code for CIFAR-10."""

from models import resnet


def describe(library, depth):
    """Describes a ResNet, say `resnet50`, as `weights.describe` does."""
    depth = int(depth)
    convolutions = 2 if depth in (18, 34) else 3
    return "resnet", {"depth": depth}, residual_layers(resnet.STAGES[depth], convolutions)


def describe_cifar(library, depth):
    """Describes a ResNet for CIFAR-10, say `resnet20`, as `weights.describe` does."""
    stages = {d: ((d - 2) // 6,) * 3 for d in (20, 32, 44, 56, 110, 1202)}[int(depth)]
    fields = {"depth": int(depth), "layout": "cifar", "shortcut": "A", "shortcut_zeros": "around"}
    return "resnet", fields, residual_layers(stages, 2, fc="linear")


def residual_layers(stages, convolutions, fc="fc"):
    """The names that ResNets and ResNeXts share, for blocks of that number of convolutions."""
    layers = [("conv1", "conv1", 1), ("bn1", "bn1", 1)]
    for stage, blocks in enumerate(stages, 1):
        for b in range(blocks):
            theirs, ours = f"layer{stage}.{b}", f"stage{stage}/block{b + 1}"
            for j in range(1, convolutions + 1):
                layers.append((f"{theirs}.conv{j}", f"{ours}/conv{j}", 1))
                layers.append((f"{theirs}.bn{j}", f"{ours}/bn{j}", 1))
            layers.append((f"{theirs}.downsample.0", f"{ours}/shortcut/conv", 1))
            layers.append((f"{theirs}.downsample.1", f"{ours}/shortcut/bn", 1))
    return [*layers, (fc, "fc", 1)]
