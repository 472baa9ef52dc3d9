"""Eight simulated devices, one cache of compiled programs, and ways to run the commands."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from training import start

os.environ["JAX_PLATFORMS"] = "cpu"
# A cache for each worker of pytest-xdist: JAX's may be read while another process writes it.
worker = os.environ.get("PYTEST_XDIST_WORKER", "")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    os.path.join(tempfile.gettempdir(), f"cnn-architectures-tests{worker}"),
)

# Programs are compiled fast rather than well, as each runs a few times.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # later ones have no other emitters
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
AS_USERS_COMPILE = {"XLA_FLAGS": ""}  # for `command`
USER_ENVIRONMENT = dict(os.environ)
start.quiet()

import jax  # noqa: E402 - after the environment is set
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

import analysis  # noqa: E402
from training import cluster  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
cluster.several_cpu_devices()


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="also run what is marked slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("all"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


PROJECT = pathlib.Path(__file__).parents[1]


def command(*arguments, devices: int = 1, env=None):
    """Returns the arguments of `subprocess` for a command of this project."""
    return {
        "args": [sys.executable, *map(str, arguments)],
        "cwd": PROJECT,
        "env": USER_ENVIRONMENT | {"JAX_NUM_CPU_DEVICES": str(devices)} | (env or {}),
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


def train_until(step: int, config, workdir) -> None:
    """Trains until a signal after `step`, by which the run is saved and ends."""
    import train

    class Stop(train.command.StopSignal):
        def received(self, now):
            return now == step

    with pytest.MonkeyPatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(train.command, "StopSignal", Stop)
        train.train(config, workdir)


def normal(seed: int, shape):
    """Returns standard normal numbers: for JAX's own, each shape is a program to compile."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


COUNTED = {}


def counted(module, side: int):
    """Returns the count of a network for square images, which all tests share: to trace it takes seconds."""
    key = repr(module), side
    if key not in COUNTED:
        COUNTED[key] = analysis.count(module, (side, side, 3))
    return COUNTED[key]


def assert_alike(one, two, tolerance=1e-5):
    """Compares two sequences of arrays, to a share of the largest value of each."""
    for a, b in zip(one, two, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * (1e-3 + np.abs(b).max()))


@pytest.fixture(scope="session")
def other_checkout(tmp_path_factory):
    """A folder with another checkout's code, all of which fails: to be on PYTHONPATH, or the current folder."""
    folder = tmp_path_factory.mktemp("other_checkout")
    for path in PROJECT.iterdir():
        if path.suffix == ".py" or (path / "__init__.py").exists():
            text = "raise ImportError('code of another checkout')"
            (folder / path.with_suffix(".py").name).write_text(text)
    return folder


# Two convolutions, for tests of all but the network: they are traced and compiled in no time.
SMALLEST = {
    "name": "zoph_le",
    "genotype": "[[3,3,8,1,[0]],[3,3,16,2,[1]]]",
    "num_classes": 10,
    "dtype": "float32",
}


@pytest.fixture(scope="session")
def smallest_config(tmp_path_factory):
    """Returns the flag of a config file of the embedded default with `SMALLEST` in place of its network."""
    file = tmp_path_factory.mktemp("configs") / "smallest.py"
    file.write_text(
        "from configs import digits\nfrom ml_collections import ConfigDict\n\n"
        "def get_config():\n"
        "    config = digits.get_config()\n"
        f"    config.model = ConfigDict({SMALLEST})\n"
        "    config.batch_size = 64\n"
        "    return config\n"
    )
    return f"--config={file}"


@pytest.fixture
def digits():
    return few_digits()


@pytest.fixture
def trained(few_digits_trained, tmp_path):
    """The folder of a finished run of `digits`: a copy, to go on with."""
    return shutil.copytree(few_digits_trained, tmp_path / "trained")


@pytest.fixture(scope="session")
def few_digits_trained(tmp_path_factory):
    import train

    workdir = tmp_path_factory.mktemp("few_digits")
    train.train(few_digits(), workdir)
    return workdir


def few_digits():
    """Returns the embedded default with `SMALLEST` in place of its network, cut to a few steps."""
    from configs import digits

    config = digits.get_config()
    config.model = ConfigDict(SMALLEST)
    config.batch_size = 64
    config.total_steps = 6
    config.log_steps = 1
    config.eval_steps = 6
    config.checkpoint_steps = 3
    return config
