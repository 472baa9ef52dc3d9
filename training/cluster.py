"""The start of a process: simulated devices, and the other processes that it joins."""

import glob
import importlib.util
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
from jax._src import distributed  # has the one barrier that waits as long as one says

from training import lost, sharding

PORT = 8476  # on the first node, where the processes of a SkyPilot job meet
START_TIMEOUT = 600  # seconds; the defaults of the config fields
LOST_TIMEOUT = 120
OF_OTHERS = ("Gloo", "NCCL", "Barrier", "coordination")  # in errors of what processes do together


def several_cpu_devices() -> None:
    """Keeps simulated devices from waiting for each other forever; call it before JAX.

    They share one pool of threads: with as many as cores, those that wait in an all-reduce can
    hold every thread that the last one needs, and XLA aborts after 40 s (seen with 8 devices on 2
    cores, jax 0.10.2). So each device computes in its own thread, one program at a time.
    """
    if jax.config.jax_num_cpu_devices > 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"
        jax.config.update("jax_cpu_enable_async_dispatch", False)


def join_cluster(start_timeout: int = START_TIMEOUT, lost_timeout: int = LOST_TIMEOUT) -> None:
    """Joins the other processes where the environment announces a cluster; call it before JAX.

    Slurm, Open MPI, Kubernetes and Cloud TPU pods are recognised, as `jax.distributed.initialize`
    does, the nodes of a SkyPilot job, and the pods of an indexed job of Kubernetes that has
    JAX_COORDINATOR_ADDRESS and JAX_NUM_PROCESSES. On one machine there is nothing to join.

    Args:
      start_timeout: seconds within which all processes have to have started.
      lost_timeout: seconds without a sign of life after which a process counts as lost, and the
        others end.

    Raises:
      ValueError: JAX cannot tell which processes belong together, or cannot open the port.
    """
    limits = {
        "initialization_timeout": start_timeout,
        "heartbeat_timeout_seconds": lost_timeout,
        "shutdown_timeout_seconds": lost_timeout,
    }
    try:
        about = _announced()
        if about is None:
            return
        _tell_lost()
        jax.distributed.initialize(**about, **limits)  # returns once all are there
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the processes of this run cannot meet ({error}): docs/sweeps.md says what they need"
        ) from error


def connect(start_timeout: int = START_TIMEOUT) -> None:
    """Opens the connections between the devices of all processes; call it before any long compilation.

    On the CPU the first program that needs them waits no more than 30 s for the other processes
    (jaxlib 0.10.1), of which one may compile for longer than another.
    """
    if jax.process_count() == 1:
        return
    distributed.global_state.client.wait_at_barrier("devices are there", 1000 * start_timeout)
    every = sharding.split_batch(sharding.make_mesh())
    ones = jax.jit(lambda: jnp.ones(jax.device_count()), out_shardings=every)()
    jax.block_until_ready(jax.jit(jnp.sum)(ones))


def _announced() -> dict | None:
    """Returns the arguments of `jax.distributed.initialize` that the environment asks for; None: it does not."""
    env = os.environ
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")
    srun = all(name in env for name in slurm) and int(env["SLURM_NTASKS"]) > 1
    open_mpi = int(env.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
    other_mpi = int(env.get("PMI_SIZE", 1)) > 1 and "SLURM_JOB_ID" not in env
    indexed = "JOB_COMPLETION_INDEX" in env
    kubernetes = "KUBERNETES_SERVICE_HOST" in env and indexed
    tpu_chips = glob.glob("/dev/accel*") + glob.glob("/dev/vfio/*")
    tpu = bool(tpu_chips and importlib.util.find_spec("libtpu"))
    if indexed and "JAX_COORDINATOR_ADDRESS" in env and "JAX_NUM_PROCESSES" in env:
        return _by_hand(
            env["JAX_COORDINATOR_ADDRESS"], env["JAX_NUM_PROCESSES"], env["JOB_COMPLETION_INDEX"]
        )
    if srun and env["SLURM_NTASKS"] == env.get("SLURM_STEP_NUM_NODES"):
        # One process a node takes all its GPUs; JAX would give it the first one.
        gpus = int(env.get("SLURM_GPUS_ON_NODE", 0))
        return {"local_device_ids": list(range(gpus)) or None}
    if srun or open_mpi or kubernetes or tpu:
        return {}
    if int(env.get("SKYPILOT_NUM_NODES", 1)) > 1:
        first = env["SKYPILOT_NODE_IPS"].split()[0]
        address = f"{first}:{env.get('JAX_COORDINATOR_PORT', PORT)}"
        return _by_hand(address, env["SKYPILOT_NUM_NODES"], env["SKYPILOT_NODE_RANK"])
    if other_mpi:  # Intel MPI and MPICH can be asked through mpi4py
        return {"cluster_detection_method": "mpi4py"}
    return None


def _by_hand(address: str, number: str, index: str) -> dict:
    return {
        "coordinator_address": address,
        "num_processes": int(number),
        "process_id": int(index),
        "cluster_detection_method": "deactivate",
    }


def _tell_lost() -> None:
    """Has one line told in place of the stack traces with which JAX aborts a process that is without others.

    JAX ends the process from a thread of its own, and offers no callback in Python; so what is written
    to stderr passes through another process.
    """
    program = [sys.executable, "-S", lost.__file__]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, start_new_session=True)
    os.dup2(process.stdin.fileno(), 2)
    process.stdin.close()
