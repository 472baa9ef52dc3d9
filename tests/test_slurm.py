"""A sweep on a real Slurm cluster of one node, and one run of several processes under srun."""

import json
import subprocess
import time

import numpy as np
import pytest
import slurm_cluster
import submitit
import yaml
from conftest import PROJECT, command

from sweeps import folder as sweep_folder
from sweeps import slurm
from training import metrics

pytestmark = [
    pytest.mark.skipif(
        slurm_cluster.missing() is not None, reason=slurm_cluster.missing() or "Slurm is there"
    ),
    pytest.mark.xdist_group("slurm"),  # one cluster for all tests
]

CONFIG = """
from configs import digits, spaces

def get_config():
    config = digits.get_config()
    config.total_steps = {steps}
    config.log_steps = config.eval_steps = config.checkpoint_steps = {every}
    return config

def sweep():
    return {sweep}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    started = slurm_cluster.Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture
def sweep(cluster, tmp_path):
    """Returns a function that launches a sweep on the cluster, and its folder."""

    def launch(sweep, steps=30, every=10):
        (tmp_path / "tried.py").write_text(CONFIG.format(sweep=sweep, steps=steps, every=every))
        return subprocess.run(**script(cluster, tmp_path, "--launcher=slurm"))

    return launch, str(tmp_path / "sweep")


def script(cluster, tmp_path, *arguments):
    return command(
        "scripts/sweep.py",
        *arguments,
        f"--config={tmp_path / 'tried.py'}",
        f"--workdir={tmp_path / 'sweep'}",
        env=cluster.env,
    )


def wait_until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def states(folder):
    names = sweep_folder.read(folder)["runs"]
    return {name: sweep_folder.state(folder, name)["state"] for name in names}


def figures(workdir):
    """Returns what a run logged, without its speed."""
    found = {}
    for line in metrics.read_lines(workdir):
        line.pop("train/images_per_second", None)
        if "config" not in line and "resumed" not in line:
            found.setdefault(line.pop("step"), {}).update(line)
    return found


def evaluations(workdir):
    return {step: x["eval/loss"] for step, x in figures(workdir).items() if "eval/loss" in x}


def test_a_sweep_runs_as_an_array_and_a_failing_run_does_not_stop_the_others(
    cluster, sweep, tmp_path
):
    launch, folder = sweep
    rates = "(0.1, 0.2, 0.3, 1e30)"
    runs = f'spaces.product({{"optimizer.learning_rate": {rates}}})'
    done = launch(runs)
    assert done.returncode == 0, done.stderr
    assert "submitted 4 jobs" in done.stdout
    arrays = {job["id"].partition("_")[0] for job in sweep_folder.read(folder)["jobs"].values()}
    assert len(arrays) == 1
    again = launch(runs)  # what is queued or running is not launched twice
    assert "4 of them finished, running or queued already" in again.stdout, again.stdout

    ended = {"finished", "failed"}
    wait_until(lambda: {*states(folder).values()} <= ended, "the array did not end")
    assert sorted(states(folder).values()) == ["failed", "finished", "finished", "finished"]
    done = subprocess.run(**script(cluster, tmp_path, "status"))
    shown = done.stdout
    assert "4 runs: 3 finished, 1 failed" in shown
    assert "error: the loss is" in shown
    done = subprocess.run(**script(cluster, tmp_path, "results"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| finished |") == 3


def test_runs_that_slurm_stops_are_queued_again_and_end_bit_for_bit_alike(cluster, sweep, tmp_path):
    launch, folder = sweep
    launch('spaces.product({"seed": range(3)})', steps=240, every=80)
    names = preempted, out_of_time, killed = "seed=0", "seed=1", "seed=2"
    jobs = {name: job["id"] for name, job in sweep_folder.read(folder)["jobs"].items()}
    for name in names:
        first = tmp_path / "sweep" / name / "checkpoints" / "00000080"
        wait_until(first.exists, "no checkpoint")
    cluster.run("scontrol", "requeue", jobs[preempted])  # SIGTERM, and from the start again
    cluster.run("scancel", "--signal=USR2", jobs[out_of_time])  # what comes before a time limit
    wait_until(lambda: [*states(folder).values()].count("stopped") == 2, "not stopped")
    cluster.kill_node()
    cluster.start_node()
    wait_until(lambda: {*states(folder).values()} == {"finished"}, "the runs did not end")

    for name in names:
        workdir = tmp_path / name
        arguments = (f"--config={tmp_path / 'tried.py'}", f"--config.{name}")
        subprocess.run(**command("train.py", *arguments, f"--workdir={workdir}"), check=True)
        lines = metrics.read_lines(f"{folder}/{name}")
        assert any("resumed" in line for line in lines), f"{name} was not stopped in between"
        assert evaluations(f"{folder}/{name}") == evaluations(workdir)


def test_submitit_accepts_the_settings_that_are_shipped(cluster, tmp_path):
    engines = sorted((PROJECT / "sweeps" / "engines").glob("slurm_*.yaml"))
    assert len(engines) == 2
    for engine in engines:
        executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
        executor.update_parameters(**yaml.safe_load(engine.read_text()))
    with pytest.raises(ValueError, match="--engine: .*num_nodes"):
        slurm.launch(str(tmp_path), ["seed=0"], 0, {"num_nodes": 2})


def test_two_processes_under_srun_equal_one(cluster, tmp_path):
    arguments = ("--config=configs/digits.py", "--config.total_steps=12", "--config.log_steps=1")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    done = subprocess.run(**command("train.py", *arguments, f"--workdir={alone}", devices=2))
    assert done.returncode == 0, done.stderr
    both = command("train.py", *arguments, f"--workdir={shared}", env=cluster.env)
    both["args"] = ["srun", "-n2", *both["args"]]
    done = subprocess.run(**both)
    assert done.returncode == 0, done.stderr
    header = metrics.read_lines(shared)[0]
    assert (header["processes"], header["devices"]["count"]) == (2, 2)
    one, two = figures(alone), figures(shared)
    assert one.keys() == two.keys()
    for step, values in one.items():
        assert values.keys() == two[step].keys()
        both = [json.loads(json.dumps([*v.values()])) for v in (values, two[step])]
        np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-6, err_msg=str(step))
