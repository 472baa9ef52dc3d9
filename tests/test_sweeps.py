"""A sweep is expanded, run, watched and compared; nothing in it runs twice or is lost."""

import contextlib
import csv
import io
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import browser
import fsspec
import pytest
from conftest import PROJECT, command
from etils.epath import gpath
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

import sweeps
from configs import depth, digits, mobilenet, resnet50, spaces
from sweeps import (
    estimate,
    expand,
    local,
    pictures,
    report,
    results,
    search,
    sky,
    slurm,
    watch,
    worker,
)
from sweeps import folder as sweep_folder
from training import files, metrics
from training.command import explain

CONFIG = """
from configs import digits, spaces

def get_config():
    config = digits.get_config()
    config.batch_size = 32
    config.total_steps = 30
    config.log_steps = config.eval_steps = config.checkpoint_steps = 10
    return config

def sweep():
    return spaces.together({"optimizer.learning_rate": (1e30, 0.1, 0.1), "seed": (0, 0, 1)})

def space():
    return {"optimizer.learning_rate": spaces.Range(0.01, 0.5, log=True)}
"""


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "tried.py"
    file.write_text(CONFIG)
    return file


def script(config, *arguments):
    flags = (f"--config={config}", f"--workdir={config.parent / 'sweep'}")
    return command("scripts/sweep.py", *arguments, *flags)


def test_a_space_is_a_product_of_fields_and_of_fields_that_go_together():
    together = spaces.together({"b": (1, 2), "c": (3, 4)})
    assert spaces.product({"a": "xy"}, together) == [
        {"a": a, "b": b, "c": c} for a in "xy" for b, c in ((1, 3), (2, 4))
    ]
    with pytest.raises(ValueError):
        spaces.together({"b": (1, 2), "c": (3,)})


def test_draws_are_within_their_range_and_the_same_for_the_same_seed():
    space = {"a": spaces.Range(1e-4, 1.0, log=True), "n": spaces.Range(1, 3), "c": (False, True)}
    drawn = spaces.draw(300, space, seed=1)
    assert drawn == spaces.draw(300, space, seed=1) != spaces.draw(300, space, seed=2)
    assert all(1e-4 <= one["a"] <= 1 for one in drawn)
    assert 90 < sum(one["a"] < 1e-2 for one in drawn) < 210  # half of the exponents
    assert {one["n"] for one in drawn} == {1, 2, 3}
    assert {one["c"] for one in drawn} == {False, True}


def test_a_run_is_named_by_what_differs():
    base = digits.get_config()
    runs = expand.runs(
        spaces.product(
            {"model.depth": (20, 56), "model.residual": (True,)},
            spaces.together({"input.image_size": (8, 9), "input.resize": (8, 9)}),
            {"optimizer.learning_rate": (1e-05, 0.1)},
        ),
        base,
    )
    assert [run.name for run in runs][:2] == [
        "depth=20,image_size=8,learning_rate=1e-05",
        "depth=20,image_size=8,learning_rate=0.1",
    ]
    assert runs[-1].config.model.depth == 56 and base.model.depth == 8
    generated = expand.runs(({"seed": seed} for seed in range(3)), base)
    assert [run.name for run in generated] == ["seed=0", "seed=1", "seed=2"]
    assert expand.runs([{"seed": 3}], base)[0].name == "seed=3"


@pytest.mark.parametrize(
    "overrides, message",
    [
        ([{"model.dpeth": 20}], "sets model.dpeth, which is no config field: model.depth?"),
        ([{"model.depth": "deep"}], "sets model.depth to 'deep'"),
        ([{"seed": 1}, {"seed": 1}], "two runs would be called seed=1"),
        ([{"seed": 0.1234567}, {"seed": 0.1234568}], "seed"),
        ([], "empty"),
        ([{"seed": 1}, 3], "the sweep\\(\\) has 3: let it be overrides"),
    ],
)
def test_a_mistake_in_a_sweep_is_told_before_anything_starts(overrides, message):
    with pytest.raises(ValueError, match=message):
        expand.runs(overrides, digits.get_config())


@pytest.mark.parametrize("shipped, number", [(depth, 20), (resnet50, 9), (mobilenet, 16)])
def test_the_shipped_sweeps_set_fields_that_exist(shipped, number):
    assert len(expand.runs(shipped.sweep(), shipped.get_config())) == number
    if hasattr(shipped, "space"):
        first = {f: x.low for f, x in shipped.space().items()}
        assert expand.override(shipped.get_config(), first)


