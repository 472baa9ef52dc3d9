"""This project's side of `train` and `infer`, and the same networks from stock operations."""

import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

import jax
import jax.numpy as jnp
import optax

import analysis
import data
import models
from benchmarks import networks, worker
from models import layers
from training import cluster, command, sharding, state


def prepare(spec):
    """Returns (facts, run), as `worker.serve` wants it, of the network and step that `spec` names."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # peers share the device
    command.keep_memory()  # as train.py does
    cluster.several_cpu_devices()
    jax.config.update("jax_enable_compilation_cache", False)  # compiling is timed
    config = networks.load(spec["network"], spec["batch"], spec["size"], spec["dtype"])
    module, shape = models.create(**config.model), data.input_shape(config.input)
    product = matrix_product(spec["dtype"])
    mesh = sharding.make_mesh(jax.devices()[: spec["devices"]])
    if mesh.size < spec["devices"]:
        raise ValueError(f"--devices={spec['devices']}: there are {mesh.size}")
    sharding.check_batch_size(config.batch_size, mesh.size)
    task = {"train": train_task, "infer": infer_task}[spec["task"]]
    with layers.use_stock(spec["stock"]):
        compile_seconds, compiled, run = task(config, mesh)
    step_seconds = worker.seconds(run, 1)
    if step_seconds < worker.SLOW:
        step_seconds = worker.seconds(run, 1)
    return {
        "compile_seconds": compile_seconds,
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "step_seconds": step_seconds,
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "multiply_adds": analysis.count(module, shape).multiply_adds,  # of one image, forward
        "matrix_product_flops": product,
    }, run


def train_task(config, mesh):
    """Returns (seconds to compile, compiled, run) of the project's compiled training step on one batch."""
    now, step, arguments = networks.training(config, mesh)
    compile_seconds, compiled = compile_now(step, now, *arguments)

    def run(count):
        nonlocal now
        for _ in range(count):
            now, metrics = compiled(now, *arguments)
        jax.block_until_ready((now, metrics))

    return compile_seconds, compiled, run


def infer_task(config, mesh):
    """Returns (seconds to compile, compiled, run) of the network on one batch of float images."""
    module, shape = models.create(**config.model), data.input_shape(config.input)
    made = state.create(module, optax.identity(), shape, 0, mesh)
    variables = {"params": made.params, "batch_stats": made.batch_stats}
    images = jax.random.normal(jax.random.key(0), (config.batch_size, *shape))
    images = jax.device_put(images, sharding.split_batch(mesh))

    def apply(variables, images):
        return module.apply(variables, images, train=False)

    compile_seconds, compiled = compile_now(jax.jit(apply), variables, images)

    def run(count):
        for _ in range(count):
            logits = compiled(variables, images)
        jax.block_until_ready(logits)

    return compile_seconds, compiled, run


def compile_now(function, *arguments):
    """Returns (seconds to trace and compile, the compiled function)."""
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    return time.perf_counter() - start, compiled


def matrix_product(dtype: str) -> float:
    """Returns the FLOP/s of a product of two square matrices of side 2048; median of 3 times 0.2 s."""
    x = jax.random.normal(jax.random.key(0), (2048, 2048), dtype)
    multiply = jax.jit(jnp.matmul)

    def run(count):
        for _ in range(count):
            y = multiply(x, x)
        y.block_until_ready()

    run(1)
    products = 1
    while worker.seconds(run, products) < 0.2:
        products *= 2
    return 2 * 2048**3 * products / statistics.median(worker.seconds(run, products) for _ in "123")


if __name__ == "__main__":
    worker.serve(prepare)
