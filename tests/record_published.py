"""Makes models/torch/published.csv, the table of published weights, from what their libraries say.

  pip install -e . torch torchvision timm pytorchcv
  python tests/record_published.py --timm_results=results-imagenet.csv

The argument is results/results-imagenet.csv of timm's repository: timm measured its networks there at
the size of images, and the fraction that the centre crop keeps of them, which it evaluates by. The
libraries are not needed to use the table.
"""

import argparse
import csv
import dataclasses
import importlib.metadata
import importlib.resources
import math
import pathlib
import re

from models.torch import weights
from models.torch.published import Published

FILE = pathlib.Path(__file__).parents[1] / "models" / "torch" / "published.csv"
IMAGENET = {"mean": weights.IMAGENET_MEAN, "std": weights.IMAGENET_STD}
CENTRED = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
TIMM_README = {  # top-1 and top-5 at 256 pixels, README.md of its repository, 25 July and 18 Nov 2024
    "mobilenetv1_100.ra4_e3600_r224_in1k": (76.094, 93.004),
    "mobilenetv1_100h.ra4_e3600_r224_in1k": (76.596, 93.272),
    "mobilenetv1_125.ra4_e3600_r224_in1k": (77.600, 93.804),
}
TIMM_RESULTS = "results/results-imagenet.csv of its repository at 0173a13"
AKAMASTER = {  # first digits of SHA-256 in the file's name, and error in percent, README.md at 820f98c
    20: ("12fca82f", 8.27),
    32: ("d509ac18", 7.37),
    44: ("014dd654", 6.90),
    56: ("4bfd9763", 6.61),
    110: ("1d1ed7c2", 6.32),
    1202: ("f3b1deed", 6.18),
}
# pytorch/datasets/cifar10_cls_dataset.py of github.com/osmr/imgclsmob at 7f95637, for CIFAR and SVHN
CIFAR_OF_PYTORCHCV = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
WHOLE_OF_32 = {"image_size": 32, "resize": 32, "interpolation": "bilinear", "squash": False}


def known(name: str) -> bool:
    """Returns whether the project has this network."""
    try:
        weights.describe(name)
    except ValueError:
        return False
    return True


def version(library: str) -> str:
    return f"{library} {importlib.metadata.version(library)}"


def digest(address: str) -> str:
    """Returns the first digits of SHA-256 that torch.hub's convention puts into the name of a file."""
    match = re.search(r"-([0-9a-f]{8,64})\.\w+$", address)
    return f"sha256:{match[1]}" if match else ""


def torchvision():
    import torchvision

    for model in sorted(torchvision.models.list_models(torchvision.models), key=in_order):
        if not known(f"torchvision/{model}"):
            continue
        for one in torchvision.models.get_model_weights(model):
            accuracy = one.meta["_metrics"]["ImageNet-1K"]
            if math.isnan(accuracy["acc@1"]):  # VGG-16 for detection, whose classifier is NaN
                continue
            seen = one.transforms()
            # GoogLeNet's module itself changes images normalised by ImageNet's statistics into these.
            colours = CENTRED if model == "googlenet" else {"mean": seen.mean, "std": seen.std}
            yield Published(
                name=f"torchvision/{model}.{one.name}",
                address=one.url,
                digest=digest(one.url),
                parameters=one.meta["num_params"],
                image_size=seen.crop_size[0],
                resize=seen.resize_size[0],
                interpolation=seen.interpolation.value,
                squash=False,
                **colours,
                top1=accuracy["acc@1"],
                top5=accuracy["acc@5"],
                data="imagenet",
                licence="",  # it says that the data's terms may apply
                source=version("torchvision"),
            )


