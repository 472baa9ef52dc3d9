"""Names of torchvision's AlexNet."""


def describe(library):
    """Describes AlexNet, as `weights.describe` does."""
    layers = [(f"features.{n}", f"Conv_{i}", 1) for i, n in enumerate((0, 3, 6, 8, 10))]
    layers += [("classifier.1", "Dense_0", 6), ("classifier.4", "Dense_1", 1)]
    layers += [("classifier.6", "Dense_2", 1)]
    return "alexnet", {"form": "single_tower", "pooled_size": 6}, layers
