"""Makes a checkpoint of published PyTorch weights, which eval.py reads. PyTorch is not needed.

Without --weights, published ones are fetched into a cache, ~/.cache/cnn-architectures/weights, checked and
kept there; docs/weights.md says more. --list lists them: all, or those whose name has --model in it.

Nothing of the weights file is run. The config that is noted with the checkpoint has the images as they were
when the published accuracy was measured. The last line of standard output is the command that evaluates it.

Examples:
  python scripts/import_torch.py --list --model=resnet50
  python scripts/import_torch.py --model=timm/resnet50.a1_in1k --workdir=runs/resnet50-a1
  python scripts/import_torch.py --model=akamaster/resnet20 --weights=resnet20-12fca82f.th \\
      --workdir=runs/akamaster-resnet20
"""

import importlib
import pathlib
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

import jax
from absl import flags
from etils import epath

import configs
import inference
import models
from analysis import markdown
from models.torch import published, weights
from training import checkpoints, command, files

MODEL = flags.DEFINE_string("model", None, "LIBRARY/NAME, for example timm/vgg11.")
WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "The file: .pth, .pt, .th or .safetensors; default: what was published, fetched.",
)
LIST = flags.DEFINE_bool("list", False, "List published weights, and do nothing else.")
flags.declare_key_flag("workdir")
EVALUATED_ON = {  # by what the table of published weights says of their data
    "imagenet": {"source": "tfds:imagenet2012", "eval_split": "validation"},
    "cifar10": {"source": "tfds:cifar10", "eval_split": "test"},
    "cifar100": {"source": "tfds:cifar100", "eval_split": "test"},
    "svhn": {"source": "tfds:svhn_cropped", "eval_split": "test"},
}


def main() -> None:
    if LIST.value:
        print(listed(MODEL.value or ""))
        return
    if not (MODEL.value and command.WORKDIR.value):
        raise ValueError("give --model=LIBRARY/NAME and --workdir=DIR, or --list; --help says more")
    workdir = command.workdir()
    folder = epath.Path(workdir).expanduser() / "checkpoints"
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds checkpoints already: choose another --workdir")

    run = inference.of_pytorch(MODEL.value, WEIGHTS.value)
    images, one = weights.preprocessing(MODEL.value), published.find(MODEL.value)
    images |= EVALUATED_ON[one.data] if one else {}
    config, fields = closest_config(run.module, images)
    saved = checkpoints.Checkpoints(workdir)
    saved.save(0, run.state, None)
    saved.wait()
    saved.close()

    made = importlib.import_module(config.removesuffix(".py").replace("/", ".")).get_config()
    made.update_from_flattened_dict(fields)
    header = {"config": made.to_dict(), "command": " ".join(sys.argv)} | run.header
    files.write_jsonl(files.absolute(workdir) / "metrics.jsonl", [header])
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run.state.params))
    print(f"{parameters:,} parameters, in {folder}")
    where = shlex.quote(f"--workdir={workdir}")
    print(f"python scripts/predict.py {where} photo.jpg")
    print(f"python eval.py {where}")


def listed(part: str) -> str:
    """Returns the table of published weights whose name has `part` in it, in words of this command."""
    found = [one for name, one in published.networks().items() if part in name]
    if not found:
        raise ValueError(
            f"no published weights have {part!r} in their name; --list alone lists all"
        )
    rows = [("name", "data", "top-1", "top-5", "image", "parameters", "licence")]
    for one in found:
        top1, top5 = (f"{x:.2f}" if x else "" for x in (one.top1, one.top5))
        numbers = str(one.image_size), f"{one.parameters:,}"
        rows.append((one.name, one.data, top1, top5, *numbers, one.licence or "not stated"))
    lines = markdown.columns([row[:-1] for row in rows], left=2).splitlines()
    return "\n".join(f"{line}  {row[-1]}" for line, row in zip(lines, rows, strict=True))


def closest_config(network, images: dict) -> tuple[str, dict]:
    """Returns the config, of as many classes if there is one, with the fewest other fields, and those.

    Args:
      network: the module.
      images: what they are and how it sees them: fields of the section `input`.
    """
    fields = models.fields(network)
    architecture = fields.pop("name")
    defaults = vars(type(network))  # where a dataclass keeps them
    found = []
    for experiment in configs.available():
        module = importlib.import_module(f"configs.{experiment}")
        config = module.get_config()
        model = config.model
        if model.name != architecture:
            continue
        other = {k: v for k, v in fields.items() if model.get(k, defaults.get(k)) != v}
        if other.keys() <= set(model):  # only a field that the config has can be a flag
            other_classes = "num_classes" in other
            sweeps = hasattr(module, "sweep")  # of two alike, the one that is no sweep
            found.append((other_classes, len(other), sweeps, experiment, other, config.input))
    if not found:
        raise ValueError(
            f"no config in configs/ can describe this network: {architecture}, {fields}"
        )
    *_, name, other, config = min(found, key=lambda entry: entry[:4])
    other = {f"model.{k}": v for k, v in other.items()}
    if len(config.mean) == len(images["mean"]):  # else of grey images
        other |= {f"input.{k}": v for k, v in images.items() if config[k] != v}
    return f"configs/{name}.py", other


if __name__ == "__main__":
    command.run(main)
