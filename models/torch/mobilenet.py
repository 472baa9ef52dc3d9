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
    layers = [("conv_stem", "conv1", 1), ("bn1", "bn1", 1)]
    stage = unit = 0
    for i, (stride, _) in enumerate(mobilenet.BODY, 2):
        stage, unit = (stage + 1, 0) if stride == 2 else (stage, unit)
        theirs, ours = f"blocks.{stage}.{unit}", f"conv{i}"
        layers += [
            (f"{theirs}.conv_dw", f"{ours}/depthwise", 1),
            (f"{theirs}.bn1", f"{ours}/bn1", 1),
            (f"{theirs}.conv_pw", f"{ours}/pointwise", 1),
            (f"{theirs}.bn2", f"{ours}/bn2", 1),
        ]
        unit += 1
    if head_conv:
        layers += [("conv_head", "head_conv", 1), ("bn2", "head_bn", 1)]
    return "mobilenet", fields, [*layers, ("classifier", "fc", 1)]
