"""A damaged file of a run, a sweep or a search is told in one line or made again, and no good line is lost."""

import json

import pytest
from faults import json_files

from models.genotypes import as_text
from nas import loop, methods, sharing
from nas.spaces import CellSpace
from sweeps import folder as sweep_folder
from sweeps import watch, worker
from training import files, metrics


@pytest.mark.parametrize("kind", json_files.FILES)
def test_a_damaged_file_never_ends_in_a_traceback(kind):
    """One of each damage; tests/faults/json_files.py tries hundreds."""
    _, tracebacks = json_files.campaign(kind, tries=len(json_files.DAMAGES), seed=1)
    assert not tracebacks


GOOD = [{"config": {"seed": 0}, "total_steps": 9}, {"step": 1, "train/loss": 0.5}, {"step": 9}]


@pytest.mark.parametrize(
    "damaged",
    [
        b"\0" * 40,
        b'{"step": 2, "train/lo{"step": 3}',  # two halves
        b'{"step": 2}{"step": 3}',
        b'{"step": 2, "train/loss": 0.\xff}',
        b"3",
        b"NaN",
        b"null",
        b'"step"',
        b"[1]",
        b'{"step": "2"}',
        b'{"step": NaN}',
        b'{"step": -2}',
        b'{"step": 2, "train/loss": "low"}',
        b'{"step": 2, "train/loss": 1' + b"0" * 400 + b"}",
        b'{"step": 2, "resumed": 3}',
        b'{"config": [3]}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_is_left_out_and_told_once(damaged, tmp_path, capfd):
    lines = [json.dumps(line).encode() for line in GOOD]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([*lines[:2], damaged, lines[2], b""]))
    for _ in range(3):  # as a launcher does
        assert metrics.read_lines(tmp_path) == GOOD
    told = f"{tmp_path}/metrics.jsonl: left out 1 damaged line\n"
    assert capfd.readouterr().err == told


def test_zeros_at_the_end_are_told_and_a_line_that_a_kill_cut_short_is_not(tmp_path, capfd):
    file = tmp_path / "some.jsonl"
    file.write_bytes(b'{"a": 1}\n\n{"a": 2')
    assert files.read_jsonl(file) == [{"a": 1}]
    assert capfd.readouterr().err == ""
    file.write_bytes(b'{"a": 1}\n3\n\0\0\0')
    assert files.read_jsonl(file) == [{"a": 1}]
    assert capfd.readouterr().err == f"{file}: left out 2 damaged lines\n"
    assert files.read_jsonl(tmp_path / "none.jsonl") == []


def test_a_finished_run_whose_figures_are_lost_is_missing_in_reports():
    header = {"config": {}, "parameters": 1, "multiply_adds": 2}
    lines = [header, {"step": 9, "eval/top1": 0.0}]
    assert watch.Standing("a", "finished", lines, "").missing == ""
    assert "damaged" in watch.Standing("a", "finished", lines[1:], "").missing
    assert "damaged" in watch.Standing("a", "finished", lines[:1], "").missing
    assert watch.Standing("a", "failed", lines, "").missing == "failed"


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", ".", "", ".hidden", "a\nb"])
def test_a_name_that_leads_elsewhere_is_no_run(name, tmp_path, capfd):
    folder = str(tmp_path / "sweep")
    sweep = json_files.SWEEP | {"runs": {name: {}}, "jobs": {}}
    with pytest.raises(ValueError, match="has a run called"):
        sweep_folder.record(folder, sweep)
    (tmp_path / "sweep").mkdir()
    files.write_json(tmp_path / "sweep" / "sweep.json", sweep)
    for read in (sweep_folder.read, watch.look):
        with pytest.raises(ValueError, match="has a run called"):
            read(folder)
    assert worker.main(folder, name) == 1
    error = capfd.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["sweep", "sweep.json"]


def test_a_run_that_is_not_in_the_sweep_is_told(tmp_path, capfd):
    sweep_folder.record(str(tmp_path), json_files.SWEEP | {"runs": {}})
    assert worker.main(str(tmp_path), "seed=3") == 1
    assert capfd.readouterr().err == f"error: {tmp_path} has no run seed=3\n"


def test_the_state_of_a_run_from_the_future_or_with_damage_is_not_believed(tmp_path):
    for state, wanted in (
        ({"state": "running", "time": 9e9}, "lost"),
        ({"state": "running", "time": float("nan")}, "lost"),
        ({"state": "finishee", "time": 1.0}, "waiting"),
        ({"state": "finished", "time": "1"}, "waiting"),
        ([], "waiting"),
    ):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / "state.json").write_text(json.dumps(state))
        assert sweep_folder.state(str(tmp_path), "a")["state"] == wanted


def damaged_asked(folder):
    file = folder / "asked.jsonl"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*lines[:3], lines[3][:20] + lines[4], *lines[5:], b""]))


def damaged_state(folder):
    (folder / "state.msgpack").write_bytes(b"\0" * 30)


@pytest.mark.parametrize("damage", [damaged_asked, damaged_state])
def test_a_search_with_a_damaged_file_ends_as_an_undisturbed_one(damage, tmp_path, capfd):
    space, log = CellSpace(1, ("id", "max"), ("add",)), []

    def train(genotypes):
        log.extend(map(as_text, genotypes))
        yield from ((i, {"accuracy": len(as_text(g)) / 99}) for i, g in enumerate(genotypes))

    def search(asks):
        known = loop.Children(tmp_path / "children.jsonl", train)
        method = methods.make("evolution", space, 3, population=5, sample=3)
        searched = loop.Search(tmp_path / "search", space, method)
        searched.run(asks, 4, known, json_files.ConfigDict({"exponent": 0.0}))
        return {file.name: file.read_bytes() for file in (tmp_path / "search").iterdir()}

    search(12)
    undisturbed = search(20)
    damage(tmp_path / "search")
    assert search(20) == undisturbed
    assert len(log) == len(set(log))  # each genotype was trained once
    assert capfd.readouterr().err.rstrip().endswith("this search begins again")


def test_what_a_search_with_shared_weights_found_is_made_again_where_it_is_damaged(tmp_path, capfd):
    file = tmp_path / "found.json"
    assert sharing.read_found(file) is None and capfd.readouterr().err == ""
    found = {"genotype": [], "reward": 0.5, "seconds": 1.0, "shared": [0.1], "alone": [0.2]}
    files.write_json(file, found)
    assert sharing.read_found(file) == found
    for other in (found | {"alone": []}, found | {"shared": ["x"]}, found | {"reward": None}, []):
        files.write_json(file, other)
        assert sharing.read_found(file) is None
        assert capfd.readouterr().err.startswith(f"{file} is damaged (")
