"""A sweep on a real Slurm cluster of one node, and one run of several processes under srun."""

import pathlib
import subprocess
import time

import pytest
import slurm_cluster
import submitit
import yaml
from conftest import PROJECT, SMALLEST, command

from sweeps import folder as sweep_folder
from sweeps import results, slurm, watch
from training import metrics

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        slurm_cluster.missing() is not None, reason=slurm_cluster.missing() or "Slurm is there"
    ),
]

CONFIG = """
from configs import digits, spaces
from ml_collections import ConfigDict

def get_config():
    config = digits.get_config()
    config.model = ConfigDict({model})
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
def sweep(cluster, tmp_path, monkeypatch):
    """Returns a function that launches a sweep on the cluster, and its folder."""
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])  # for squeue
    folder = tmp_path / "sweep"

    def launch(sweep, steps, every):
        config = tmp_path / "tried.py"
        config.write_text(CONFIG.format(model=SMALLEST, sweep=sweep, steps=steps, every=every))
        arguments = (f"--config={config}", f"--workdir={folder}", "--launcher=slurm")
        done = subprocess.run(**command("scripts/sweep.py", *arguments, env=cluster.env))
        assert done.returncode == 0, done.stderr
        return done.stdout

    return launch, str(folder)


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


def test_a_sweep_runs_as_an_array_and_a_failing_run_does_not_stop_the_others(cluster, sweep):
    launch, folder = sweep
    rates = "(0.1, 0.2, 0.3, 1e30)"
    runs = f'spaces.product({{"optimizer.learning_rate": {rates}}})'
    assert "submitted 4 jobs" in launch(runs, steps=20, every=10)
    jobs = [job["id"].split("_") for job in sweep_folder.read(folder)["jobs"].values()]
    assert len({array for array, _ in jobs}) == 1 and len({task for _, task in jobs}) == 4
    assert "#SBATCH --time=60" in next((pathlib.Path(folder) / "slurm").glob("*.sh")).read_text()
    # What is queued or running is not launched twice.
    assert {one.state for one in watch.look(folder)} <= {"queued", "running"}

    ended = {"finished", "failed"}
    wait_until(lambda: {*states(folder).values()} <= ended, "the array did not end")
    standings = watch.look(folder)
    assert [one.state for one in standings] == ["finished", "finished", "finished", "failed"]
    shown = watch.table(standings, "eval/top1")
    assert "4 runs: 3 finished, 1 failed" in shown
    assert "error: the loss is" in shown
    groups = results.collect(folder, "eval/top1")
    assert [group.states for group in groups] == ["finished"] * 3 + ["1 failed"]


def test_runs_that_slurm_stops_are_queued_again_and_end_bit_for_bit_alike(cluster, sweep, tmp_path):
    launch, folder = sweep
    # Twice the same: digits are read once, whatever the number of threads.
    launch('spaces.product({"input.threads": (1, 2)})', steps=2400, every=300)
    names = preempted, out_of_time = [f"threads={number}" for number in (1, 2)]
    jobs = {name: job["id"] for name, job in sweep_folder.read(folder)["jobs"].items()}
    for name in names:
        saved = tmp_path / "sweep" / name / "checkpoints"
        wait_until(lambda saved=saved: any(saved.glob("0???????")), "no checkpoint")
    cluster.kill_node()
    cluster.start_node()
    for name in names:
        log = tmp_path / "sweep" / name / "log.txt"
        wait_until(lambda log=log: "resumed at step" in log.read_text(), "not started again")
    cluster.run("scontrol", "requeue", jobs[preempted])  # SIGTERM, and from the start again
    cluster.run("scancel", "--signal=USR2", jobs[out_of_time])  # what comes before a time limit
    wait_until(lambda: {*states(folder).values()} == {"finished"}, "the runs did not end")

    alone = tmp_path / "alone"
    arguments = (f"--config={tmp_path / 'tried.py'}", f"--workdir={alone}")
    subprocess.run(**command("train.py", *arguments), check=True)
    for name in names:
        lines = metrics.read_lines(f"{folder}/{name}")
        resumed = sum("resumed" in line for line in lines)
        assert resumed == 2, name
        assert evaluations(f"{folder}/{name}") == evaluations(alone)


def test_submitit_accepts_the_settings_that_are_shipped(cluster, tmp_path):
    engines = sorted((PROJECT / "sweeps" / "engines").glob("slurm_*.yaml"))
    assert len(engines) == 2
    for engine in engines:
        executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
        executor.update_parameters(**yaml.safe_load(engine.read_text()))
    with pytest.raises(ValueError, match="--engine: .*num_nodes"):
        slurm.launch(str(tmp_path), ["seed=0"], 0, {"num_nodes": 2})


def test_two_processes_under_srun_train_one_run(cluster, tmp_path):
    """That they compute what one process computes, tests/test_training.py tests without Slurm."""
    config = tmp_path / "tried.py"
    config.write_text(CONFIG.format(model=SMALLEST, sweep=[], steps=2, every=2))
    arguments = (f"--config={config}", f"--workdir={tmp_path}")
    both = command("train.py", *arguments, env=cluster.env)
    both["args"] = ["srun", "-n2", *both["args"]]
    done = subprocess.run(**both)
    assert done.returncode == 0, done.stderr
    header, *lines = metrics.read_lines(tmp_path)
    assert (header["processes"], header["devices"]["count"]) == (2, 2)
    assert lines[-1]["eval/images"] == 360
