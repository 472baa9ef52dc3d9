"""Names of torchvision's AlexNet."""


def describe(library):
    """Describes AlexNet, as `weights.describe` does."""
    layers = [(f"features.{n}", f"conv{i}", 1) for i, n in enumerate((0, 3, 6, 8, 10), 1)]
    layers += [("classifier.1", "fc6", 6), ("classifier.4", "fc7", 1)]
    layers += [("classifier.6", "fc8", 1)]
    return "alexnet", {"form": "single_tower", "pooled_size": 6}, layers