def timm(results: pathlib.Path):
    import timm
    import torch

    with results.open(encoding="utf-8") as file:
        measured = {row["model"]: row for row in csv.DictReader(file)}
    for model in sorted(timm.list_models(pretrained=False), key=in_order):
        if not known(f"timm/{model}"):
            continue
        default = timm.models.get_pretrained_cfg(model).tag
        with torch.device("meta"):
            parameters = sum(p.numel() for p in timm.create_model(model).parameters())
        for name in sorted(
            timm.list_models(f"{model}.*", pretrained=True),
            key=lambda name: (name != f"{model}.{default}", name),
        ):
            config = timm.models.get_pretrained_cfg(name)
            if config.num_classes != 1000:
                continue
            size = (config.test_input_size or config.input_size)[-1]
            kept = config.test_crop_pct or config.crop_pct
            source = version("timm")
            top1, top5 = TIMM_README.get(name, (None, None))
            if top1:
                source += "; README.md of its repository"
            if row := measured.get(name):
                said = int(row["img_size"]), float(row["crop_pct"]), row["interpolation"]
                assert said == (size, kept, config.interpolation), (name, said)
                assert float(row["param_count"]) == round(parameters / 1e6, 2), name
                top1, top5 = float(row["top1"]), float(row["top5"])
                assert float(row["top1_err"]) == round(100 - top1, 3), name
                assert float(row["top5_err"]) == round(100 - top5, 3), name
                source += f"; {TIMM_RESULTS}"
            file = f"hf:{config.hf_hub_id}/model.safetensors"
            yield Published(
                name=f"timm/{name}",
                address=config.url or file,
                digest=digest(config.url),
                parameters=parameters,
                image_size=size,
                resize=math.floor(size / kept),
                interpolation=config.interpolation,
                squash=config.crop_mode == "squash",
                mean=config.mean,
                std=config.std,
                top1=top1,
                top5=top5,
                data="imagenet",
                licence=config.license or "",
                source=source,
            )


def akamaster():
    folder = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
    for depth, (sha256, error) in AKAMASTER.items():
        yield Published(
            name=f"akamaster/resnet{depth}",
            address=f"{folder}/resnet{depth}-{sha256}.th",
            digest=f"sha256:{sha256}",
            parameters=parameters_of(f"akamaster/resnet{depth}"),
            **WHOLE_OF_32,
            **IMAGENET,
            top1=round(100 - error, 2),
            top5=None,
            data="cifar10",
            licence="bsd-2-clause",  # of the repository that they lie in
            source="README.md of github.com/akamaster/pytorch_resnet_cifar10 at 820f98c",
        )


def pytorchcv():
    releases = "https://github.com/osmr/imgclsmob/releases/download"
    table = importlib.resources.files("pytorchcv.models.common") / "model_metainfos.csv"
    readme = importlib.metadata.metadata("pytorchcv").get_payload()
    errors = {  # in percent, by the name of the file
        file: float(top1)
        for top1, file in re.findall(
            r"^\| [^|]+\| +([\d.]+) \|.*/([^/]+)\.pth\.log\)", readme, re.M
        )
    }
    for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
        model, sha1 = row["model_name"], row["checksum"]
        name = f"pytorchcv/{model}"
        data = model.rpartition("_")[2]
        data = data if data in ("cifar10", "cifar100", "svhn") else "imagenet"
        if sha1 == "NA" or not known(name):
            continue
        file = f"{model}-{row['error_value']}-{sha1[:8]}"
        error = (
            int(row["error_value"]) / 100
        )  # of the five likeliest on ImageNet, else of the likeliest
        if data == "imagenet":
            size = int(row["img_size"])
            seen = {
                "image_size": size,
                "resize": math.ceil(size / float(row["img_scale"])),
                "interpolation": "bilinear",
                "squash": False,
                **IMAGENET,
            }
            top1 = round(100 - errors[file], 2)
        else:
            seen = WHOLE_OF_32 | CIFAR_OF_PYTORCHCV
            top1 = round(100 - error, 2)
        yield Published(
            name=name,
            address=f"{releases}/{row['repo_release_tag']}/{file}.pth.zip",
            digest=f"sha1:{sha1}",  # of the file in it
            parameters=int(row["net_weights"]),
            **seen,
            top1=top1,
            top5=round(100 - error, 2) if data == "imagenet" else None,
            data=data,
            licence="",  # the package's is MIT; of the weights it says nothing
            source=version("pytorchcv"),
        )


def parameters_of(name: str) -> int:
    """Returns the parameters of a network of the project for CIFAR-10."""
    import jax

    import models

    ours, fields, _ = weights.describe(name)
    module = models.create(ours, num_classes=10, **fields)
    shapes = models.shapes(module, (32, 32, 3))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def in_order(name: str) -> list:
    """Returns what sorts resnet18 before resnet101."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def cell(value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timm_results", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    rows = [*torchvision(), *timm(arguments.timm_results), *akamaster(), *pytorchcv()]
    with FILE.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(field.name for field in dataclasses.fields(Published))
        table.writerows([cell(value) for value in dataclasses.astuple(row)] for row in rows)
    print(f"{len(rows)} rows in {FILE}")


if __name__ == "__main__":
    main()
