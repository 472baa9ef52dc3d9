"""Names of ResNeXt and of wide ResNets in torchvision and timm."""

from models import resnext
from models.torch.resnet import residual_layers


def describe(library, depth, cardinality, base_width):
    """Describes a ResNeXt, say `resnext50_32x4d`, as `weights.describe` does."""
    fields = {
        "depth": int(depth),
        "cardinality": int(cardinality),
        "base_width": int(base_width),
    }
    return "resnext", fields, residual_layers(resnext.STAGES[int(depth)], 3)


def describe_wide(library, depth, factor):
    """Describes a wide ResNet, say `wide_resnet50_2`, as `weights.describe` does."""
    return describe(library, depth, 1, 64 * int(factor))
