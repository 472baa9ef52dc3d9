"""Names of VGG in torchvision and timm."""

from models import vgg


def describe(library, depth, batch_norm):
    """Describes a VGG, say `vgg16_bn`, as `weights.describe` does."""
    depth, batch_norm = int(depth), bool(batch_norm)
    layers, n, i = [], 0, 0  # n: PyTorch's number, i: ours
    for convolutions in vgg.STAGES[depth]:
        for _ in range(convolutions):
            layers.append((f"features.{n}", f"Conv_{i}", 1))
            if batch_norm:
                layers.append((f"features.{n + 1}", f"BatchNorm_{i}", 1))
            n, i = n + 2 + batch_norm, i + 1
        n += 1
    names = ("classifier.0", "classifier.3", "classifier.6")
    if library == "timm":
        names = ("pre_logits.fc1", "pre_logits.fc2", "head.fc")
    layers += [(names[0], "Dense_0", 7), (names[1], "Dense_1", 1), (names[2], "Dense_2", 1)]
    return "vgg", {"depth": depth, "batch_norm": batch_norm, "pooled_size": 7}, layers
