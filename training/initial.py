"""Where a run starts: from weights that were trained before, with a classifier of its own."""

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from data.messages import some, tell
from training import command, ema, metrics, state

IMAGES = ("image_size", "resize", "mean", "std")  # fields of `input` that belong to weights


def fill(config, before: dict, origin) -> None:
    """Sets the fields that a config leaves open: a network without a name, images of size 0 or mean ().

    They are those of the run that goes on, else of the one to start from, so that the recorded config
    says all. `model.num_classes` 0 stays open where no run goes on: it is that of the data.

    Args:
      config: which is changed.
      before: header of the run that goes on, {} where there is none.
      origin: what the run starts from, see `inference.find`, or None.

    Raises:
      ValueError: fields are open, and neither is there.
    """
    run = command.config_of(before)
    source = run or (origin and origin.config)
    network = not config.model.get("name")
    images = [name for name in IMAGES if not config.input[name]]
    if source is None and (network or images):
        names = ["model.name"] * network + [f"input.{name}" for name in images]
        raise ValueError(
            f"the config leaves {', '.join(names)} to the network that it starts from: name that by "
            "--config.init=DIR, a run, LIBRARY/MODEL, published weights, or LIBRARY/MODEL:FILE"
        )
    for name in images:
        config.input[name] = source.input[name]
    if "resize" in images:  # in proportion, where image_size was given
        was, now = (
            one.get("eval_size", 0) or one.image_size for one in (source.input, config.input)
        )
        config.input.resize = round(now * source.input.resize / was)
        config.input.update(interpolation=source.input.interpolation, squash=source.input.squash)
    if network:
        classes = config.model.get("num_classes", 0)
        config.model = source.model.copy_and_resolve_references()
        config.model.num_classes = classes
    if run and not config.model.num_classes:
        config.model.num_classes = run.model.num_classes


def take(fresh: state.TrainState, origin, config, model, train_source):
    """Returns (`fresh` with the weights of `origin`, what came from where).

    All parameters and BatchNorm statistics are taken; but where the classes are others, or have no names
    by which to know them, the classifier stays fresh. A moving average begins with what results.

    Args:
      fresh: of `state.create`.
      origin: a network with its weights, see `inference.find`.
      config: of the run that starts, whole.
      model: its module.
      train_source: of `data.open_source`.

    Raises:
      ValueError: anything else does not fit; the message names it.
    """
    known, class_names = origin.header.get("classes"), train_source.class_names
    shape = config.input.image_size, config.input.image_size, len(config.input.mean)
    new = set() if known == class_names else state.classifier(model, shape)
    wanted, there = _arrays(fresh), _arrays(origin.state)
    names = sorted((wanted.keys() | there.keys()) - new)
    wrong = [name for name in names if _shape(wanted.get(name)) != _shape(there.get(name))]
    if wrong:
        was, now = ({"model": c.model.to_dict()} for c in (origin.config, config))
        fields = [
            text for name, text in metrics.differences(was, now).items() if "classes" not in name
        ]
        raise ValueError(
            f"init {config.init!r} is another network: {len(wrong)} of {len(names)} arrays do not fit, as "
            f"{wrong[0]}, {_shape(there.get(wrong[0]))} in it, {_shape(wanted.get(wrong[0]))} by the config "
            f"({'; '.join(fields) or 'the fields of the network are the same'})"
        )
    for name in IMAGES:
        before, now = origin.config.input[name], config.input[name]
        if name != "resize" and before != now:
            tell(f"{config.init} was trained with input.{name} {before}, this run has {now}")
    if not known:
        tell(f"{config.init} has not recorded its classes, so its classifier is not taken")
    arrays = {
        name: leaf if name in new else jax.device_put(there[name], leaf.sharding)
        for name, leaf in wanted.items()
    }
    taken = unflatten_dict(arrays, sep="/")
    started = {
        "from": config.init,
        "step": int(origin.state.step),
        "parameters": sum(
            leaf.size
            for name, leaf in wanted.items()
            if name not in new and name.startswith("params/")
        ),
        "fresh": sorted(new),
    }
    train_state = fresh.replace(params=taken["params"], batch_stats=taken.get("batch_stats", {}))
    return ema.begin(train_state) if fresh.ema else train_state, started


def told(started: dict) -> str:
    """Returns the line of the terminal for what `take` says."""
    return (
        f"starts from {started['from']}, step {started['step']}: {started['parameters']:,} parameters are "
        f"from there; fresh: {some(started['fresh']) or 'none'}"
    )


def _arrays(of: state.TrainState) -> dict[str, jax.Array]:
    return flatten_dict({"params": of.params, "batch_stats": of.batch_stats}, sep="/")


def _shape(leaf) -> tuple[int, ...] | str:
    return "missing" if leaf is None else leaf.shape
