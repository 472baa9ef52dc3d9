"""What the commands train.py and eval.py have in common: flags, start, and mistakes as one line."""

import ctypes
import difflib
import importlib.util
import json
import os
import pathlib
import re
import runpy
import signal
import sys
import traceback

import jax
from absl import app, flags, logging
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils
from ml_collections import ConfigDict, config_flags

from data.messages import plain
from training import buckets, cluster, files, lost, metrics

BUCKETS = {
    "gcsfs",
    "s3fs",
    "botocore",
    "aiobotocore",
    "google",
    "aiohttp",
}  # whose errors are the user's
HELP = ("--help", "-help", "-h")
PROJECT = pathlib.Path(__file__).resolve().parents[1]

CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="The experiment; default: that of the run in --workdir, else digits."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder or bucket of the run; default: runs/CONFIG.")


def workdir() -> str:
    if WORKDIR.value:
        return WORKDIR.value
    path, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = pathlib.Path(path).stem
    return f"runs/{name}-{argument}".removesuffix("-")


def run(main, configs=None, trains: bool = True, takes: str = "", needs: bool = True) -> None:
    """Parses the flags, joins the cluster, runs `main()`, and tells a user's mistake in one line.

    Args:
      main: what the command does.
      configs: the package of the experiments; None: the command takes no --config.
      trains: whether it computes; else it joins no cluster, and leaves the accelerators alone.
      takes: what arguments beside flags it takes, "files or folders"; it is then called as `main(arguments)`.
      needs: whether it needs one of these.
    """

    def guarded(call):
        try:
            return call()
        except Exception as error:
            message = explain(error)
            if message is None:
                raise
            sys.stdout.flush()
            print(f"error: {message}", file=sys.stderr, flush=True)
            os._exit(1)  # at once: threads of a failed save would add their tracebacks
        except KeyboardInterrupt:
            print("stopped by Ctrl-C", file=sys.stderr, flush=True)
            os._exit(128 + signal.SIGINT)

    def start(argv):
        arguments = [argv[1:]] if takes else []
        logging.set_verbosity(logging.ERROR)  # Orbax and Grain tell their every step
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        if not jax.config.jax_compilation_cache_dir:
            jax.config.update("jax_compilation_cache_dir", str(cache / "cnn-architectures" / "jax"))
        if not trains:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # KeyboardInterrupt, see above
            jax.config.update("jax_platforms", "cpu")
            main(*arguments)
            return
        keep_memory()
        cluster.several_cpu_devices()
        config = CONFIG.value or {}
        start_timeout = config.get("start_timeout", cluster.START_TIMEOUT)
        cluster.join_cluster(start_timeout, config.get("lost_timeout", cluster.LOST_TIMEOUT))
        try:
            jax.devices()
        except Exception as error:  # a RuntimeError, or an AssertionError where the plugin lacks
            platforms = os.environ.get("JAX_PLATFORMS")
            raise ValueError(
                f"JAX finds no device (JAX_PLATFORMS={platforms}): unset JAX_PLATFORMS, "
                "or install JAX for it, for example: pip install -e '.[cuda]'"
            ) from error
        cluster.connect(start_timeout)
        main(*arguments)

    app.run(
        lambda argv: guarded(lambda: start(argv)),
        flags_parser=lambda argv: guarded(lambda: parse(argv, configs, takes, needs)),
    )


