"""What a command does before its libraries, which take seconds to load; so this needs none of them."""

import importlib.metadata
import os
import signal


def early() -> None:
    """Lets Ctrl-C end this process with one line wherever it is, and jaxlib be quiet."""

    def stop(number, frame):
        os.write(2, b"\nstopped by Ctrl-C\n")
        os._exit(128 + number)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody ignores it
        signal.signal(signal.SIGINT, stop)
    quiet()


def quiet() -> None:
    """Keeps jaxlib 0.10.1 from calling each program that it reads from its cache an error.

    It misses two processor features in the machine, prefer-no-gather and prefer-no-scatter, which are
    preferences of its own compiler. JAX reads the variable when it is imported.
    """
    if importlib.metadata.version("jaxlib") == "0.10.1":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
