"""TensorBoard's events, by tensorboardX."""

import contextlib
import time

from etils import epath
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import image, scalar

from data.messages import tell

FLUSH = 10.0  # seconds after which TensorBoard sees an event


class Events:
    """Events, written at once: where tensorboardX's own thread cannot write, it dies, and all waits."""

    def __init__(self, folder: epath.Path, first_step: int):
        """Starts a file in `folder`; events of before from `first_step` on count no more."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._writer, self._flushed = None, 0.0
        with self._told():
            self._writer = EventsWriter(str(folder / "events"))
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step=first_step, session_log=start)

    def add(self, name: str, value: float, step: int) -> None:
        self._write(step=step, summary=scalar(name, value))

    def picture(self, name: str, pixels, step: int) -> None:
        self._write(step=step, summary=image(name, pixels, dataformats="HWC"))

    def _write(self, **content) -> None:
        if self._writer is None:
            return
        with self._told():
            now = time.time()
            self._writer.write_event(event_pb2.Event(wall_time=now, **content))
            if now > self._flushed + FLUSH:  # each waits for the disk
                self._flushed = now
                self._writer.flush()

    def flush(self) -> None:
        if self._writer is not None:
            with self._told():
                self._writer.flush()

    @contextlib.contextmanager
    def _told(self):
        """Stops at the first event that cannot be written, and says so; training goes on."""
        try:
            yield
        except OSError as error:
            writer, self._writer = self._writer, None
            if writer is not None:
                with contextlib.suppress(OSError):
                    writer.close()
            tell(f"no more events for TensorBoard in {self._folder}: {error}")

    def close(self) -> None:
        if self._writer is not None:
            with self._told():
                self._writer.close()
