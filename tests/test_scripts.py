"""The scripts answer --help with an example, and do what it says."""

import pathlib
import subprocess

import pytest
from conftest import PROJECT, command
from PIL import Image

import train

COMMANDS = ["train.py", "eval.py", *(f"scripts/{p.name}" for p in PROJECT.glob("scripts/*.py"))]


@pytest.mark.slow
@pytest.mark.parametrize("script", COMMANDS)
def test_help_shows_an_example_and_the_code_beside_a_script_runs(script, other_checkout):
    """Also with another checkout first on the path, scripts where Python adds no folder of its own."""
    env = {"PYTHONPATH": str(other_checkout)}
    if script.startswith("scripts/"):
        env["PYTHONSAFEPATH"] = "1"
    done = subprocess.run(**command(script, "--help", env=env))
    assert "another checkout" not in done.stderr
    assert f"python {script} " in done.stdout
    assert "xample" in done.stdout
    if "  --config: " in done.stdout:
        assert "  --config.optimizer.learning_rate=0.2 " in done.stdout
    assert done.returncode == 0


@pytest.mark.slow
def test_plot_draws_a_run_and_names_a_workdir_without_one(digits, tmp_path):
    train.train(digits, tmp_path / "run")
    picture = tmp_path / "curves.png"
    draw = ["scripts/plot.py", f"--output={picture}"]
    done = subprocess.run(**command(*draw, f"ResNet-8={tmp_path / 'run'}"))
    assert done.returncode == 0, done.stderr
    with Image.open(picture) as image:
        assert image.size[0] > 1000
        assert len(image.convert("RGB").getcolors(100_000)) > 50  # more than an empty frame

    done = subprocess.run(**command(*draw, pathlib.Path("nothing")))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
