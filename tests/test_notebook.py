"""The notebook runs from top to bottom, and shows what it says."""

import json
import re
import subprocess

import pytest
from conftest import AS_USERS_COMPILE, PROJECT, command

LESSON = PROJECT / "notebooks" / "lesson.ipynb"


def cells(file):
    return json.loads(file.read_text("utf-8"))["cells"]


def test_the_notebook_is_kept_without_outputs():
    for cell in cells(LESSON):
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    run = command(
        "-m", "jupyter", "execute", LESSON, f"--output={tmp_path / 'run.ipynb'}",
        env=AS_USERS_COMPILE | {"PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    done = subprocess.run(**run)
    assert done.returncode == 0, done.stderr
    outputs = [one for cell in cells(tmp_path / "run.ipynb") for one in cell.get("outputs", [])]
    text = "".join("".join(one["text"]) for one in outputs if one.get("name") == "stdout")
    assert sum("image/png" in one.get("data", {}) for one in outputs) == 4
    assert "75,002 parameters" in text and "plain-32: 463,866 parameters" in text
    [top1] = re.findall(r"([\d.]+)% of 360 test images are right", text)
    assert float(top1) > 95
    plain, residual = (float(one) for one in re.findall(r"-32: .* ([\d.]+)% right", text))
    assert residual > plain + 10
