"""The start of a process: simulated devices, and the other processes that it joins."""

import glob
import importlib.util
import os

import jax

SKYPILOT_PORT = 8476  # on the first node, where the processes of a SkyPilot job meet


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


def join_cluster() -> None:
    """Joins the other processes where the environment announces a cluster; call it before JAX.

    Slurm, Open MPI, Kubernetes and Cloud TPU pods are recognised, as `jax.distributed.initialize`
    does, and the nodes of a SkyPilot job. On one machine there is nothing to join.
    """
    env = os.environ
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")
    srun = all(name in env for name in slurm) and int(env["SLURM_NTASKS"]) > 1
    open_mpi = int(env.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
    other_mpi = int(env.get("PMI_SIZE", 1)) > 1 and "SLURM_JOB_ID" not in env
    kubernetes = "KUBERNETES_SERVICE_HOST" in env and "JOB_COMPLETION_INDEX" in env
    tpu_chips = glob.glob("/dev/accel*") + glob.glob("/dev/vfio/*")
    tpu = bool(tpu_chips and importlib.util.find_spec("libtpu"))
    if srun and env["SLURM_NTASKS"] == env.get("SLURM_STEP_NUM_NODES"):
        # One process a node takes all its GPUs; JAX would give it the first one.
        gpus = int(env.get("SLURM_GPUS_ON_NODE", 0))
        jax.distributed.initialize(local_device_ids=list(range(gpus)) or None)
    elif srun or open_mpi or kubernetes or tpu:
        jax.distributed.initialize()
    elif int(env.get("SKYPILOT_NUM_NODES", 1)) > 1:
        first = env["SKYPILOT_NODE_IPS"].split()[0]
        jax.distributed.initialize(
            f"{first}:{SKYPILOT_PORT}",
            num_processes=int(env["SKYPILOT_NUM_NODES"]),
            process_id=int(env["SKYPILOT_NODE_RANK"]),
            cluster_detection_method="deactivate",
        )
    elif other_mpi:  # Intel MPI and MPICH can be asked through mpi4py
        jax.distributed.initialize(cluster_detection_method="mpi4py")
