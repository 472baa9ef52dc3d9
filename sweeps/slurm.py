"""Runs a sweep as a job array of Slurm, through submitit.

A job that is preempted, requeued, out of time, or on a node that fails is queued again by Slurm, and
its run goes on from its last checkpoint.
"""

import pathlib
import shlex
import shutil
import subprocess
import sys

from sweeps import folder as sweep_folder
from sweeps import worker
from training import files


class Task:
    """What a job of the array does; submitit pickles it, and calls it in each process of the job."""

    def __init__(self, folder: str, name: str):
        self._folder, self._name = folder, name
        self._worker = None

    def __call__(self) -> None:
        self._worker = worker.Worker(self._folder, self._name)
        status = self._worker.run()
        if status not in (0, worker.SAVED, worker.BUSY):
            raise RuntimeError(sweep_folder.last_lines(self._folder, self._name))

    def checkpoint(self):
        """Is called by submitit when Slurm warns of the end of the job; it requeues what this returns."""
        import submitit

        if self._worker is not None:
            self._worker.stop()
            self._worker.wait()
        return submitit.helpers.DelayedSubmission(Task(self._folder, self._name))


def check(folder: str) -> None:
    """Raises ValueError where submitit or Slurm are not there, or `folder` is in a bucket."""
    try:
        import submitit  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError("--launcher=slurm needs submitit: pip install -e '.[sweeps]'") from error
    if not shutil.which("sbatch"):
        raise ValueError("--launcher=slurm needs Slurm's sbatch: run it on a login node")
    if files.in_bucket(folder):
        raise ValueError(f"--workdir={folder}: Slurm needs a folder that all nodes see")


def launch(folder: str, names: list[str], parallel: int, settings: dict) -> list[tuple[str, str]]:
    """Submits the runs as one array; returns (run, number of its job).

    Args:
      folder: of the sweep, on a disk that all nodes see.
      names: of the runs.
      parallel: the most at a time; 0: as many as there is room for.
      settings: of each job, in submitit's names, for example {"nodes": 2, "slurm_partition": "gpu"}.
        A job lasts an hour, after which its run is saved and queued again, unless "timeout_min" is another.

    Raises:
      ValueError: settings that submitit does not know, or Slurm refuses.
    """
    import submitit

    logs = pathlib.Path(folder, "slurm")
    # As `sweep_folder.environment`, in the job's shell: it imports `Task` by name.
    path = f'{shlex.quote(str(sweep_folder.PROJECT))}"${{PYTHONPATH:+:$PYTHONPATH}}"'
    executor = submitit.AutoExecutor(
        logs,
        cluster="slurm",
        slurm_max_num_timeout=10**6,
        slurm_python=f"env PYTHONPATH={path} {shlex.quote(sys.executable)} -P",
    )
    try:
        executor.update_parameters(
            name=pathlib.Path(folder).name,
            slurm_array_parallelism=parallel or len(names),
            **({"timeout_min": 60} | settings),  # submitit's own 5 hardly start a run
        )
        with executor.batch():
            jobs = [executor.submit(Task(folder, name)) for name in names]
    except (NameError, ValueError, TypeError) as error:
        raise ValueError(f"--engine: {error}") from error
    except submitit.core.utils.FailedJobError as error:
        raise ValueError(f"Slurm refuses the array: {error}") from error
    return [(name, job.job_id) for name, job in zip(names, jobs, strict=True)]


def queue() -> dict[str, str]:
    """Returns the state of each job of this user that waits or runs: "PENDING", "RUNNING", ..."""
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i %T"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # read elsewhere, or Slurm is down
        return {}
    return dict(line.split() for line in lines.splitlines())
