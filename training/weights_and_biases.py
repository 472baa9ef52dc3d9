"""Figures for Weights & Biases, beside those in the workdir; its own variables, WANDB_MODE, say the rest."""

import contextlib
import uuid

from data.messages import tell
from training import files

FILE = "wandb.json"  # in the workdir: the run there, with which a resumed run goes on


class Log:
    """A run of Weights & Biases. Where that fails, it is told once, and training goes on without it."""

    def __init__(self, workdir, header: dict):
        """Begins the run, or goes on with that of the workdir.

        Args:
          workdir: of the run.
          header: of metrics.jsonl; the field `wandb` of its config is the project, "" none.
        """
        self._run, config = None, header["config"]
        if not config.get("wandb"):
            return
        workdir = files.absolute(workdir)
        with self._told():
            import wandb

            self._run = wandb.init(
                project=config["wandb"],
                id=run_id(workdir / FILE, config["wandb"]),
                resume="allow",
                name=workdir.name,
                config=config,
                allow_val_change=True,  # of the fields that a resumed run may change
                dir=None if files.in_bucket(workdir) else str(workdir),
                settings={"console": "off"},  # the terminal stays as it is
            )
            self._run.define_metric("*", step_metric="step")

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Logs figures. Weights & Biases refuses a step that is past; ours, which may come again, is a figure."""
        if self._run is not None:
            with self._told():
                self._run.log({"step": step, **figures})

    def picture(self, step: int, name: str, pixels) -> None:
        """Logs a picture, uint8 [height, width, 3]."""
        if self._run is not None:
            with self._told():
                import wandb

                self._run.log({"step": step, name: wandb.Image(pixels)})

    @contextlib.contextmanager
    def _told(self):
        try:
            yield
        except Exception as error:  # of any kind: its client raises its own
            self._run = None
            missing = isinstance(error, ModuleNotFoundError)
            reason = "it needs pip install -e '.[wandb]'" if missing else error
            tell(f"no more figures for Weights & Biases: {reason}")

    def close(self, failed: bool) -> None:
        """Returns once it has all figures."""
        if self._run is not None:
            with self._told():
                self._run.finish(exit_code=int(failed))


def run_id(file, project: str) -> str:
    """Returns the run of this project that a file of the workdir names; a new one, which it then names."""
    with contextlib.suppress(FileNotFoundError):
        known = files.read_json(file, {"id": str, "project": str}, "delete it for a new run")
        if known["project"] == project:
            return known["id"]
    new = uuid.uuid4().hex[:8]
    files.write_json(file, {"id": new, "project": project})
    return new
