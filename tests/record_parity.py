"""Makes tests/parity.json: what PyTorch's own networks answer on weights and input made from a rule.

  pip install torch torchvision timm pytorchcv
  python tests/record_parity.py

None is needed to run the tests: they make the same weights from the rule and compare the answers. Of
the names and sizes in each state dict a digest is stored. What is recorded already stays as it is.
"""

import hashlib
import importlib.metadata
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
    "pytorchcv/alexnet", "pytorchcv/zfnet", "pytorchcv/bn_vgg11",
    "pytorchcv/resnet50", "pytorchcv/resnet20_cifar10", "pytorchcv/resnet164bn_cifar10",
    "pytorchcv/preresnet50", "pytorchcv/preresnet20_cifar10", "pytorchcv/resnext29_32x4d_cifar10",
    "pytorchcv/densenet40_k12_cifar10", "pytorchcv/densenet40_k12_bc_cifar10",
    "pytorchcv/mobilenet_wd4", "pytorchcv/shufflenet_g3_wd4", "pytorchcv/shufflenetv2_wd2",
    "pytorchcv/shufflenetv2b_wd2", "pytorchcv/nasnet_4a1056",
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
    *(f"pytorchcv/{name}{b}" for name in ("alexnet", "zfnet") for b in ("", "b")),
    *(f"pytorchcv/vgg{d}" for d in (11, 13, 16, 19)),
    *(f"pytorchcv/bn_vgg{d}{b}" for d in (11, 13, 16, 19) for b in ("", "b")),
    *(f"pytorchcv/{pre}resnet{d}" for pre in ("", "pre") for d in (18, 34)),
    *(f"pytorchcv/{pre}resnet{d}{b}"
      for pre in ("", "pre") for d in (50, 101, 152) for b in ("", "b")),
    "pytorchcv/resnetbc26b", "pytorchcv/preresnet200", "pytorchcv/preresnet200b",
    *(f"pytorchcv/resnext{n}d" for n in ("50_32x4", "101_32x4", "101_64x4")),
    *(f"pytorchcv/densenet{d}" for d in (121, 161, 169, 201)),
    *(f"pytorchcv/mobilenet_{w}" for w in ("w1", "w3d4", "wd2", "wd4")),
    *(f"pytorchcv/shufflenet_g{g}_w1" for g in (1, 2, 3, 4, 8)),
    *(f"pytorchcv/shufflenet_g{g}_{w}" for g in (1, 3) for w in ("w3d4", "wd2", "wd4")),
    *(f"pytorchcv/shufflenetv2{w}" for w in ("_wd2", "_w1", "b_wd2")),
    *(f"pytorchcv/nasnet_{n}" for n in ("4a1056", "6a4032")),
    *(f"pytorchcv/{pre}resnet{d}_cifar10" for pre in ("", "pre")
      for d in (20, 56, 110, "164bn", "272bn", "542bn", 1001, 1202)),
    *(f"pytorchcv/resnext{n}d_cifar10" for n in ("20_16x4", "20_32x2", "20_32x4", "29_32x4",
                                                 "29_16x64", "272_1x64", "272_2x32")),
    *(f"pytorchcv/densenet{n}_cifar10" for n in ("40_k12", "100_k12", "100_k24", "40_k12_bc",
      "40_k24_bc", "40_k36_bc", "100_k12_bc", "190_k40_bc", "250_k24_bc")),
    *(f"pytorchcv/{n}_{data}" for data in ("cifar100", "svhn") for n in
      ("resnet20", "preresnet20", "resnext29_32x4d", "densenet40_k12")),
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
    import pytorchcv.model_provider
    import timm
    import torch
    import torchvision

    make = {
        "torchvision": torchvision.models.get_model,
        "timm": timm.create_model,
        "pytorchcv": pytorchcv.model_provider.get_model,
    }
    recorded = json.loads(FILE.read_text())
    names, logits = recorded["names"], recorded["logits"]
    for name in dict.fromkeys([*NAMED, *RUN]):
        if name in (logits if name in RUN else names):
            continue
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
        if library == "pytorchcv":
            network = make[library](model, num_classes=10).eval()
            state = network.state_dict()
        network.load_state_dict(
            {k: torch.tensor(tensor(k, tuple(v.shape))) for k, v in state.items()}
        )
        shape = (1, 3, 331, 331) if "nasnetalarge" in name else (2, 3, 224, 224)
        if "cifar" in name:
            shape = (2, 3, 32, 32)
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
    made_by["pytorchcv"] = importlib.metadata.version("pytorchcv")
    lines = [f'  "made_by": {json.dumps(made_by)}']
    for title, entries in (("names", names), ("logits", logits)):
        rows = ",\n".join(
            f'    "{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in entries.items()
        )
        lines.append(f'  "{title}": {{\n{rows}\n  }}')
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
