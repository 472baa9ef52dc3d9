"""Devices, processes, and arrays that span them."""

import glob
import importlib.util
import os

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def join_cluster() -> None:
    """Joins the other processes where the environment announces a cluster; call it before JAX.

    Slurm, Open MPI, Kubernetes and Cloud TPU pods are recognised, as `jax.distributed.initialize`
    does. On one machine there is nothing to join.
    """
    several = any(
        int(os.environ.get(name, 1)) > 1
        for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
    )
    slurm_task = "SLURM_PROCID" in os.environ or "SLURM_NTASKS" not in os.environ
    indexed_job = "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ
    tpu_host = bool(
        importlib.util.find_spec("libtpu") and glob.glob("/dev/accel*") + glob.glob("/dev/vfio/*")
    )
    if (several and slurm_task) or indexed_job or tpu_host:
        if "PMI_SIZE" in os.environ:  # Intel MPI and MPICH announce themselves through mpi4py
            jax.distributed.initialize(cluster_detection_method="mpi4py")
        else:
            jax.distributed.initialize()


def make_mesh() -> Mesh:
    """Returns the mesh of all devices of all processes, with the one axis "data"."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("data"))


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes one global array of the processes' shares of a batch, split over the devices."""
    sharding = split_batch(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def check_batch_size(batch_size: int) -> None:
    """Raises ValueError where the devices cannot share a batch evenly."""
    devices = jax.device_count()
    if batch_size % devices:
        down, up = batch_size // devices * devices, -(-batch_size // devices) * devices
        choices = " or ".join(str(size) for size in (down, up) if size)
        raise ValueError(
            f"batch_size {batch_size} does not divide by {devices} devices: choose {choices}"
        )


def eval_batch_size(batch_size: int) -> int:
    """Rounds up to a multiple of the devices: evaluation fills the last places with mask 0."""
    devices = jax.device_count()
    return -(-batch_size // devices) * devices