@pytest.mark.slow
def test_plain_and_residual_runs_of_the_depth_sweep_have_the_same_parameters():
    runs = expand.runs(depth.sweep(), depth.get_config())
    chosen = [run for run in runs if run.config.seed == 0]
    costs = dict(zip([r.name for r in chosen], estimate.costs(chosen), strict=True))
    for layers in (20, 56):
        plain, residual = (costs[f"seed=0,depth={layers},residual={r}"] for r in (False, True))
        assert plain.parameters == residual.parameters
    # 30 epochs of 1,437 images are 337 steps of 128, forward and backward.
    assert plain.total == 3 * plain.multiply_adds * 337 * 128
    hours = estimate.device_hours([residual, residual], images_per_second=100)
    assert hours == [pytest.approx(337 * 128 / 100 / 3600)] * 2


@pytest.mark.slow
def test_a_dry_run_lists_runs_and_starts_nothing(tmp_path):
    arguments = ("--images_per_second=1000", "--price=3")
    done = subprocess.run(
        **command(
            "scripts/sweep.py",
            "--config=configs/depth.py",
            f"--workdir={tmp_path / 'sweep'}",
            "--dry_run",
            *arguments,
        )
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| seed=") == 20
    assert f"| {tmp_path}/sweep/seed=4,depth=56,residual=False | 852,730 |" in done.stdout
    assert "device hours, cost" in done.stdout.splitlines()[-1]
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_run_measured_here_gives_the_images_per_second():
    sweep = {"config": "configs/digits.py", "arguments": ["--config.batch_size=8"]}
    [run] = expand.runs([{"seed": 1}], digits.get_config())
    assert estimate.measure(run, sweep, steps=3) > 0


@pytest.mark.slow
def test_launchers_share_a_sweep_and_a_failing_run_stops_no_other(config):
    """Two launchers at once, then a third: each good run is trained once, the bad one is told."""
    both = [subprocess.Popen(**script(config)) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    folder = config.parent / "sweep"
    states = {one.name: one.state for one in watch.look(str(folder))}
    good = ["learning_rate=0.1,seed=0", "learning_rate=0.1,seed=1"]
    assert {name for name, state in states.items() if state == "finished"} == {*good}
    assert [*states.values()].count("failed") == 1
    for name in good:
        assert (folder / name / "log.txt").read_text().count("done: ") == 1
    assert "error: the loss is" in outputs[0] + outputs[1]

    done = subprocess.run(**script(config, "--parallel=2"))
    assert "3 runs, 2 of them finished" in done.stdout
    assert done.returncode == 1  # the bad one fails again
    for name in good:
        assert (folder / name / "log.txt").read_text().count("done: ") == 1
    with pytest.raises(ValueError, match="no run has eval/top3; the metrics are: eval/images, "):
        results.collect(str(folder), "eval/top3")
    assert subprocess.run(**script(config, "results")).returncode == 0
    with open(folder / "results.csv") as file:
        rows = {row["learning_rate"]: row for row in csv.DictReader(file)}
    assert rows["0.1"]["n"] == "2" and float(rows["0.1"]["eval/top1"]) > 0.3
    assert rows["1e+30"]["state"] == "1 failed"

    sweep = sweep_folder.read(str(folder))
    with pytest.raises(ValueError, match="holds a sweep with arguments .*choose another"):
        sweep_folder.record(str(folder), sweep | {"arguments": ["--config.batch_size=64"]})


@pytest.mark.slow
def test_ctrl_c_stops_the_runs_which_save_and_go_on(config):
    config.write_text(CONFIG.replace("1e30", "0.2").replace("= 30", "= 10_000"))
    launcher = subprocess.Popen(**script(config, "--parallel=2"))
    folder = config.parent / "sweep"
    end = time.monotonic() + 120
    while len({path.parent for path in folder.glob("*/checkpoints/0*")}) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    launcher.send_signal(signal.SIGINT)
    _, errors = launcher.communicate()
    assert errors.splitlines()[-1].startswith("stopped; the runs have saved")
    states = [one.state for one in watch.look(str(folder))]
    assert sorted(states) == ["stopped", "stopped", "waiting"]
    assert not is_running(folder)
    steps = {one.name: one.step for one in watch.look(str(folder)) if one.state == "stopped"}
    for name, step in steps.items():
        assert (folder / name / "checkpoints" / f"{step:08d}").is_dir()


def is_running(folder):
    """Whether a process has the folder on its command line."""
    for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if str(folder).encode() in file.read_bytes():
                return True
    return False


@pytest.mark.slow
def test_a_search_runs_its_trials(config):
    done = subprocess.run(**script(config, "--optimize=eval/top1", "--trials=2", "--parallel=2"))
    assert done.returncode == 0, done.stderr
    assert "2 trials: 2 complete; best eval/top1" in done.stdout
    runs = sweep_folder.read(str(config.parent / "sweep"))["runs"]
    rates = [one["optimizer.learning_rate"] for one in runs.values()]
    assert len({*rates}) == 2 and all(0.01 <= rate <= 0.5 for rate in rates)


def test_a_search_stops_hopeless_runs_and_takes_up_those_that_were_left(tmp_path, config):
    """With made-up runs in place of training."""
    sweep = {"config": "x", "arguments": [], "base": {}, "git": None}
    sweep_folder.record(str(tmp_path), sweep | {"runs": {}})

    def opened():
        space = {"optimizer.learning_rate": (0.1, 0.2, 0.3), "seed": spaces.Range(0, 1000)}
        base = digits.get_config()
        return search.Search(str(tmp_path), sweep, base, space, "eval/loss", trials=8)

    def write(name, losses, state):
        lines = [{"config": {"batch_size": 8}, "total_steps": 20}]
        lines += [{"step": step, "eval/loss": loss} for step, loss in losses.items()]
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        writer = metrics.Writer(folder, lines, lines[0], 20)
        writer.close()
        sweep_folder.write_state(str(tmp_path), name, state)

    searched = opened()
    names = searched.names()
    for _ in range(5):
        name = next(names)
        write(name, {10: 1.0, 20: 0.5}, "finished")
        assert searched.watch([name]) == []
        searched.ended(name)
    bad = next(names)
    write(bad, {10: 9.0}, "running")
    assert searched.watch([bad]) == [bad]
    write(bad, {10: 9.0}, "stopped")
    searched.ended(bad)
    assert sweep_folder.state(str(tmp_path), bad)["state"] == "pruned"

    early = next(names)
    write(early, {10: 8.0}, "finished")  # by stop_after_evals
    assert searched.watch([early]) == []
    searched.ended(early)

    left = next(names)
    write(left, {10: 1.0}, "stopped")  # the launcher was killed here
    again = opened()
    names = again.names()
    assert next(names) == left
    write(left, {10: 1.0, 20: 0.25}, "finished")
    assert again.watch([left]) == []
    again.ended(left)
    assert next(names, None) is None
    assert again.summary() == f"8 trials: 7 complete, 1 pruned; best eval/loss 0.2500: {left}"


@pytest.fixture
def bucket(monkeypatch):
    """A bucket in memory."""
    # What training/files.py is for, once epath has looked for TensorFlow.
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    fsspec.register_implementation("s3", MemoryFileSystem, clobber=True)
    yield "s3://bucket/sweep"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def made_up(folder, values):
    """Writes a sweep of runs that never ran: name -> (overrides, state, top-1 at steps 10 and 20)."""
    runs = {name: overrides for name, (overrides, _, _) in values.items()}
    sweep = {"config": "x", "arguments": [], "base": {"seed": 0}, "git": None, "runs": runs}
    sweep_folder.record(folder, sweep)
    for name, (_, state, top1) in values.items():
        path = sweep_folder.path(folder) / name
        path.mkdir(parents=True)
        lines = [{"config": {"batch_size": 8}, "parameters": 7, "total_steps": 20}]
        lines += [
            {"step": 10 * i, "eval/top1": x, "train/images_per_second": 4.0}
            for i, x in enumerate(top1, 1)
        ]
        text = "".join(f"{line}\n" for line in lines).replace("'", '"')
        (path / "metrics.jsonl").write_text(text)
        sweep_folder.write_state(folder, name, state)


def test_results_are_grouped_over_seeds_and_sorted_also_in_a_bucket(bucket):
    values = {
        f"d={d},s={s}": ({"model.depth": d, "seed": s}, "finished", [0.1, top1])
        for (d, s), top1 in {(20, 0): 0.5, (20, 1): 0.7, (56, 0): 0.8, (56, 1): 0.9}.items()
    }
    values["d=56,s=2"] = ({"model.depth": 56, "seed": 2}, "running", [0.2])
    made_up(bucket, values)
    groups = results.collect(bucket, "eval/top1")
    rows = results.rows(groups, "eval/top1")
    table = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [row["depth"] for row in table] == [56, 20]
    assert [row["n"] for row in table] == [2, 2]  # the running one does not count
    assert table[0]["state"] == "2 finished, 1 running"
    assert table[1]["eval/top1"] == pytest.approx(0.6)
    assert table[1]["eval/top1 sd"] == pytest.approx(0.02**0.5)

    names = results.write(bucket, groups, "eval/top1", x="parameters")
    pngs = ["curves.png", "fields.png", "parameters.png"]
    assert names == ["results.csv", "results.md", *pngs, "report.html"]
    files = {name: (sweep_folder.path(bucket) / name).read_bytes() for name in names}
    read = [*csv.reader(io.StringIO(files["results.csv"].decode()))]
    assert read[1][:3] == ["56", "2", "2 finished, 1 running"]
    for name in pngs:
        with Image.open(io.BytesIO(files[name])) as image:
            assert len(image.convert("RGB").getcolors(100_000)) > 50  # more than an empty frame
    with pytest.raises(ValueError, match="--x=parametres: choose one of depth, n, .*parameters"):
        results.write(bucket, groups, "eval/top1", x="parametres")


MIXED = {  # numbers far apart, a choice, a run that has only begun, and one that never did
    f"lr={lr},{r}": ({"lr": lr, "model.residual": r}, "finished", [0.1, lr / (2 - r)])
    for lr in (0.01, 0.1, 1.0)
    for r in (False, True)
} | {
    "begun": ({"lr": 0.1, "model.residual": None}, "running", [0.3]),
    "failed": ({"lr": 1.0, "model.residual": None}, "failed", []),
}


def test_a_report_has_a_place_for_each_value_of_a_field(tmp_path):
    made_up(str(tmp_path), MIXED)
    groups = results.collect(str(tmp_path), "eval/top1")
    lr, residual, _, top1 = report._coordinates(groups, "eval/top1").data[0].dimensions
    assert (lr.label, lr.ticktext) == ("lr", ("0.01", "0.1", "1"))
    assert lr.tickvals == (-2, -1, 0) and sorted({*lr.values}) == [-2, -1, 0]
    assert residual.ticktext == ("False", "None", "True") and {*residual.values} == {0, 1, 2}
    assert len(top1.values) == 7 and max(top1.values) == 1.0
    curves = report._curves(groups, "eval/top1", "eval/top1").data
    assert len(curves) == 7 and sum(curve.showlegend for curve in curves) == 7
    long = [(step, 0.5) for step in range(10_001)]
    shortened = report.thinned(long)
    assert len(shortened) <= report.POINTS + 1 and shortened[-1] == long[-1]


def test_without_plotly_there_is_no_report_and_the_rest_is_written(tmp_path, monkeypatch, capfd):
    made_up(str(tmp_path), MIXED)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    monkeypatch.delitem(sys.modules, "sweeps.report")
    monkeypatch.delattr(sweeps, "report")
    groups = results.collect(str(tmp_path), "eval/top1")
    names = results.write(str(tmp_path), groups, "eval/top1", None)
    assert "results.csv" in names and "report.html" not in names
    assert capfd.readouterr().err == (
        "no report.html, which needs Plotly: pip install -e '.[sweeps]'\n"
    )


@pytest.mark.slow
def test_a_report_opens_in_a_browser(tmp_path):
    made_up(str(tmp_path), MIXED)
    groups = results.collect(str(tmp_path), "eval/top1")
    file = tmp_path / "report.html"
    file.write_text(report.page(groups, "eval/top1"), "utf-8")
    shown, _ = browser.opened(
        file, tmp_path, "--use-angle=swiftshader", "--enable-unsafe-swiftshader"
    )
    drawn = shown.partition("<body>")[2]
    assert drawn.count('class="axis-title"') == 4  # fields, speed and metric
    assert (
        drawn.count('class="js-line"') == 2 * 7
    )  # a curve and a name for each run that has figures
    assert drawn.count("<tr>") == 2 + 1 + 8  # facts, heads, groups
    assert "WebGL" not in drawn


def test_two_fields_are_drawn_as_a_plane(tmp_path):
    values = {
        f"{lr},{r}": ({"lr": lr, "model.residual": r}, "finished", [0.1, lr / (2 - r)])
        for lr in (0.01, 0.1, 1.0)
        for r in (False, True)
    }
    made_up(str(tmp_path), values)
    names = results.write(
        str(tmp_path), results.collect(str(tmp_path), "eval/top1"), "eval/top1", None
    )
    assert "pairs.png" in names


def test_the_standing_of_a_run_tells_its_eta_and_whether_it_was_killed(tmp_path):
    made_up(str(tmp_path), {"seed=0": ({"seed": 0}, "running", [0.5])})
    [standing] = watch.look(str(tmp_path))
    assert (standing.step, standing.total_steps) == (10, 20)
    assert standing.seconds_left == 10 * 8 / 4.0
    assert "00:20" in watch.table([standing], "eval/top1")
    state = tmp_path / "seed=0" / "state.json"
    old = time.time() - sweep_folder.LOST - 1
    files.write_json(sweep_folder.path(state), {"state": "running", "time": old})
    assert watch.look(str(tmp_path))[0].state == "lost"
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        watch.look(str(tmp_path / "elsewhere"))
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match="sweep.json is damaged .*: remove it and launch again"):
        watch.look(str(tmp_path))


def test_runs_are_read_side_by_side(tmp_path, monkeypatch):
    made_up(str(tmp_path), {f"seed={s}": ({"seed": s}, "finished", [0.5]) for s in range(8)})
    together, read_lines = threading.Barrier(8, timeout=10), metrics.read_lines
    monkeypatch.setattr(metrics, "read_lines", lambda path: together.wait() * 0 or read_lines(path))
    assert [one.name for one in watch.look(str(tmp_path))] == [f"seed={s}" for s in range(8)]


def test_only_what_is_new_is_read_again(bucket, tmp_path, monkeypatch):
    """A run that ends between two looks; on a disk a running run may have new figures at any time."""
    runs = {f"seed={s}": ({"seed": s}, ("finished", "running")[s], [0.5]) for s in range(2)}
    again, read_lines = [], metrics.read_lines
    monkeypatch.setattr(
        metrics, "read_lines", lambda path: again.append(path.name) or read_lines(path)
    )
    for folder, expected in ((bucket, []), (str(tmp_path), ["seed=1"])):
        made_up(folder, runs)
        first = watch.look(folder)
        again.clear()
        assert watch.look(folder, before=first) == first and again == expected
        sweep_folder.write_state(folder, "seed=1", "finished")
        again.clear()
        assert watch.look(folder, before=first)[1].state == "finished" and again == ["seed=1"]


@pytest.mark.slow
def test_a_killed_worker_leaves_its_run_locked_until_the_training_ends(config):
    sweep = {"config": str(config), "arguments": [], "base": {}, "git": None}
    folder = str(config.parent / "sweep")
    config.write_text(CONFIG.replace("= 30", "= 40_000"))
    sweep_folder.record(folder, sweep | {"runs": {"seed=0": {"seed": 0}}})
    arguments = ("-m", "sweeps.worker", folder, "seed=0")
    first = subprocess.Popen(**command(*arguments))
    log = pathlib.Path(folder, "seed=0", "log.txt")
    end = time.monotonic() + 120
    while not log.exists() or "step 10" not in log.read_text():
        assert time.monotonic() < end
        time.sleep(0.1)
    first.kill()
    first.communicate()
    second = subprocess.run(**command(*arguments))
    assert second.returncode == worker.BUSY
    subprocess.run(["pkill", "-f", f"train.py.*{folder}"], check=True)


def test_in_a_bucket_a_sign_of_life_keeps_a_second_worker_out(bucket, monkeypatch):
    made_up(bucket, {"seed=0": ({"seed": 0}, "running", [])})
    second = worker.Worker(bucket, "seed=0")
    monkeypatch.setattr(second, "_train", lambda lock: 0)
    first_renews = lambda _: sweep_folder.write_state(bucket, "seed=0", "running")  # noqa: E731
    monkeypatch.setattr(time, "sleep", first_renews)
    assert second.run() == worker.BUSY
    monkeypatch.setattr(time, "sleep", lambda _: None)  # killed: it gives no sign any more
    monkeypatch.setattr(sweep_folder, "LOST", 0.05)
    assert second.run() == 0
    assert sweep_folder.state(bucket, "seed=0")["state"] == "finished"


def test_an_object_that_is_replaced_while_it_is_read_is_read(bucket, monkeypatch):
    made_up(bucket, {"seed=0": ({"seed": 0}, "finished", [0.5])})

    def replaced(*_, **__):  # between the two requests of a file that is opened
        raise OSError(16, "The remote file no longer exists")

    monkeypatch.setattr(MemoryFileSystem, "open", replaced)
    [standing] = watch.look(bucket)
    assert standing.state == "finished" and standing.latest("eval/top1") == 0.5


class Started:
    """In place of a worker: ends when it is told to."""

    def __init__(self, name):
        self.name, self.returncode = name, None

    def poll(self):
        return self.returncode

    def terminate(self):
        self.returncode = worker.SAVED


@pytest.fixture
def left(tmp_path, monkeypatch):
    """A sweep of four runs whose launcher was killed while two of them ran: returns folder and their locks."""
    folder = str(tmp_path)
    names = [f"seed={seed}" for seed in range(4)]
    made_up(folder, {name: ({}, "stopped", []) for name in names})
    locks = {}
    for core, name in zip((2, 1), names, strict=False):
        more = {"host": os.uname().nodename, "share": {worker.CORES: str(core)}}
        sweep_folder.write_state(folder, name, "running", **more)
        locks[name] = contextlib.ExitStack()
        locks[name].enter_context(files.lock(tmp_path / name / "lock"))
    monkeypatch.setattr(local, "POLL", 0.001)
    monkeypatch.setattr(worker, "cores", lambda: ["0", "1", "2"])
    monkeypatch.setattr(local, "accelerators", lambda: [])
    yield folder, locks
    for held in locks.values():
        held.close()


def launched(folder, monkeypatch, parallel, step):
    """Launches the two runs that are not there yet; returns what was started, with its share."""
    started = []

    def start(_, name, share):
        started.append((Started(name), share))
        return started[-1][0]

    monkeypatch.setattr(local, "_start", start)
    counts = itertools.count()
    local.launch(
        folder,
        ["seed=2", "seed=3"],
        parallel,
        lambda name, status: None,
        lambda running: step(next(counts), [one for one, _ in started]) or [],
    )
    return [(one.name, share.get(worker.CORES)) for one, share in started]


def test_runs_that_a_killed_launcher_left_count_among_those_at_a_time(left, monkeypatch, capfd):
    folder, locks = left

    def step(poll, started):
        if poll < 5:
            assert not started  # both places are taken
        elif poll == 5:
            locks["seed=1"].close()
        elif poll < 10:
            assert len(started) <= 1
        elif poll == 10:
            assert [one.name for one in started] == ["seed=2"]
            locks["seed=0"].close()
        elif poll == 15:
            assert len(started) == 2
            for one in started:
                one.returncode = 0

    assert [name for name, _ in launched(folder, monkeypatch, 2, step)] == ["seed=2", "seed=3"]
    assert "2 of the runs are still going" in capfd.readouterr().out


def test_a_run_starts_on_the_cores_that_those_of_a_killed_launcher_leave(left, monkeypatch):
    folder, _ = left

    def step(poll, started):
        for one in started:
            one.returncode = 0

    assert launched(folder, monkeypatch, 3, step) == [("seed=2", "0"), ("seed=3", "0")]


def test_runs_of_a_launcher_that_lives_or_is_elsewhere_do_not_count(left):
    folder, locks = left
    assert [*local.orphans(folder)] == ["seed=0", "seed=1"]
    with local._hold(folder, "seed=0"):
        assert [*local.orphans(folder)] == ["seed=1"]
    sweep_folder.write_state(folder, "seed=1", "running", host="elsewhere")
    assert [*local.orphans(folder)] == ["seed=0"]
    locks["seed=0"].close()
    assert not local.orphans(folder) and not local.orphans("s3://bucket/sweep")


def test_children_run_the_code_of_this_checkout(tmp_path, other_checkout, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(other_checkout))
    monkeypatch.chdir(other_checkout)
    made_up(str(tmp_path), {"seed=0": ({}, "finished", [])})
    assert local._start(str(tmp_path), "seed=0", {}).wait() == 0  # finished: it trains nothing
    environment = sweep_folder.environment()
    assert environment["PYTHONPATH"] == f"{PROJECT}{os.pathsep}{other_checkout}"
    program = "import sys; open(sys.argv[2].partition('=')[2] + '/path', 'w').write(str(sys.path))"
    (tmp_path / "train.py").write_text(program)
    monkeypatch.setattr(sweep_folder, "PROJECT", tmp_path)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    sweep_folder.write_state(str(tmp_path), "seed=0", "stopped")
    assert worker.Worker(str(tmp_path), "seed=0").run() == 0
    path = (tmp_path / "seed=0" / "path").read_text()
    assert path.startswith(f"['{tmp_path}', '{other_checkout}'")


def test_jobs_of_slurm_run_the_code_of_this_checkout(tmp_path, other_checkout, monkeypatch):
    """With a command in place of sbatch that keeps what it is given."""
    (tmp_path / "sbatch").write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/script\necho job 7\n')
    (tmp_path / "sbatch").chmod(0o755)
    (tmp_path / "srun").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert slurm.launch(str(tmp_path / "sweep"), ["seed=0"], 1, {}) == [("seed=0", "7")]
    [line] = [x for x in (tmp_path / "script").read_text().splitlines() if x.startswith("srun ")]
    python = line[line.index(" env ") : line.index(" -u -m submitit")]
    for other in (str(other_checkout), ""):
        monkeypatch.setenv("PYTHONPATH", other)
        program = f"{python} -c 'import sweeps, sys; print(sweeps.__file__, sys.path)'"
        done = subprocess.run(
            program, shell=True, cwd=other_checkout, capture_output=True, text=True
        )
        assert done.stdout.startswith(f"{PROJECT}/sweeps/__init__.py "), done.stderr
        assert ("''" in done.stdout, str(other_checkout) in done.stdout) == (False, bool(other))


SPACE = {"model.depth": [8, 14], "optimizer.learning_rate": spaces.Range(0.01, 1.0, log=True)}


@pytest.mark.parametrize(
    "later, message",
    [
        ({}, None),
        ({"model.depth": [8, 14, 20]}, "model.depth was one of 8, 14 and is one of 8, 14, 20"),
        ({"model.depth": [14, 8]}, "model.depth was one of 8, 14 and is one of 14, 8"),
        ({"model.depth": spaces.Range(8, 14)}, "model.depth was one of 8, 14 and is 8 to 14. Ch"),
        ({"optimizer.learning_rate": spaces.Range(0.001, 2.0, log=True)}, None),
        ({"optimizer.learning_rate": spaces.Range(0.01, 1.0)}, "1.0, logarithmic and is 0.01 to 1"),
        ({"optimizer.momentum": [0.8, 0.9]}, None),
    ],
)
def test_a_study_of_another_space_goes_on_or_is_refused_with_the_difference(
    later, message, tmp_path
):
    sweep = sweep_folder.describe("configs/digits.py", {}, {}, None)

    def opened(space, trials):
        base = digits.get_config()
        return search.Search(str(tmp_path), sweep, base, space, "eval/top1", trials)

    first = opened(SPACE, 2)
    for name in first.names():
        first.study.tell(first._running.pop(name), 0.5)
    if message:
        with pytest.raises(ValueError, match=f"study.log is the study of another .*{message}"):
            opened(SPACE | later, 3)
        return
    (tmp_path / "sweep.json").unlink()  # the study knows its runs, too
    [name] = opened(SPACE | later, 3).names()
    runs = sweep_folder.read(str(tmp_path))["runs"]
    assert len(runs) == 3 and runs[name].keys() == (SPACE | later).keys()


@pytest.mark.parametrize(
    "space, message",
    [
        ({}, "let it be fields and their values"),
        ({"model.depth": []}, "model.depth: \\[\\]: .* one or more"),
        ({"model.depth": 20}, "model.depth: 20: "),
        ({"model.name": "resnet"}, "a text is no list of choices"),
        ({"seed": spaces.Range(9, 1)}, "low <= high"),
        ({"lr": spaces.Range(0.0, 1.0, log=True)}, "low > 0"),
        ({"lr": spaces.Range(0.1, float("inf"))}, "the ends of a range are numbers"),
    ],
)
def test_a_space_that_cannot_be_drawn_is_told(space, message):
    with pytest.raises(ValueError, match=message):
        search.as_distributions(space)


def test_a_journal_that_a_kill_cut_short_goes_on(tmp_path):
    sweep = sweep_folder.describe("configs/digits.py", {}, {}, None)
    arguments = (str(tmp_path), sweep, digits.get_config(), SPACE, "eval/top1", 2)
    first = search.Search(*arguments)
    [name, other] = first.names()
    first.study.tell(first._running.pop(name), 0.5)
    with (tmp_path / "study.log").open("a") as file:
        file.write('{"op_code": 6, "trial')
    assert [*search.Search(*arguments).names()] == [other]
    assert search.Search(*arguments).study.best_value == 0.5


def test_a_flag_out_of_its_range_is_told():
    program = """
import importlib.util, sys
from training import command
spec = importlib.util.spec_from_file_location("sweep_script", "scripts/sweep.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))
for flag in sys.argv[1:]:
    try:
        command.parse(["sweep.py", flag])
    except ValueError as error:
        print(command.explain(error))
"""
    flags = ["--parallel=-1", "--trials=0", "--images=-5", "--price=-1", "--price=nan", "--price=1"]
    done = subprocess.run(**command("-c", program, *flags))
    lines = done.stdout.splitlines()
    assert len(lines) == 5, done.stderr
    assert all(flag in line for flag, line in zip(flags, lines, strict=False))


@pytest.mark.parametrize("text", ["a: b: c", "- 1", "1: 2", "d: 2026-13-45", "\0", "[" * 1000])
def test_an_engines_file_without_settings_is_told(text, tmp_path):
    file = tmp_path / "engine.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"--engine={file} ") as raised:
        sweep_folder.engine_settings(str(file))
    assert explain(raised.value)
    with pytest.raises(ValueError, match="envs are"):
        sky.write("gs://bucket/x", "x", {"envs": [1]}, tmp_path / "task.yaml")


def test_runs_at_a_time_share_the_machine_evenly(monkeypatch):
    monkeypatch.setattr(worker, "cores", lambda: list("01234567"))
    monkeypatch.setattr(local, "accelerators", lambda: [])
    assert local.shares(2) == [{worker.CORES: "0,1,2,3"}, {worker.CORES: "4,5,6,7"}]
    monkeypatch.setattr(local, "accelerators", lambda: ["0", "1", "2"])
    assert local.shares(3) == [{"CUDA_VISIBLE_DEVICES": x} for x in "012"]
    shared = local.shares(4)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shared] == ["0", "1", "2", "0"]
    assert [share[worker.CORES] for share in shared] == ["0,1", "2,3", "4,5", "6,7"]
    assert {share["XLA_PYTHON_CLIENT_MEM_FRACTION"] for share in shared} == {"0.450"}
    with pytest.raises(ValueError, match="--parallel=9: choose 1 to 8, the number of cores"):
        local.shares(9)


