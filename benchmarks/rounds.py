"""`train` and `infer`: images/s of networks, ours beside its peers, in rounds that take turns."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import networks, report
from benchmarks.worker import SLOW

SLOWER = 0.95  # of the old images/s
OURS, LINEN, EAGER, COMPILED = "ours", "linen", "torch eager", "torch compiled"
HEAD = ("network", "batch", "size", OURS, LINEN, EAGER, COMPILED)
HEAD += ("ours/torch", "ours/linen", "compile s", "MB", "GFLOP/s", "share of a matrix product")


class Worker:
    """A process that measures one network in one way; `benchmarks/worker.py` says how it talks.

    Raises:
      ChildProcessError: the network cannot be measured so; the message says why.
    """

    def __init__(self, python, file: str, spec: dict):
        command = [str(python), str(Path(__file__).with_name(file)), json.dumps(spec)]
        self.errors = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.errors.seek(0)
            last = self.errors.read().strip().splitlines()[-1:]
            raise ChildProcessError(f"its process ended with {status} {' '.join(last)}".strip())
        found = json.loads(line)
        if "error" in found:
            raise ChildProcessError(found["error"])
        return found

    def round(self, seconds: float) -> dict:
        """Returns "steps" and "step_seconds" of a round of about `seconds` seconds."""
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, either
            print(seconds, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


def measure(args) -> None:
    """Measures `args.networks`, and prints a row for each as soon as it is done.

    Args:
      args: the flags of `scripts/benchmark.py`, with `task` "train" or "infer".

    Raises:
      ValueError: an unknown network, or a file that does not hold an earlier run of the same task.
      OSError: a file cannot be read or written.
      ChildProcessError: a network cannot be measured; peers that cannot are shown as "failed".
    """
    old = read(args.compare, args.task, args.dtype, args.devices) if args.compare else None
    if args.json and not Path(args.json).parent.is_dir():
        raise ValueError(f"--json={args.json}: there is no such folder")
    specs = []
    for text in args.networks or networks.DEFAULT:
        name, batch, size = networks.parse(text, args.batch, args.image_size)
        config = networks.load(name, batch, size, args.dtype)
        spec = {"network": name, "batch": batch, "size": config.input.image_size}
        own = networks.twin(config) if networks.is_config(name) else name.partition("+")[0]
        spec |= {"twin": own, "num_classes": config.model.num_classes}
        spec |= {"task": args.task, "dtype": args.dtype, "devices": args.devices}
        specs.append(spec)
    torch_python = None
    if {"torch", "torch_eager"} & set(args.peer):
        timm = any((spec["twin"] or "").startswith("timm/") for spec in specs)
        torch_python = report.find_torch(
            args.torch_python, ("torch", "torchvision", *(["timm"] if timm else []))
        )

    facts = report.facts("jax", "jaxlib", "flax", "optax")
    facts |= {"task": args.task, "dtype": args.dtype, "rounds": args.rounds}
    facts |= {"seconds": args.seconds, "devices": args.devices, "measured": []}
    if hasattr(
        os, "getloadavg"
    ):  # others' load costs PyTorch most: its threads wait for each other
        facts["load average before"] = round(os.getloadavg()[0], 2)
    width = max(len(spec["network"]) for spec in specs)
    print(row(HEAD, width), flush=True)
    for number, spec in enumerate(specs, 1):
        print(f"{spec['network']}: {number} of {len(specs)}", file=sys.stderr, flush=True)
        found = measure_network(spec, args, torch_python)
        facts["device"] = found[OURS]["device"]
        for side in (EAGER, COMPILED):
            facts["versions"] |= found.get(side, {}).get("versions", {})
        facts["measured"].append(found)
        print(row(cells(found), width), flush=True)
        if args.json:
            Path(args.json).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    measured = facts.pop("measured")
    print("images/s are medians; MB are our step's temporary arrays")
    print("GFLOP/s are 2 x multiply-adds, for training 3 times those")
    report.describe(facts)
    if old:
        if old.get("machine") != facts["machine"]:
            print(f"another machine: {args.compare} was measured on {old.get('machine')}")
        for line in compare(measured, old["measured"]):
            print(line)


def measure_network(spec: dict, args, torch_python) -> dict:
    """Returns `spec` with what each side measured, or its "error"; "images_per_second" by round."""
    sides = {OURS: (sys.executable, "jax_worker.py", {"stock": False})}
    if "linen" in args.peer:
        sides[LINEN] = (sys.executable, "jax_worker.py", {"stock": True})
    if torch_python and spec["twin"]:
        sides[EAGER] = (torch_python, "torch_worker.py", {"compiled": False})
    if torch_python and spec["twin"] and "torch" in args.peer:
        sides[COMPILED] = (torch_python, "torch_worker.py", {"compiled": True})
    found, running = dict(spec), {}

    @contextlib.contextmanager
    def tells_failures(side):
        try:
            yield
        except ChildProcessError as error:
            if side == OURS:
                raise ChildProcessError(f"{spec['network']} failed: {error}") from error
            print(f"{spec['network']}, {side} failed: {error}", file=sys.stderr, flush=True)
            running.pop(side, None)
            found[side] = {"error": str(error)}

    with contextlib.ExitStack() as stack:
        for side, (python, file, more) in sides.items():
            platform = found.get(OURS, {}).get("platform")
            with tells_failures(side):
                worker = Worker(python, file, spec | more | {"platform": platform})
                stack.callback(worker.close)
                facts = worker.answer()
                found[side] = facts | {"images_per_second": []}
                if facts["step_seconds"] > SLOW:
                    found[side]["images_per_second"] = [spec["batch"] / facts["step_seconds"]]
                    worker.process.kill()
                else:
                    running[side] = worker
        for _ in range(args.rounds):
            for side, worker in list(running.items()):
                with tells_failures(side):
                    rate = spec["batch"] / worker.round(args.seconds)["step_seconds"]
                    found[side]["images_per_second"].append(rate)
    return found


def rate(found: dict, side: str) -> float | None:
    """Returns the median images/s of a side, None where it was not measured or failed."""
    rounds = found.get(side, {}).get("images_per_second")
    return statistics.median(rounds) if rounds else None


def cells(found: dict) -> list[str]:
    """Returns the row of a network, as HEAD names its cells."""
    ours, linen = rate(found, OURS), rate(found, LINEN)
    torch = max((rate(found, side) or 0 for side in (EAGER, COMPILED)), default=0)
    flops = 2 * found[OURS]["multiply_adds"] * (3 if found["task"] == "train" else 1) * ours
    rates = [
        "failed" if "error" in found.get(side, {}) else f"{value:,.1f}" if value else "-"
        for side in (OURS, LINEN, EAGER, COMPILED)
        for value in [rate(found, side)]
    ]
    return [
        *(str(found[name]) for name in ("network", "batch", "size")),
        *rates,
        f"{ours / torch:.2f}" if torch else "-",
        f"{ours / linen:.2f}" if linen else "-",
        f"{found[OURS]['compile_seconds']:.1f}",
        f"{found[OURS]['temporary_bytes'] / 1e6:,.0f}",
        f"{flops / 1e9:,.1f}",
        f"{flops / found[OURS]['matrix_product_flops']:.1%}",
    ]


def row(texts, width: int) -> str:
    first, *others = texts
    padded = (text.rjust(len(name)) for name, text in zip(HEAD[1:], others, strict=True))
    return "  ".join([first.ljust(width), *padded])


def read(path: str, task: str, dtype: str, devices: int = 1) -> dict:
    """Reads what --json wrote; raises OSError or ValueError where `path` holds no run of this task."""
    try:
        found = json.loads(Path(path).read_text("utf-8"))
        was = found["task"], found["dtype"]
        for network in found["measured"]:
            rate(network, OURS), network["network"], network["batch"], network["size"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not what --json writes: {error!r}") from error
    if was != (task, dtype):
        raise ValueError(f"{path} measured {was[0]} in {was[1]}, not {task} in {dtype}")
    if found.get("devices", 1) != devices:
        raise ValueError(f"{path} measured with --devices={found.get('devices', 1)}, not {devices}")
    return found


def compare(new: list[dict], old: list[dict]) -> list[str]:
    """Returns a line a network: our images/s by the old ones, marked where below SLOWER.

    Args:
      new: what `measure_network` returned, of each network.
      old: the same of an earlier run; a network is the same with the same batch and image size.
    """

    def key(found):
        return f"{found['network']}@{found['batch']}x{found['size']}"

    before = {key(found): rate(found, OURS) for found in old}
    lines = []
    for found in new:
        if before.get(key(found)):
            ratio = rate(found, OURS) / before[key(found)]
            mark = "  slower" if ratio < SLOWER else ""
            lines.append(f"{key(found)}: new/old {ratio:.2f}{mark}")
        else:
            lines.append(f"{key(found)}: not in the old run")
    return lines
