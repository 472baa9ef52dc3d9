"""The mesh of devices, and arrays that span it."""

import jax
import jaxlib
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from data.messages import some

WRONG_ON_CPU = {"0.10.2", "0.11.0"}  # which setup.py leaves out


def make_mesh(devices: list | None = None, model_devices: int = 1) -> Mesh:
    """Returns the mesh of `devices`, else of all of all processes.

    Its axis "data" splits the batch. With several `model_devices` for each copy of the network it has the
    axis "model", too, over which a network that has parts is split.

    Raises:
      ValueError: the devices cannot be grouped so, or jaxlib is one that computes wrongly on them.
    """
    devices = jax.devices() if devices is None else devices
    if devices[0].platform == "cpu" and jaxlib.__version__ in WRONG_ON_CPU:
        raise ValueError(
            f"jaxlib {jaxlib.__version__} computes some programs wrongly on the CPU (jax#39103, jax#39257): "
            "install another one, pip install -e . or pip install 'jaxlib!=0.10.2,!=0.11.0'"
        )
    shape, names = (len(devices),), ("data",)
    if model_devices > 1:
        if jax.local_device_count() % model_devices or len(devices) % model_devices:
            raise ValueError(
                f"model_devices {model_devices}: a process has {jax.local_device_count()} devices, of which "
                f"{len(devices)} in all are used, no multiple of that; JAX_NUM_CPU_DEVICES=2 simulates two on "
                "the CPU"
            )
        shape, names = (len(devices) // model_devices, model_devices), ("data", "model")
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(shape), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("data"))


def of_state(mesh: Mesh, state):
    """Returns the sharding of each array of a state or its shapes.

    Without the axis "model" all are on each device; with it the last axis of each array, a layer's
    outputs, is split over it.

    Raises:
      ValueError: the last axis of an array cannot be split evenly.
    """

    def of_array(leaf):
        if "model" not in mesh.axis_names or leaf.ndim == 0:
            return replicated(mesh)
        if leaf.shape[-1] % mesh.shape["model"]:
            raise ValueError(
                f"model_devices {mesh.shape['model']}: a layer has {leaf.shape[-1]} outputs, which cannot be "
                "split evenly (for the last one set an even model.num_classes)"
            )
        return NamedSharding(mesh, PartitionSpec(*[None] * (leaf.ndim - 1), "model"))

    return jax.tree.map(of_array, state)


def split(model, mesh: Mesh):
    """Returns the network as the devices of `mesh` compute it.

    With the axis "model" that is `model.split(mesh)`, whose `apply` takes and returns what the
    network's own does.

    Raises:
      ValueError: the mesh has an axis "model", and the network has no parts.
    """
    if "model" not in mesh.axis_names:
        return model
    if not hasattr(model, "split"):
        raise ValueError(
            f"model_devices {mesh.shape['model']}: only alexnet is split, into its 2 towers"
        )
    return model.split(mesh)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes one global array of the processes' shares of a batch, split over the devices."""
    sharding = split_batch(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def micro_batches(arrays, number: int, mesh: Mesh):
    """Returns arrays of a batch, [N, ...], as [number, N / number, ...]; each device splits its own share."""
    devices = mesh.shape["data"]

    def of_array(array):
        shares = array.reshape(devices, number, -1, *array.shape[1:])
        parts = shares.swapaxes(0, 1).reshape(number, -1, *array.shape[1:])
        return jax.lax.with_sharding_constraint(
            parts, NamedSharding(mesh, PartitionSpec(None, "data"))
        )

    return jax.tree.map(of_array, arrays)


def check_batch_size(batch_size: int, devices: int, accumulate_steps: int = 1) -> None:
    """Raises ValueError where that number of devices cannot share a batch, or its micro-batches, evenly."""
    if batch_size % devices:
        down, up = batch_size // devices * devices, -(-batch_size // devices) * devices
        choices = " or ".join(str(size) for size in (down, up) if size)
        raise ValueError(
            f"batch_size {batch_size} does not divide by {devices} devices: choose {choices}"
        )
    share = batch_size // devices
    if share % accumulate_steps:
        choices = [str(number) for number in range(2, share + 1) if share % number == 0]
        raise ValueError(
            f"accumulate_steps {accumulate_steps} does not divide the {share} images that each of {devices} "
            f"device(s) has of a batch: choose {some(['1', *choices])}"
        )


def eval_batch_size(batch_size: int, devices: int) -> int:
    """Rounds up to a multiple of the devices: evaluation fills the last places with mask 0."""
    return -(-batch_size // devices) * devices
