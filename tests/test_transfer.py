"""The study of a published network on few photographs: its runs, and what is reported of them."""

import json
import subprocess

import pytest
from conftest import command

from analysis import transfer
from configs import transfer as config
from sweeps import expand
from sweeps import folder as sweep_folder


def test_both_starts_learn_from_the_same_photographs_and_each_seed_from_others():
    runs = config.sweep()
    assert len(runs) == 2 * config.SEEDS * len(config.PER_CLASS)
    for published, scratch in zip(runs[::2], runs[1::2], strict=True):
        assert published.items() <= scratch.items()
        assert "init" not in published and scratch["init"] == ""
        assert scratch["optimizer.layer_decay"] == scratch["optimizer.head_factor"] == 1
    parts = {(run["seed"], run["input.train_split"]) for run in runs}
    assert len(parts) == len({part for _, part in parts}) == config.SEEDS * len(config.PER_CLASS)
    assert config.photographs(1, 30) == "train[300:600]"


def test_the_gain_is_one_within_a_seed():
    runs = [transfer.Run(config.SCRATCH, 10, seed, top1) for seed, top1 in ((0, 20.0), (1, 40.0))]
    runs += [
        transfer.Run(config.PUBLISHED, 10, seed, top1) for seed, top1 in ((1, 45.0), (0, 24.0))
    ]
    runs += [transfer.Run(config.PUBLISHED, 10, 2, 99.0)]  # its pair is missing
    *_, row = transfer.table(runs).splitlines()
    assert row.startswith("| 10 | 56.00 ± ") and "| 30.00 ± 14.14 |" in row
    assert "+4.50 (-1.85 to +10.85, n = 2)" in row
    assert transfer.picture(runs).startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_script_reports_what_is_finished(tmp_path):
    runs = expand.runs(config.sweep(), config.get_config())
    sweep = {"config": "configs/transfer.py", "arguments": [], "git": None}
    overrides = {run.name: run.overrides for run in runs}
    sweep |= {"base": config.get_config().to_dict(), "runs": overrides}
    sweep_folder.record(str(tmp_path), sweep)
    header = {"total_steps": 300, "parameters": 1, "multiply_adds": 2}
    for run, top1 in zip(runs[:2], (0.5, 0.25), strict=True):
        (tmp_path / run.name).mkdir()
        lines = [header | {"config": run.config.to_dict()}, {"step": 300, "eval/top1": top1}]
        (tmp_path / run.name / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        sweep_folder.write_state(str(tmp_path), run.name, "finished")
    done = subprocess.run(**command("scripts/transfer.py", f"--workdir={tmp_path}"))
    assert done.returncode == 0, done.stderr
    assert "| 10 | 50.00 | 25.00 | +25.00 (one seed: no interval) |" in done.stdout
    assert done.stdout.count("missing: ") == 28
    assert (tmp_path / "transfer.png").exists()
