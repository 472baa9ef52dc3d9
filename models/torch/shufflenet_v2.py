"""Names of torchvision's ShuffleNet v2."""

from models import shufflenet_v2


def describe(library, whole, tenths):
    """Describes a ShuffleNet v2, say `shufflenet_v2_x1_0`, as `weights.describe` does."""
    multiplier = int(whole) + int(tenths) / 10
    shufflenet_v2.CHANNELS[multiplier]
    layers, n = [("conv1.0", "Conv_0", 1), ("conv1.1", "BatchNorm_0", 1)], 0
    for stage, units in enumerate(shufflenet_v2.UNITS, 2):
        for u in range(units):
            pairs = [f"branch2.{p}" for p in (0, 3, 5)]
            if u == 0:
                pairs = ["branch1.0", "branch1.2", *pairs]
            for j, conv in enumerate(pairs):
                branch, _, number = conv.partition(".")
                theirs = f"stage{stage}.{u}.{branch}"
                layers.append((f"{theirs}.{number}", f"Unit_{n}/Conv_{j}", 1))
                layers.append((f"{theirs}.{int(number) + 1}", f"Unit_{n}/BatchNorm_{j}", 1))
            n += 1
    layers += [("conv5.0", "Conv_1", 1), ("conv5.1", "BatchNorm_1", 1), ("fc", "Dense_0", 1)]
    return "shufflenet_v2", {"width_multiplier": multiplier}, layers