def keep_memory() -> None:
    """Lets a machine without accelerators keep the memory that a step frees; call it before JAX.

    XLA frees the temporary arrays of a step at its end. glibc returns large blocks to Linux, which
    hands them out page by page in the next step, filled with zeros: 300,000 pages in a step of
    ResNet-50 with 8 images, a tenth of its time or more.
    """
    if importlib.util.find_spec("jax_plugins") or importlib.util.find_spec("libtpu"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_max, arena_max = -1, -4, -8  # glibc's malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)
        mallopt(arena_max, 1)


def parse(argv: list[str], configs=None, takes: str = "", needs: bool = True) -> list[str]:
    """Parses the flags; raises ValueError where they are wrong.

    Args:
      argv: the command line.
      configs: the package of the experiments, with DEFAULT, check and describe; None: the command takes
        no --config.
      takes: see `run`.
      needs: see `run`.
    """
    helps = any(argument in HELP for argument in argv[1:])
    if helps and configs is None:
        flags.FLAGS["workdir"].help = "Folder or bucket of the run."  # no --config, no default
        app.usage(shorthelp=True, writeto_stdout=True)
        sys.exit()  # where absl's own --help ends with 1
    if configs is not None:
        argv = with_config([argument for argument in argv if argument not in HELP], configs)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        text = str(error)
        kind, _, reason = text.strip().splitlines()[-1].partition(": ")
        if kind == "ValueError":  # raised by a config file, below the traceback
            raise ValueError(reason) from error
        if isinstance(error, flags.IllegalFlagValueError) and "must have a value" in text:
            raise ValueError(
                f"--workdir is missing: say which run, as in python {argv[0]} --workdir=runs/mine"
                + (" photo.jpg" if takes else "")
            ) from error
        wrong = _wrong_field(argv) if configs is not None else None
        if wrong is None and isinstance(error, flags.UnrecognizedFlagError):
            wrong = _wrong_flag(error.flagname, configs, argv)
        raise ValueError(wrong or f"{text}; --help lists the flags") from error
    except (AttributeError, KeyError, TypeError) as error:  # with a KeyError inside
        wrong = _wrong_field(argv)
        if wrong or isinstance(error, TypeError):
            raise ValueError(wrong or str(error)) from error
        cause = error.args[0] if isinstance(error.args[0], Exception) else error
        raise ValueError(f"no such config field: {' '.join(cause.args[0].split())}") from error
    if takes and needs and len(rest) == 1 and not helps:
        raise ValueError(f"give {takes}; --help shows an example")
    if len(rest) > 1 and not takes:
        raise ValueError(f"unexpected argument {rest[1]!r}: flags look like --config.batch_size=64")
    if helps:
        app.usage(shorthelp=True, writeto_stdout=True)
        experiment = given(argv, "config") or f"the run in {given(argv, 'workdir')}"
        print(f"\nfields of {os.path.relpath(experiment)}, each a flag:")
        print(configs.describe(CONFIG.value))
        sys.exit()
    return rest


def _wrong_flag(name: str, configs, argv: list[str]) -> str:
    """Returns what to say of a flag that there is not."""
    of_command = [key.name for key in flags.FLAGS.get_key_flags_for_module(sys.argv[0])]
    if configs is not None and name in _fields(argv):
        return f"there is no flag --{name}: fields of the config look like --config.{name}=VALUE"
    near = difflib.get_close_matches(name, of_command, n=1)
    meant = f" (did you mean --{near[0]}?)" if near else ""
    return f"there is no flag --{name}{meant}; --help lists the flags"


def _wrong_field(argv: list[str]) -> str | None:
    """Returns what to say of the first --config.FIELD that the config lacks; None: it has them all."""
    for argument in argv[1:]:
        field = argument.lstrip("-").partition("=")[0]
        if not field.startswith("config."):
            continue
        config = section = _fields(argv)
        where = "--config"
        for name in field.split(".")[1:]:
            if not isinstance(section, dict):
                return (
                    f"there is no config field --{field}: {where} is a number or text, no section"
                )
            if name not in section:
                near = [f"{where}.{one}" for one in difflib.get_close_matches(name, section, n=1)]
                elsewhere = [f"--config.{one}" for one in flatten_dict(config, sep=".")]
                near += [one for one in elsewhere if one.endswith(f".{name}")]
                meant = f" (did you mean {near[0]}?)" if near else ""
                has = f"{where} has {', '.join(section)}; --help says what they mean"
                return f"there is no config field --{field}{meant}; {has}"
            section, where = section[name], f"{where}.{name}"
        if isinstance(section, dict):
            return (
                f"{where} is a section with the fields {', '.join(section)}: set one of them, as in "
                f"{where}.{next(iter(section), 'FIELD')}=VALUE, or choose another --config"
            )
    return None


def _fields(argv: list[str]) -> dict:
    """Returns the config of the command line, without what its other flags set."""
    path = given(argv, "config")
    if path is None:  # recorded by the run
        return flags.FLAGS["config"].default.to_dict()
    file, *argument = path.split(":", 1)
    return runpy.run_path(file)["get_config"](*argument).to_dict()


def with_config(argv: list[str], configs) -> list[str]:
    """Returns the command line with the config that it means: --config, that of the run, or the default."""
    path, folder = given(argv, "config"), given(argv, "workdir")
    recorded = config_of_run(folder) if path is None and folder else None
    if recorded is not None:
        delattr(flags.FLAGS, "config")
        config_flags.DEFINE_config_dict("config", recorded)
        return argv
    if path is None:
        if folder and (files.absolute(folder) / "checkpoints").exists():
            raise ValueError(
                f"{folder} does not say what config its run had: give it with --config"
            )
        return [argv[0], f"--config={configs.DEFAULT}", *argv[1:]]
    configs.check(path)
    return argv


def given(argv: list[str], flag: str) -> str | None:
    """Returns the value of a flag of the command line, --flag=value or --flag value; None: it is not there."""
    for i, argument in enumerate(argv[1:], 1):
        name, equals, value = argument.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            return value if equals else "".join(argv[i + 1 : i + 2])
    return None


def config_of_run(folder: str) -> ConfigDict | None:
    """Returns the config by which the run, or the search, in a workdir was last started; None: there is none."""
    try:
        search = files.absolute(folder) / "search.json"
        header = json.loads(search.read_text()) if search.exists() else {}
        header = header or metrics.newest_header(metrics.read_lines(folder))
    except (OSError, ImportError, ValueError):  # what is wrong in it, the command itself will tell
        return None
    return config_of(header) if isinstance(header, dict) else None


def config_of(header: dict) -> ConfigDict | None:
    """Returns the config of a run by its header, with the fields that there were not then; None: it has none."""
    recorded = header.get("config")
    if not isinstance(recorded, dict):
        return None
    sections = [recorded.get(name) for name in ("input", "model", "optimizer")]
    if not all(isinstance(section, dict) for section in sections) or "total_steps" not in recorded:
        return None
    fields = flatten_dict(recorded, sep=".", keep_empty_nodes=True)
    for name, value in metrics.BEFORE_THERE_WAS.items():
        fields.setdefault(name, value)
    return ConfigDict(_with_tuples(unflatten_dict(fields, sep=".")))


def _with_tuples(value):
    """Returns what JSON made of a config with tuples in place of lists, which a network cannot hash."""
    if isinstance(value, dict):
        return {name: _with_tuples(one) for name, one in value.items()}
    return tuple(_with_tuples(one) for one in value) if isinstance(value, list) else value


def explain(error: Exception) -> str | None:
    """Returns the line for the user, or None where the error is a bug and its traceback helps.

    An error that this project raises itself is for the user, as are those of files and devices.
    """
    text, *of_tensorstore = re.split(r" \[(?:os_error_code|tensorstore_spec)=", plain(error))
    if "No space left on device" in text:
        return f"the disk is full: {text}. Free some space and run the same command: it resumes"
    if "Read-only file system" in text:
        return f"the disk is read-only: {text}. Once it can be written, the same command resumes"
    if of_tensorstore:  # its errors of disks are ValueErrors
        return text
    if jax.distributed.is_initialized() and any(part in text for part in cluster.OF_OTHERS):
        return f"{lost.LOST} ({text[:300]})"
    if "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return (
            "out of memory on the device: lower --config.batch_size, in another --workdir if the run has "
            f"begun. {text[:200]}"
        )
    if isinstance(error, ImportError) and text in {
        missing for _, missing in buckets.CLIENTS.values()
    }:
        return text
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in BUCKETS:
        return text or type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    ours = frames and PROJECT in pathlib.Path(frames[-1].filename).resolve().parents
    if ours and isinstance(error, (ValueError, FloatingPointError)):
        return text
    return None


class StopSignal:
    """As a context, notes SIGTERM and Ctrl-C, so that the loop can save before it stops; a second Ctrl-C kills."""

    def __init__(self):
        self._noted = False
        self._before = {}

    def __enter__(self):
        if jax.process_count() == 1:  # else JAX's preemption service listens in every process
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, _frame):
        self._noted = True
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)

    def received(self, step: int) -> bool:
        """Whether to stop after `step`; all processes get the same answer."""
        if jax.process_count() == 1:
            return self._noted
        return multihost_utils.reached_preemption_sync_point(step)

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