def test_a_missing_engine_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match="needs Slurm's sbatch"):
        slurm.check("/shared/sweep")
    with pytest.raises(ValueError, match="needs SkyPilot.*pipx install"):
        sky.check("gs://bucket/sweep")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(ValueError, match="Slurm needs a folder that all nodes see"):
        slurm.check("gs://bucket/sweep")
    with pytest.raises(ValueError, match="SkyPilot's nodes need a bucket"):
        sky.check("/shared/sweep")


def test_each_run_becomes_a_managed_job(tmp_path, monkeypatch):
    (tmp_path / "sky").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        'echo \'[{"job_name": "rates-seed-1", "status": "RECOVERING"}]\'\n'
    )
    (tmp_path / "sky").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    file = tmp_path / "rates.yaml"
    file.write_text("secrets: {TOKEN: null}\n")
    with pytest.raises(ValueError, match="the secrets TOKEN are not in the environment"):
        dict(sky.launch(["seed=1"], file))
    monkeypatch.setenv("TOKEN", "x")
    assert dict(sky.launch(["seed=1"], file)) == {"seed=1": "rates-seed-1"}
    call = "jobs launch --yes --detach-run --name=rates-seed-1 --env=RUN=seed=1 --secret=TOKEN"
    assert (tmp_path / "calls").read_text() == f"{call} {file}\n"

    made_up(str(tmp_path / "sweep"), {"seed=1": ({"seed": 1}, "stopped", [0.5])})
    sweep = sweep_folder.read(str(tmp_path / "sweep"))
    jobs = {"jobs": {"seed=1": {"engine": "sky", "id": "rates-seed-1"}}}
    sweep_folder.record(str(tmp_path / "sweep"), sweep | jobs)
    assert watch.look(str(tmp_path / "sweep"))[0].state == "queued"


def test_the_nodes_of_a_skypilot_job_find_each_other():
    program = (
        "import jax\nfrom training import command\n"
        "command.run(lambda: print(jax.process_index(), 'of', jax.process_count()))"
    )
    nodes = {"SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1", "SKYPILOT_NUM_NODES": "2"}
    processes = [
        subprocess.Popen(**command("-c", program, env=nodes | {"SKYPILOT_NODE_RANK": str(rank)}))
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    # Before that come lines of gloo's.
    assert [out.splitlines()[-1] for out, _ in outputs] == ["0 of 2", "1 of 2"], outputs


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("model.width_multiplier", "width multiplier"),
        ("optimizer.learning_rate", "learning rate"),
        ("multiply_adds", "multiply-adds an image"),
        ("eval/top1", "evaluation, top-1 accuracy"),
        ("train/loss", "training, loss"),
        ("seed", "seed"),
    ],
)
def test_an_axis_says_a_field_in_words(field, said):
    assert pictures.named(field) == said
