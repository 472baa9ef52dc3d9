"""Several processes of one run: how they meet, how they end when one is lost, and what they save."""

import ast
import signal
import socket
import subprocess
import sys

import jax
import pytest
from conftest import command
from faults import stores
from test_buckets import FEW, figures

from training import cluster, lost, metrics
from training import command as commands

JAXLIBS = (  # what jaxlib 0.10.1 says when a process is gone, shortened
    "E1127 23:57:46.962297   25578 coordination_service.cc:1548] Use error polling to propagate:\n"
    "1\n"
    "F1127 23:57:46.041952   22150 client.h:80] Terminating process because the JAX distributed "
    "service detected fatal errors. absl::Status: UNAVAILABLE: The following tasks are unhealthy:\n"
    "1\n"
    "*** Check failure stack trace: ***\n"
    "    @     0x7fb1dc172104  absl::lts_20260107::log_internal::LogMessage::SendToLog()\n"
    "Fatal Python error: Aborted\n"
)
SKYPILOT = {
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_RANK": "1",
}
INDEXED_JOB = {
    "JAX_COORDINATOR_ADDRESS": "run-0.pods:8476",
    "JAX_NUM_PROCESSES": "4",
    "JOB_COMPLETION_INDEX": "3",
}


def by_hand(address, number, index):
    names = ("coordinator_address", "num_processes", "process_id")
    found = dict(zip(names, (address, number, index), strict=True))
    return found | {"cluster_detection_method": "deactivate"}


@pytest.mark.parametrize(
    ("environment", "announced"),
    [
        ({}, None),
        ({"SKYPILOT_NUM_NODES": "1"}, None),
        (SKYPILOT, by_hand("10.0.0.1:8476", 2, 1)),
        (SKYPILOT | {"JAX_COORDINATOR_PORT": "1234"}, by_hand("10.0.0.1:1234", 2, 1)),
        (INDEXED_JOB, by_hand("run-0.pods:8476", 4, 3)),
        (INDEXED_JOB | {"KUBERNETES_SERVICE_HOST": "x"}, by_hand("run-0.pods:8476", 4, 3)),
        ({"JOB_COMPLETION_INDEX": "0", "KUBERNETES_SERVICE_HOST": "x"}, {}),
        ({"JOB_COMPLETION_INDEX": "0"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, {}),
        ({"PMI_SIZE": "2"}, {"cluster_detection_method": "mpi4py"}),
    ],
)
def test_the_environment_says_which_processes_belong_together(environment, announced, monkeypatch):
    monkeypatch.setattr(cluster.os, "environ", environment)
    assert cluster._announced() == announced


def said(text):
    program = [sys.executable, "-S", lost.__file__]
    return subprocess.run(program, input=text, capture_output=True, text=True, check=True).stderr


def test_a_lost_process_is_told_in_one_line():
    assert said("skipped a.jpg\n" + JAXLIBS) == f"skipped a.jpg\nerror: {lost.LOST}\n"
    assert said(f"error: {lost.LOST} (Gloo)\n" + JAXLIBS) == f"error: {lost.LOST} (Gloo)\n"
    waited = JAXLIBS.replace("***", "RPC: /xla.coordination.CoordinationService/RegisterTask\n***")
    assert said(waited) == f"error: {lost.MISSED}\n"
    no_port = "E1128 00:54:28.446452   13072 add_port.cc:83] Failed to add port to server: No\n"
    assert said(no_port + "Fatal Python error: Segmentation fault\n") == f"error: {lost.TAKEN}\n"
    assert said("E1127 1:2:3.4 5 a.cc:1] x\ny\n") == "E1127 1:2:3.4 5 a.cc:1] x\ny\n"
    assert said(JAXLIBS.partition("F1127")[0] + "error: mine\n") == "error: mine\n"


def test_an_error_of_what_processes_do_together_is_explained_where_there_are_several(monkeypatch):
    error = ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer [127.0.0.1]:686")
    assert commands.explain(error) is None
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    assert commands.explain(error) == f"{lost.LOST} ({error})"


def two_processes(*arguments, env=None):
    """Starts the processes of a run as an indexed job of Kubernetes does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    job = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"} | (env or {})
    return [
        subprocess.Popen(**command(*arguments, env=job | {"JOB_COMPLETION_INDEX": str(index)}))
        for index in (0, 1)
    ]


def wait_for_step(process, step):
    next(line for line in process.stdout if line.startswith(f"step {step}/"))


@pytest.mark.slow
def test_two_processes_save_into_a_bucket_and_one_goes_on_when_the_other_is_killed(
    tmp_path, smallest_config
):
    run = ["train.py", smallest_config, *FEW]
    alone = subprocess.Popen(**command(*run, f"--workdir={tmp_path}"))
    with stores.server("s3") as address:
        env = stores.environment("http://{}:{}".format(*address))
        workdir = "s3://bucket/runs/two"
        first, second = two_processes(*run, f"--workdir={workdir}", env=env)
        wait_for_step(first, 7)
        second.kill()
        second.communicate(timeout=120)
        _, errors = first.communicate(timeout=120)
        assert first.returncode and errors.startswith(f"error: {lost.LOST}")
        assert len(errors.splitlines()) == 1, errors
        again = subprocess.run(**command(*run, f"--workdir={workdir}", env=env))
        assert again.returncode == 0, again.stderr
        assert "resumed at step" in again.stdout
        read = f"from training import metrics; print(metrics.read_lines({workdir!r}))"
        log = ast.literal_eval(subprocess.run(**command("-c", read, env=env)).stdout)
    alone.communicate(timeout=120)
    expected = figures(metrics.read_lines(tmp_path))
    assert [line["step"] for line in figures(log)] == [line["step"] for line in expected]
    for one, two in zip(expected, figures(log), strict=True):
        assert one == pytest.approx(two, rel=1e-5)


@pytest.mark.slow
def test_a_process_that_answers_no_more_ends_the_others(tmp_path, smallest_config):
    flags = ("--config.lost_timeout=10", "--config.total_steps=100000", "--config.log_steps=1")
    first, second = two_processes("train.py", smallest_config, *flags, f"--workdir={tmp_path}")
    wait_for_step(first, 3)
    first.send_signal(signal.SIGSTOP)
    _, errors = second.communicate(timeout=120)
    first.kill()
    first.communicate(timeout=120)
    assert second.returncode and errors == f"error: {lost.LOST}\n"


@pytest.mark.slow
def test_a_process_that_does_not_come_is_told(tmp_path):
    first, second = two_processes("train.py", "--config.start_timeout=5", f"--workdir={tmp_path}")
    second.kill()
    second.communicate(timeout=120)
    _, errors = first.communicate(timeout=120)
    assert first.returncode and errors == f"error: {lost.MISSED}\n"
