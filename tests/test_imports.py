"""Each folder imports only what its room allows, so that parts can be read and changed alone."""

import ast
import pathlib
import sys

import pytest

PROJECT = pathlib.Path(__file__).parents[1]
OURS = {
    "configs",
    "models",
    "data",
    "training",
    "analysis",
    "benchmarks",
    "inference",
    "sweeps",
    "nas",
    "scripts",
    "train",
    "eval",
}
MAY_IMPORT = {
    "configs": {"ml_collections", "configs"},
    "models": {"jax", "flax.linen", "numpy", "safetensors", "etils", "tqdm", "models"},
    "data": {
        "numpy", "grain", "tensorflow_datasets", "jax", "data",
        "simplejpeg", "cv2", "PIL", "pillow_heif", "sklearn", "scipy", "etils", "fsspec", "tqdm", "datasets",
    },
    "training": {
        "jax", "jaxlib", "flax", "optax", "orbax", "numpy", "training",
        "absl", "ml_collections", "etils", "tqdm", "tensorboardX", "data.messages",
        "fsspec", "s3fs", "botocore", "gcsfs", "aiohttp", "google.auth", "wandb",
    },
    "analysis": {
        "jax", "flax", "optax", "numpy", "scipy", "matplotlib", "etils", "tqdm",
        "configs", "models", "data", "training", "inference", "analysis",
    },
    "inference": {
        "jax", "flax", "optax", "numpy", "ml_collections",
        "models", "data", "training", "inference",
    },
    "sweeps": {
        "etils", "flax.traverse_util", "matplotlib", "ml_collections", "optuna", "plotly", "submitit", "tqdm", "yaml",
        "configs", "models", "data", "training", "analysis", "sweeps",
    },
    "nas": {
        "jax", "flax", "optax", "numpy", "scipy", "matplotlib", "ml_collections", "etils", "tqdm",
        "configs", "models", "data", "training", "analysis", "sweeps", "nas",
    },
}  # fmt: skip


def imports(path: pathlib.Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def allowed(name: str, folder: str) -> bool:
    parts = name.split(".")
    heads = {".".join(parts[: i + 1]) for i in range(len(parts))}
    return bool(heads & MAY_IMPORT[folder]) or parts[0] in sys.stdlib_module_names


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_its_room_allows(folder):
    found = {
        (path.name, name)
        for path in (PROJECT / folder).rglob("*.py")
        for name in imports(path)
        if not allowed(name, folder)
    }
    assert not found


def test_training_does_not_know_where_the_configs_are():
    for path in (PROJECT / "training").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        assert "configs" not in {n.value for n in nodes if isinstance(n, ast.Constant)}, path


def test_nothing_imports_scripts_and_the_loop_does_not_need_tensorflow():
    for path in PROJECT.rglob("*.py"):
        if path.relative_to(PROJECT).parts[0] not in OURS | {"train.py", "eval.py"}:
            continue
        heads = {name.partition(".")[0] for name in imports(path)}
        assert "scripts" not in heads, path
        assert "tensorflow" not in heads or path.parent.name == "scripts", path


def test_pytorchs_worker_needs_neither_jax_nor_this_project():
    allowed = {"torch", "torchvision", "timm", "worker", *sys.stdlib_module_names}
    for name in ("torch_worker.py", "worker.py"):
        heads = {x.partition(".")[0] for x in imports(PROJECT / "benchmarks" / name)}
        assert heads <= allowed
