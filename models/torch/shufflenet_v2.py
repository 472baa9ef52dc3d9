"""Names of torchvision's ShuffleNet v2."""

from models import shufflenet_v2


def describe(library, whole, tenths):
    """Describes a ShuffleNet v2, say `shufflenet_v2_x1_0`, as `weights.describe` does."""
    multiplier = int(whole) + int(tenths) / 10
    shufflenet_v2.CHANNELS[multiplier]
    layers = [("conv1.0", "conv1", 1), ("conv1.1", "bn1", 1)]
    for stage, units in enumerate(shufflenet_v2.UNITS, 2):
        for u in range(units):
            branches = {"branch2": ("right", (0, 3, 5))}
            if u == 0:
                branches["branch1"] = ("left", (0, 2))
            for branch, (side, numbers) in branches.items():
                theirs, ours = f"stage{stage}.{u}.{branch}", f"stage{stage}/block{u + 1}/{side}"
                for j, number in enumerate(numbers, 1):
                    layers.append((f"{theirs}.{number}", f"{ours}_conv{j}", 1))
                    layers.append((f"{theirs}.{number + 1}", f"{ours}_bn{j}", 1))
    layers += [("conv5.0", "conv5", 1), ("conv5.1", "bn5", 1), ("fc", "fc", 1)]
    return "shufflenet_v2", {"width_multiplier": multiplier}, layers
