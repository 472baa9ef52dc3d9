"""Names of ResNet in torchvision and timm, and in akamaster's code for CIFAR-10."""

from models import resnet


def describe(library, depth):
    """Describes a ResNet, say `resnet50`, as `weights.describe` does."""
    depth = int(depth)
    block, convolutions = ("BasicBlock", 2) if depth in (18, 34) else ("BottleneckBlock", 3)
    shortcut = ("Shortcut_0/Conv_0", "Shortcut_0/BatchNorm_0")
    layers = residual_layers(resnet.STAGES[depth], block, shortcut, convolutions)
    return "resnet", {"depth": depth}, layers


def describe_cifar(library, depth):
    """Describes a ResNet for CIFAR-10, say `resnet20`, as `weights.describe` does."""
    stages = {d: ((d - 2) // 6,) * 3 for d in (20, 32, 44, 56, 110, 1202)}[int(depth)]
    fields = {"depth": int(depth), "layout": "cifar", "shortcut": "A", "shortcut_zeros": "around"}
    return "resnet", fields, residual_layers(stages, "BasicBlock", ("", ""), 2, fc="linear")


def residual_layers(stages, block, shortcut, convolutions, fc="fc"):
    """The names that ResNets and ResNeXts share; `shortcut` is (convolution, BatchNorm) in a block."""
    layers, i = [("conv1", "Conv_0", 1), ("bn1", "BatchNorm_0", 1)], 0
    for stage, blocks in enumerate(stages, 1):
        for b in range(blocks):
            theirs, ours = f"layer{stage}.{b}", f"{block}_{i}"
            for j in range(convolutions):
                layers.append((f"{theirs}.conv{j + 1}", f"{ours}/Conv_{j}", 1))
                layers.append((f"{theirs}.bn{j + 1}", f"{ours}/BatchNorm_{j}", 1))
            layers.append((f"{theirs}.downsample.0", f"{ours}/{shortcut[0]}", 1))
            layers.append((f"{theirs}.downsample.1", f"{ours}/{shortcut[1]}", 1))
            i += 1
    return [*layers, (fc, "Dense_0", 1)]
