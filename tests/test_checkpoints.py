"""Checkpoints are verified, and what is damaged hides nothing that is whole."""

import json
import os
import shutil

import jax
import numpy as np
import pytest
import tensorstore
from faults.checkpoints import DAMAGES, campaign, flip, restore, save, some_state

from training import checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir with checkpoints of the steps 1, 2 and 3; step 2 is the best."""
    workdir = tmp_path_factory.mktemp("trained")
    save(workdir, {1: 0.5, 2: 0.9, 3: 0.7})
    return workdir


@pytest.fixture
def workdir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def folder(workdir, step):
    return workdir / "checkpoints" / f"{step:08d}"


def evaluated_step(workdir, which, capfd):
    saved = checkpoints.Checkpoints(workdir, read_only=True)
    try:
        return int(saved.restore(which, some_state(0)).step), capfd.readouterr().err
    finally:
        saved.close()


def test_what_is_whole_is_restored_without_a_word(workdir, capfd):
    assert restore(workdir) == (3, "")
    assert evaluated_step(workdir, "best", capfd) == (2, "")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_seen_and_the_one_before_is_restored(damage, trained):
    """A few of each damage; tests/faults/checkpoints.py tries hundreds. Each bit is compared."""
    counts = campaign(trained, damage, tries=20, seed=1)
    assert not counts["something else"]
    assert counts["seen"] > 3


def test_what_is_damaged_is_named_and_put_aside(workdir):
    (data,) = (folder(workdir, 3) / "default" / "d").iterdir()
    flip(data, 1000)
    step, told = restore(workdir)
    assert step == 2
    assert told.splitlines() == [
        f"cannot read the checkpoint of step 3: default/d/{data.name} is damaged",
        "going back to the checkpoint of step 2",
        f"the checkpoint of step 3 is now in {workdir / 'unreadable'}",
    ]
    assert [path.name[:8] for path in (workdir / "unreadable").iterdir()] == ["00000003"]
    assert restore(workdir) == (2, "")


def test_digests_are_verified_themselves(workdir):
    digests = folder(workdir, 3) / "digests.json"
    content = json.loads(digests.read_text())
    content["content"]["arrays"]["params/conv/kernel"][0][0] = 7
    digests.write_text(json.dumps(content))
    step, told = restore(workdir)
    assert step == 2 and "digests.json is damaged" in told


@pytest.mark.parametrize(
    "lost",
    [
        ["default"],
        ["default/d"],
        ["default/manifest.ocdbt"],
        ["default/_METADATA"],
        ["default", "metrics", "digests.json", "_CHECKPOINT_METADATA"],
        ["default", "digests.json"],
    ],
    ids=str,
)
def test_a_hollow_newest_checkpoint_hides_none_of_the_others(lost, workdir, capfd):
    for name in lost:
        path = folder(workdir, 3) / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    step, told = restore(workdir)
    assert step == 2
    assert "cannot read the checkpoint of step 3" in told
    assert restore(workdir)[0] == 2
    assert evaluated_step(workdir, "best", capfd)[0] == 2


@pytest.mark.parametrize(
    "metrics", ["[]", "{}", '{"top1": NaN}', '{"top1": "0.9"}', '{"top1": null}', "7", "{", "\x00"]
)
def test_foreign_metrics_are_told_and_best_is_chosen_among_the_others(metrics, workdir, capfd):
    (folder(workdir, 2) / "metrics" / "metrics").write_text(metrics)
    step, told = evaluated_step(workdir, "best", capfd)
    assert step == 3
    assert "cannot read the metrics of the checkpoint of step 2" in told
    saved = checkpoints.Checkpoints(workdir)  # and a run goes on
    saved.save(4, some_state(4), {"top1": 0.8})
    saved.wait()
    assert saved.best_step() == 4
    saved.close()


def test_metrics_that_were_changed_make_no_best_checkpoint(workdir, capfd):
    (folder(workdir, 1) / "metrics" / "metrics").write_text('{"top1": 0.99}')
    step, told = evaluated_step(workdir, "best", capfd)
    assert step == 2
    assert "metrics of the checkpoint of step 1: metrics/metrics is damaged" in told


@pytest.mark.parametrize("name", [99, 4])
def test_a_renamed_step_is_found_out_and_later_saves_are_kept(name, workdir):
    folder(workdir, 3).rename(folder(workdir, name))
    step, told = restore(workdir)
    assert step == 2
    assert f"cannot read the checkpoint of step {name}: it is that of step 3" in told
    saved = checkpoints.Checkpoints(workdir)
    saved.save(name, some_state(name), None)
    saved.wait()
    saved.close()
    assert restore(workdir)[0] == name


def test_a_named_step_that_is_damaged_is_refused_and_latest_says_what_it_took(workdir, capfd):
    shutil.rmtree(folder(workdir, 3) / "default")
    with pytest.raises(ValueError, match=r"step 3 is damaged; there are \[1, 2, 3\]"):
        evaluated_step(workdir, "3", capfd)
    step, told = evaluated_step(workdir, "latest", capfd)
    assert step == 2 and "going back to the checkpoint of step 2" in told
    assert folder(workdir, 3).exists()  # who only reads moves nothing


def test_another_network_or_optimizer_is_named_and_nothing_is_put_aside(workdir):
    with pytest.raises(
        ValueError,
        match=r"another network: params/conv/kernel is \(3, 3, 4, 5\) float32 in it, and \(3, 3, 4, 6\)",
    ):
        restore(workdir, like=some_state(0, width=6))
    like = some_state(0)
    like = like.replace(opt_state=({"trace": like.opt_state[0]["trace"]},))
    with pytest.raises(
        ValueError, match=r"another optimizer: opt_state/1/count is \(\) int32 in it, and missing"
    ):
        restore(workdir, like=like)
    with pytest.raises(
        ValueError, match="step 3 has no average of the weights, and the config wants"
    ):
        restore(workdir, like=with_average(some_state(0)))
    assert not (workdir / "unreadable").exists()
    assert restore(workdir)[0] == 3


def with_average(state):
    average = {"params": state.params, "batch_stats": state.batch_stats}
    return state.replace(ema=jax.tree.map(lambda leaf: leaf + 1, average))


def test_an_average_is_restored_with_the_state_and_in_place_of_the_weights_without(tmp_path):
    saved, state = checkpoints.Checkpoints(tmp_path), with_average(some_state(1))
    saved.save(1, state, None)
    saved.wait()
    like = some_state(0)
    with pytest.raises(ValueError, match="step 1 has an average of the weights, .* wants none"):
        saved.restore_latest(like)
    jax.tree.map(np.testing.assert_array_equal, saved.restore_latest(with_average(like)), state)
    for raw, weights in ((False, state.ema["params"]), (True, state.params)):
        saved.raw = raw
        found = saved.restore("latest", like.replace(opt_state={}))
        jax.tree.map(np.testing.assert_array_equal, found.params, weights)
        assert found.ema is None
    saved.close()


def test_a_checkpoint_of_before_there_were_digests_is_read_and_this_is_told(workdir, capfd):
    (folder(workdir, 3) / "digests.json").unlink()
    step, told = restore(workdir)
    assert step == 3
    assert "step 3 has no digests, it is not verified" in told


def test_what_a_killed_run_was_saving_is_removed(workdir):
    unfinished = folder(workdir, 4).with_name("00000004.orbax-checkpoint-tmp")
    unfinished.mkdir()
    assert restore(workdir)[0] == 3
    assert not unfinished.exists()


def test_what_is_no_checkpoint_stops_nothing(workdir):
    checkpoint = folder(workdir, 3)
    (checkpoint.parent / "00000004").write_text("a file")
    shutil.copytree(checkpoint, checkpoint.parent / "000000099")
    (checkpoint.parent / "notes").mkdir()
    assert restore(workdir) == (3, "")


def test_what_is_wrong_with_the_machine_is_no_damage(workdir, monkeypatch):
    def fail(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "_read", fail)
        with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
            restore(workdir)
    data = folder(workdir, 3) / "default" / "manifest.ocdbt"
    with monkeypatch.context() as patched:
        refused = PermissionError(13, "Permission denied", str(data))
        patched.setattr(checkpoints, "_files", lambda *_: (_ for _ in ()).throw(refused))
        with pytest.raises(PermissionError):
            restore(workdir)
    assert restore(workdir) == (3, "")


def test_the_best_checkpoint_is_not_lost_to_metrics_that_were_changed(workdir, capfd):
    (folder(workdir, 1) / "metrics" / "metrics").write_text('{"top1": 0.99}')
    saved = checkpoints.Checkpoints(workdir, keep=1)
    saved.save(4, some_state(4), {"top1": 0.1})
    saved.wait()
    assert saved.steps() == [1, 2, 4]  # the first because nobody knows how good it is
    saved.save(5, some_state(5), {"top1": 0.2})
    saved.wait()
    saved.close()
    assert capfd.readouterr().err.count("cannot read the metrics of the checkpoint of step 1") == 1


def test_best_of_none_that_was_evaluated_is_told(tmp_path, capfd):
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save(1, some_state(1), None)
    saved.wait()
    saved.close()
    assert evaluated_step(tmp_path, "best", capfd) == (
        1,
        "no checkpoint was evaluated: the latest is taken for the best\n",
    )


def test_what_is_saved_would_survive_a_power_loss_before_older_checkpoints_go(
    tmp_path, monkeypatch
):
    """ext4 may keep names for half a minute whose contents it has not written."""
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    synced, fsync, pruned = set(), os.fsync, []

    def note(descriptor):
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def prune(saved):
        kept = [tmp_path / "metrics.jsonl", tmp_path / "checkpoints", folder(tmp_path, 1)]
        kept += folder(tmp_path, 1).glob("*/**/*")
        kept += folder(tmp_path, 1).glob("digests.json")
        pruned.append([path.name for path in kept if path.stat().st_ino not in synced])

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(checkpoints.Checkpoints, "_prune", prune)
    save(tmp_path, {1: 0.5})
    assert pruned == [[]]


@pytest.mark.parametrize("whose", [(checkpoints, "_files"), (tensorstore, "open")])
def test_an_error_of_a_save_in_the_background_is_raised_and_not_logged(
    whose, tmp_path, monkeypatch, caplog
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*whose, full)
    saved = checkpoints.Checkpoints(tmp_path)
    saved.save(1, some_state(1), None)
    with pytest.raises(OSError, match="No space left on device"):
        saved.wait()
    saved.close()
    assert not caplog.records
    assert saved.steps() == []


def test_a_checkpoint_that_another_process_cannot_read_is_damaged_for_all(tmp_path, monkeypatch):
    saved = checkpoints.Checkpoints(tmp_path)
    for step in (1, 2):
        saved.save(step, some_state(step), None)
    saved.wait()
    others = iter([[False, True], [False, False]])  # of the newest, of the one before
    monkeypatch.setattr(
        checkpoints.multihost_utils, "process_allgather", lambda mine: np.array(next(others)) | mine
    )
    assert int(saved.restore("latest", some_state(0)).step) == 1
    saved.close()
