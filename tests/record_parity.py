"""Makes tests/parity.json: what PyTorch's own networks answer on weights and input made from a rule.

  pip install torch torchvision timm
  python tests/record_parity.py

Neither is needed to run the tests: they make the same weights from the rule and compare the answers. Of
the names and sizes in each state dict a digest is stored.
"""

import hashlib
import json
import pathlib
import zlib

import numpy as np

FILE = pathlib.Path(__file__).parent / "parity.json"
RUN = (  # networks whose logits are stored
    "torchvision/alexnet", "torchvision/vgg11_bn", "torchvision/googlenet",
    "torchvision/resnet18", "torchvision/resnet50", "torchvision/resnext50_32x4d",
    "torchvision/densenet121", "torchvision/shufflenet_v2_x1_0", "timm/vgg11", "timm/mobilenetv1_100",
    "timm/mobilenetv1_100h", "timm/nasnetalarge",
)  # fmt: skip
NAMED = (  # networks whose names and sizes are stored
    *(f"torchvision/vgg{d}{bn}" for d in (11, 13, 16, 19) for bn in ("", "_bn")),
    *(f"timm/vgg{d}{bn}" for d in (11, 13, 16, 19) for bn in ("", "_bn")),
    *(f"torchvision/resnet{d}" for d in (18, 34, 50, 101, 152)),
    *(f"timm/resnet{d}" for d in (18, 26, 34, 50, 101, 152)),
    *(f"torchvision/wide_resnet{d}_2" for d in (50, 101)),
    *(f"torchvision/resnext{n}d" for n in ("50_32x4", "101_32x8", "101_64x4")),
    *(f"timm/resnext{n}d" for n in ("50_32x4", "101_32x4", "101_32x8", "101_32x16", "101_64x4")),
    *(f"{lib}/densenet{d}" for lib in ("torchvision", "timm") for d in (121, 161, 169, 201)),
    *(f"torchvision/shufflenet_v2_x{w}" for w in ("0_5", "1_0", "1_5", "2_0")),
    "torchvision/alexnet", "torchvision/googlenet",
    *(f"timm/mobilenetv1_{w}" for w in ("100", "100h", "125")), "timm/nasnetalarge",
)  # fmt: skip


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the weights of the rule: activations keep their scale, and each name has its own."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if len(shape) >= 2:
        return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    if name.endswith(("weight", "running_var")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (0.1 * rng.standard_normal(shape)).astype(np.float32)


def images(shape) -> np.ndarray:
    """Returns the input [N, 3, height, width] of the rule."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def digest(sizes: dict[str, int]) -> str:
    """Returns a digest of names and numbers of elements, in any order."""
    lines = sorted(f"{name} {size}" for name, size in sizes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def main() -> None:
    import timm
    import torch
    import torchvision

    make = {"torchvision": torchvision.models.get_model, "timm": timm.create_model}
    names, logits = {}, {}
    for name in dict.fromkeys([*NAMED, *RUN]):
        library, _, model = name.partition("/")
        network = make[library](model, **({"init_weights": False} if "googlenet" in name else {}))
        state = network.eval().state_dict()
        names[name] = {
            "digest": digest(
                {k: v.numel() for k, v in state.items() if not k.endswith("num_batches_tracked")}
            ),
            "parameters": sum(p.numel() for p in network.parameters()),
        }
        if name not in RUN:
            continue
        network.load_state_dict(
            {k: torch.tensor(tensor(k, tuple(v.shape))) for k, v in state.items()}
        )
        shape = (1, 3, 331, 331) if "nasnet" in name else (2, 3, 224, 224)
        outputs = {}
        if "googlenet" in name:
            network.transform_input = False
            network.inception4a.register_forward_hook(
                lambda _, __, maps, n=network, out=outputs: out.update(aux1=n.aux1(maps))
            )
            network.inception4d.register_forward_hook(
                lambda _, __, maps, n=network, out=outputs: out.update(aux2=n.aux2(maps))
            )
        with torch.no_grad():
            outputs["logits"] = network(torch.tensor(images(shape)))
        logits[name] = {"shape": shape} | {
            k: [[float(f"{x:.6g}") for x in row] for row in v.tolist()] for k, v in outputs.items()
        }
        print(name, flush=True)
    made_by = {m.__name__: m.__version__ for m in (torch, torchvision, timm)}
    lines = [f'  "made_by": {json.dumps(made_by)}']
    for title, entries in (("names", names), ("logits", logits)):
        rows = ",\n".join(
            f'    "{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in entries.items()
        )
        lines.append(f'  "{title}": {{\n{rows}\n  }}')
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
