"""A run is one run of Weights & Biases, however often it is resumed; a failure there stops nothing."""

import sys
import types

import numpy as np
import pytest

from training import metrics, weights_and_biases


class Fake(types.ModuleType):
    """In place of its package: keeps what it is given, and raises where it is asked to."""

    def __init__(self, fails: str = ""):
        super().__init__("wandb")
        self.fails, self.begun, self.logged, self.ended = fails, [], [], []
        self.Image = lambda pixels: ("picture", pixels)

    def _do(self, what: str, kept: list, value):
        if what == self.fails:
            raise RuntimeError("no route")
        kept.append(value)

    def init(self, **named):
        self._do("init", self.begun, named)
        return self

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("*", "step")

    def log(self, figures):
        self._do("log", self.logged, figures)

    def finish(self, exit_code):
        self._do("finish", self.ended, exit_code)


def write(workdir, project="mine", steps=(1, 2), **fields):
    header = {"config": {"wandb": project, "batch_size": 8} | fields, "total_steps": 9}
    with metrics.Writer(workdir, [], header, 0) as writer:
        for step in steps:
            writer.write(step, {"train/loss": 1 / step})


def test_it_gets_the_config_and_every_figure_and_a_resumed_run_is_the_same(tmp_path, monkeypatch):
    fake = Fake()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    write(tmp_path)
    write(tmp_path, steps=[3])
    write(tmp_path, "other", steps=[])
    first, second, other = fake.begun
    assert first == second and first["resume"] == "allow" and first["name"] == tmp_path.name
    assert first["config"] == {"wandb": "mine", "batch_size": 8} and first["project"] == "mine"
    assert other["project"] == "other" and other["id"] != first["id"]
    assert fake.logged == [{"step": step, "train/loss": 1 / step} for step in (1, 2, 3)]
    assert fake.ended == [0, 0, 0]


def test_it_gets_pictures(tmp_path, monkeypatch):
    fake = Fake()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with metrics.Writer(tmp_path, [], {"config": {"wandb": "mine"}}, 0) as writer:
        pixels = np.zeros((2, 3, 3), np.uint8)
        writer.picture(4, "train/images", pixels)
    assert fake.logged == [{"step": 4, "train/images": ("picture", pixels)}]


def test_a_run_that_fails_ends_as_failed(tmp_path, monkeypatch):
    fake = Fake()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(ZeroDivisionError):
        write(tmp_path, steps=[0])
    assert fake.ended == [1]


@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_where_it_fails_that_is_told_once_and_all_else_goes_on(fails, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "wandb", Fake(fails))
    write(tmp_path)
    assert capfd.readouterr().err == "no more figures for Weights & Biases: no route\n"
    assert [line.get("step") for line in metrics.read_lines(tmp_path)] == [None, 1, 2]


def test_where_it_is_not_installed_the_line_says_how(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "wandb", None)
    write(tmp_path)
    assert "needs pip install -e '.[wandb]'" in capfd.readouterr().err
    assert len(metrics.read_lines(tmp_path)) == 3


def test_without_a_project_it_is_not_imported(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "wandb", None)
    write(tmp_path, "")
    assert capfd.readouterr().err == ""
    assert not (tmp_path / weights_and_biases.FILE).exists()


def test_its_own_client_keeps_a_run_offline(digits, tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install -e '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    digits.wandb = "mine"
    for steps in ([1], [2, 3]):
        write(tmp_path, steps=steps, **digits.to_dict())
    assert "no more figures" not in capfd.readouterr().err
    kept = [*(tmp_path / "wandb").glob("offline-run-*/run-*.wandb")]
    number = weights_and_biases.run_id(tmp_path / weights_and_biases.FILE, "mine")
    assert {file.name for file in kept} == {f"run-{number}.wandb"}
    assert all(b"train/loss" in file.read_bytes() for file in kept)
