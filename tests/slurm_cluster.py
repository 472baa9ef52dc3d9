"""A Slurm cluster of one node on this machine, for the tests: munged, slurmctld and slurmd as processes."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol")
CORES = 8  # more than there may be: all jobs of a test run at once


def missing() -> str | None:
    """Returns why Slurm cannot be started here, or None."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurm-wlm munge"
    return None if os.getuid() == 0 else "slurmd needs root"


def search_path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Cluster:
    """The daemons; `env` lets Slurm's commands find them."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._daemons: dict[str, subprocess.Popen] = {}
        self.env = os.environ | {
            "PATH": search_path(),
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def start(self) -> None:
        folder, host, user = self._folder, socket.gethostname(), pwd.getpwuid(os.getuid()).pw_name
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
            for one in sockets:
                one.bind(("", 0))
            controller, node = (one.getsockname()[1] for one in sockets)
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        settings = {
            "ClusterName": "test",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": controller,
            "SlurmdPort": node,
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            # A requeued job starts again after these seconds, else after two minutes.
            "AuthInfo": f"socket={folder / 'munge.socket'},cred_expire=5",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "SlurmdParameters": "config_overrides",
            "MpiDefault": "none",
            "ReturnToService": 2,
            "JobRequeue": 1,
            "KillWait": 30,
            "SlurmdTimeout": 10,
            "SchedulerParameters": "sched_interval=2,batch_sched_delay=1",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": folder / "spool",
            "SlurmctldPidFile": folder / "slurmctld.pid",
            "SlurmdPidFile": folder / "slurmd.pid",
            "NodeName": f"{host} NodeAddr=127.0.0.1 CPUs={CORES} State=UNKNOWN",
            "PartitionName": f"all Nodes={host} Default=YES MaxTime=INFINITE State=UP",
        }
        (folder / "slurm.conf").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        files = {"key-file": key}
        files |= {f"{x}-file": folder / f"munge.{x}" for x in ("pid", "seed", "log")}
        names = [f"--{name}={file}" for name, file in files.items()]
        self._daemon("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *names)
        self._wait(lambda: (folder / "munge.socket").exists(), "munged")
        self._daemon("slurmctld", "-D")
        self.start_node()

    def start_node(self) -> None:
        self._daemon("slurmd", "-D", "-N", socket.gethostname())
        self._update_node("State=RESUME")
        self._wait(lambda: self.run("sinfo", "--noheader", "--format=%T") == "idle", "the node")

    def kill_node(self) -> None:
        """Ends the node as a power cut would: slurmd, its steps, then all that they started.

        Slurm notices that within a minute; it is told, to save the time.
        """
        daemon = self._daemons.pop("slurmd")
        daemon.kill()
        daemon.wait()
        for process, name, _ in self._processes():
            if name.startswith("slurmstepd"):
                os.kill(process, signal.SIGKILL)
        for process, _, environment in self._processes():
            if b"SLURM_JOB_ID=" in environment:
                os.kill(process, signal.SIGKILL)
        self._update_node("State=DOWN", "Reason=test")

    def _update_node(self, *settings: str) -> None:
        self.run("scontrol", "update", f"NodeName={socket.gethostname()}", *settings)

    def _processes(self):
        """Yields (process, name, environment) of what this cluster started."""
        mine = f"SLURM_CONF={self.env['SLURM_CONF']}".encode()
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                environment = (folder / "environ").read_bytes()
                if mine in environment:
                    yield int(folder.name), (folder / "comm").read_text(), environment

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        return done.stdout.strip()

    def stop(self) -> None:
        self.run("scancel", "--full", "--signal=KILL", "--me")
        for process in reversed(self._daemons.values()):
            process.terminate()
        for process in self._daemons.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    def _daemon(self, name: str, *arguments: str) -> None:
        with open(self._folder / f"{name}.out", "a") as output:
            self._daemons[name] = subprocess.Popen(
                [name, *arguments], env=self.env, stdout=output, stderr=output
            )

    def _wait(self, ready, what: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                logs = [file.read_text()[-2000:] for file in self._folder.glob("*.out")]
                raise RuntimeError(f"{what} did not start: {logs}")
            time.sleep(0.2)
