"""Copies what a training process writes to stderr, until it says that it is without another process.

Started by `cluster.join_cluster`: python -S lost.py. Where a process has lost another one, or waits for it
in vain at the start, JAX aborts it with stack traces, beside errors of what the processes do together: in
place of all that comes one line.
"""

import re
import sys

LOST = (
    "another process of this run has ended or does not answer: see what it says. "
    "The same command goes on from the last checkpoint"
)
MISSED = (
    "not all processes of this run have started in time: see what the others say, "
    "or give them longer by --config.start_timeout"
)
TAKEN = (
    "the port where the processes of this run meet is taken: set JAX_COORDINATOR_PORT, "
    "or that of JAX_COORDINATOR_ADDRESS, to another one"
)
ABORTS = "JAX distributed service detected fatal errors"
AT_THE_START = "RegisterTask"
NO_PORT = "Failed to add port to server"  # after which jaxlib 0.10.1 crashes
BEFORE = "coordination"  # says what comes, in several lines


def main() -> None:
    shown = True
    for text in sys.stdin:
        if any(sign in text for sign in (ABORTS, NO_PORT, LOST)):
            rest = sys.stdin.read()  # all of it: what still writes would end by SIGPIPE
            missed = ABORTS in text and AT_THE_START in rest
            line = f"error: {MISSED if missed else TAKEN if NO_PORT in text else LOST}\n"
            sys.stderr.write(text if LOST in text else line)
            break
        if re.match(r"[IWEF]\d{4} ", text):  # as each message of jaxlib begins
            shown = BEFORE not in text.lower()
        if shown or text.startswith("error: "):
            sys.stderr.write(text)
            sys.stderr.flush()


if __name__ == "__main__":
    sys.stdin.reconfigure(errors="backslashreplace")
    main()
