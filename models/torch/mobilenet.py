"""Names of timm's MobileNet."""

from models import mobilenet


def describe(library, hundredths, head_conv):
    """Describes a MobileNet, say `mobilenetv1_100h`, as `weights.describe` does."""
    fields = {
        "width_multiplier": int(hundredths) / 100,
        "head_conv": bool(head_conv),
        "padding": "symmetric",
        "activation": "relu6",
        "epsilon": 1e-5,
        "bn_momentum": 0.9,
    }
    layers = [("conv_stem", "Conv_0", 1), ("bn1", "BatchNorm_0", 1)]
    stage = unit = 0
    for i, (stride, _) in enumerate(mobilenet.BODY):
        stage, unit = (stage + 1, 0) if stride == 2 else (stage, unit)
        theirs, ours = f"blocks.{stage}.{unit}", f"SeparableConv_{i}"
        layers += [
            (f"{theirs}.conv_dw", f"{ours}/Conv_0", 1),
            (f"{theirs}.bn1", f"{ours}/BatchNorm_0", 1),
        ]
        layers += [
            (f"{theirs}.conv_pw", f"{ours}/Conv_1", 1),
            (f"{theirs}.bn2", f"{ours}/BatchNorm_1", 1),
        ]
        unit += 1
    if head_conv:
        layers += [("conv_head", "Conv_1", 1), ("bn2", "BatchNorm_1", 1)]
    return "mobilenet", fields, [*layers, ("classifier", "Dense_0", 1)]
