"""Names of VGG in torchvision and timm."""

from models import vgg


def describe(library, depth, batch_norm):
    """Describes a VGG, say `vgg16_bn`, as `weights.describe` does."""
    depth, batch_norm = int(depth), bool(batch_norm)
    layers, n = [], 0
    for stage, convolutions in enumerate(vgg.STAGES[depth], 1):
        for i in range(1, convolutions + 1):
            layers.append((f"features.{n}", f"conv{stage}_{i}", 1))
            if batch_norm:
                layers.append((f"features.{n + 1}", f"bn{stage}_{i}", 1))
            n += 2 + batch_norm
        n += 1
    names = ("classifier.0", "classifier.3", "classifier.6")
    if library == "timm":
        names = ("pre_logits.fc1", "pre_logits.fc2", "head.fc")
    layers += [(names[0], "fc6", 7), (names[1], "fc7", 1), (names[2], "fc8", 1)]
    return "vgg", {"depth": depth, "batch_norm": batch_norm, "pooled_size": 7}, layers
