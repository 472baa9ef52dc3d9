"""Copies what a training process writes to stderr, until it says that it has lost another process.

Started by `cluster.join_cluster`: python -S losses.py LINE. JAX aborts a process that has lost another one,
with stack traces, beside errors of what the processes do together: in place of all that comes LINE.
"""

import re
import sys

ABORTS = b"JAX distributed service detected fatal errors"
BEFORE = b"coordination_service"  # says the same, in several lines


def main(line: str) -> None:
    shown = True
    for text in sys.stdin.buffer:
        if ABORTS in text or line.encode() in text:
            print(line, file=sys.stderr, flush=True)
            break
        if re.match(rb"[IWEF]\d{4} ", text):  # as each message of jaxlib begins
            shown = BEFORE not in text
        if shown or text.startswith(b"error: "):
            sys.stderr.buffer.write(text)
            sys.stderr.flush()
    for _ in sys.stdin.buffer:  # else what still writes would end by SIGPIPE
        pass


if __name__ == "__main__":
    main(sys.argv[1])
