"""Makes a checkpoint of published PyTorch weights, which eval.py reads. PyTorch is not needed.

Nothing of the weights file is run. The last line of standard output is the command that evaluates it.

Images must be normalised as they were for these weights. The config that is noted with the checkpoint says
how the published ones want it: by the mean and std of ImageNet, or from -1 to 1 (torchvision's GoogLeNet,
timm's MobileNet and NASNet).

Examples:
  python scripts/import_torch.py --model=torchvision/resnet50 --weights=resnet50-0676ba61.pth \\
      --workdir=runs/torchvision-resnet50
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
import jax.numpy as jnp
from absl import flags
from etils import epath

import configs
import data
import models
from models.torch import files as torch_files
from models.torch import weights
from training import checkpoints, command, files
from training.state import TrainState

MODEL = flags.DEFINE_string("model", None, "LIBRARY/NAME, for example timm/vgg11.")
WEIGHTS = flags.DEFINE_string("weights", None, "The file: .pth, .pt, .th or .safetensors.")
flags.declare_key_flag("workdir")
flags.mark_flags_as_required(["model", "weights", "workdir"])


def main() -> None:
    workdir = command.workdir()
    folder = epath.Path(workdir).expanduser() / "checkpoints"
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds checkpoints already: choose another --workdir")

    network, variables = models.load_torch(MODEL.value, torch_files.read(WEIGHTS.value))
    expected = weights.preprocessing(MODEL.value)
    config, fields = closest_config(network, {k: expected[k] for k in ("mean", "std")})
    variables = jax.tree.map(jnp.asarray, variables)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    state = TrainState(jnp.zeros((), jnp.int32), params, batch_stats, opt_state={})
    saved = checkpoints.Checkpoints(workdir)
    saved.save(0, state, None)
    saved.wait()
    saved.close()

    made = importlib.import_module(config.removesuffix(".py").replace("/", ".")).get_config()
    made.update_from_flattened_dict(fields)
    header = {"config": made.to_dict(), "command": " ".join(sys.argv), "weights": MODEL.value}
    header |= data.imagenet.header(network.num_classes)
    files.write_jsonl(files.absolute(workdir) / "metrics.jsonl", [header])
    print(f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters, in {folder}")
    print("python eval.py", shlex.quote(f"--workdir={workdir}"))


def closest_config(network, normalised) -> tuple[str, dict]:
    """Returns the config, of as many classes if there is one, with the fewest other fields, and those."""
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
    *_, name, other, images = min(found, key=lambda entry: entry[:4])
    other = {f"model.{k}": v for k, v in other.items()}
    for k, v in normalised.items():
        if len(images[k]) == len(v) and images[k] != v:  # not for grey images
            other[f"input.{k}"] = v
    return f"configs/{name}.py", other


if __name__ == "__main__":
    command.run(main)
