"""A user's mistake gets one clear line with the remedy, and loses nothing."""

import collections
import io
import json
import re
import shutil
import signal
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import command
from PIL import Image
from tensorboardX.proto import event_pb2

import configs
import train
from training import checkpoints, files, metrics, tensorboard
from training.command import StopSignal, explain, parse


def photographs(folder, split, number=4, classes=("cat", "dog")):
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / split / name).mkdir(parents=True)
        for i in range(number):
            pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / name / f"{i}.jpg")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--config=configs/nothing.py"],
            "there is no config configs/nothing.py.*digits.*resnet50",
        ),
        (["--config.model.dpeth=20"], "dpeth.*depth"),
        (["--config.batch_size=many"], "batch_size.*many"),
        (["--confg=configs/digits.py"], "no flag --confg .did you mean --config"),
        (["--config=configs/resnet50.py"], "python scripts/prepare_data.py imagenet2012"),
        (["--config=configs/small.py:vgg17"], "small.py:vgg17: choose one of alexnet.*vgg_bn"),
        (["--workdir=/proc/run"], "--workdir=/proc/run"),
    ],
)
def test_a_command_answers_a_mistake_with_one_line(arguments, message, tmp_path):
    if not any(a.startswith("--workdir") for a in arguments):
        arguments = [*arguments, f"--workdir={tmp_path}"]
    done = subprocess.run(**command("train.py", *arguments, env={"TFDS_DATA_DIR": str(tmp_path)}))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(message, last), last


def test_predict_without_a_run_is_answered_with_an_example_and_help_has_no_false_default():
    done = subprocess.run(**command("scripts/predict.py", "photo.jpg"))
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: --workdir is missing: .* --workdir=runs/mine photo.jpg\n", done.stderr
    )
    done = subprocess.run(**command("scripts/predict.py", "--workdr=runs/mine", "photo.jpg"))
    assert "there is no flag --workdr (did you mean --workdir?)" in done.stderr
    done = subprocess.run(**command("scripts/predict.py", "--help"))
    assert done.returncode == 0
    assert "Folder or bucket of the run.\n" in done.stdout


@pytest.mark.filterwarnings("ignore:the load_module")  # in ml_collections
@pytest.mark.parametrize(
    "argument, message",
    [
        ("--config.lr=0.1", r"no config field --config.lr; --config has .*batch_size.*optimizer"),
        ("--config.momentum=1", r"did you mean --config.optimizer.momentum\?"),
        ("--config.optimizer.learning_rat=1", r"did you mean --config.optimizer.learning_rate\?"),
        ("--config.model=resnet50", r"--config.model is a section with the fields .*depth"),
        ("--config.seed.x=1", "--config.seed is a number or text, no section"),
        ("--init=x", r"no flag --init: fields of the config look like --config.init=VALUE"),
    ],
)
def test_a_field_or_flag_that_there_is_not_is_told_with_those_that_may_be_meant(
    argument, message, monkeypatch
):
    argv = ["train.py", f"--config={configs.DEFAULT}", argument]
    monkeypatch.setattr("sys.argv", argv)  # where ml_collections looks for fields
    with pytest.raises(ValueError, match=message) as raised:
        parse(argv, configs)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("model.name", "resnot", "available: .*resnet"),
        ("model.num_classes", 7, "the data have 10 classes.*num_classes=10"),
        ("model.dtype", "float16", "model.dtype float16 does not train.*: choose bfloat16"),
        ("optimizer.name", "sdg", "sgd, rmsprop, adamw, lars, lamb, lion, muon"),
        ("optimizer.schedule", "cosign", "cosine"),
        ("batch_size", 100, "batch_size 100 does not divide by 8 devices: choose 96 or 104"),
        (
            "accumulate_steps",
            3,
            "accumulate_steps 3 does not divide the 8 images .*: choose 1, 2, 4, 8",
        ),
        (
            "input.source",
            "folders:x",
            "tfds:NAME, folder:PATH, tar:PATTERN, hf:NAME, digits or synthetic",
        ),
        ("input.train_split", "training", "train and test"),
        ("input.crop", "middle", "random_resized"),
        ("input.image_size", 16, "8 pixels a side"),
        ("loss", "focal", "loss 'focal': choose one of softmax, bce"),
        ("class_weights", (1.0,) * 9, "class_weights has 9 numbers, and there are 10 classes"),
        ("label_smoothing", 1.5, "label_smoothing 1.5: let it be at least 0 and below 1"),
        ("optimizer.momentum", float("nan"), "optimizer.momentum nan: let it be at least 0"),
        ("seed", 20251231235959, "seed 20251231235959: let it be .* at most 2,147,483,647"),
        ("input.scales", (480, 256), "the smallest and the largest side"),
        ("input.std", (0.0,), "input.std 0.0: let it be above 0"),
    ],
)
def test_a_wrong_value_is_answered_with_the_right_ones(field, value, message, digits, tmp_path):
    section, _, name = field.rpartition(".")
    target = digits[section] if section else digits
    target[name] = value
    with pytest.raises(ValueError, match=message) as raised:
        train.train(digits, tmp_path)
    assert explain(raised.value) == " ".join(str(raised.value).split())


def test_a_folder_without_images_says_where_they_belong(digits, tmp_path):
    digits.input.source = f"folder:{tmp_path}"
    with pytest.raises(FileNotFoundError, match="train/CLASS/.*jpg"):
        train.train(digits, tmp_path / "run")


def test_a_workdir_of_another_config_is_refused_and_the_difference_named(digits, trained):
    before = (trained / "metrics.jsonl").read_text()
    digits.optimizer.learning_rate = 0.5
    with pytest.raises(ValueError, match=r"optimizer.learning_rate was 0.2 and is 0.5"):
        train.train(digits, trained)
    assert (trained / "metrics.jsonl").read_text() == before


def test_a_field_of_the_optimizer_changes_where_the_user_says_so(digits, trained, capfd):
    digits.total_steps = 8
    digits.optimizer.learning_rate = 0.1
    with pytest.raises(ValueError, match="was 0.2 and is 0.1.*--allow_changes"):
        train.train(digits, trained)
    train.train(digits, trained, allow_changes=True)
    assert "optimizer.learning_rate was 0.2 and is 0.1" in capfd.readouterr().out
    noted = metrics.newest_header(metrics.read_lines(trained))
    assert "optimizer.learning_rate was 0.2 and is 0.1" in noted["changes"]
    digits.model.dtype = "bfloat16"
    with pytest.raises(ValueError, match="model.dtype was 'float32' and is 'bfloat16'") as raised:
        train.train(digits, trained, allow_changes=True)
    assert "--allow_changes" not in str(raised.value)


def test_a_workdir_without_a_checkpoint_takes_any_config(digits, tmp_path):
    header = {"config": digits.to_dict() | {"seed": 7}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(header) + "\n")
    train.train(digits, tmp_path)
    assert metrics.read_lines(tmp_path)[0]["config"]["seed"] == 0


def test_two_runs_do_not_share_a_workdir(digits, trained):
    before = (trained / "metrics.jsonl").read_text()
    with files.lock(trained / "train.lock"):
        with pytest.raises(ValueError, match="another run is training in --workdir"):
            train.train(digits, trained)
    assert (trained / "metrics.jsonl").read_text() == before
    train.train(digits, trained)  # the lock ends with its run
    train.train(digits, trained)


def test_a_finished_run_may_go_on_longer_and_says_what_changed(digits, trained, capfd):
    digits.total_steps = 8
    digits.log_steps = 4
    train.train(digits, trained)
    output = capfd.readouterr().out
    assert "resumed at step 6 with changes" in output
    assert "total_steps was 6 and is 8" in output
    assert max(line.get("step", 0) for line in metrics.read_lines(trained)) == 8
    train.train(digits, trained)
    assert "with changes" not in capfd.readouterr().out


def test_a_broken_image_is_named_and_skipped_up_to_the_limit(digits, tmp_path, capfd):
    photographs(tmp_path / "pets", "train")
    photographs(tmp_path / "pets", "test")
    (tmp_path / "pets" / "train" / "cat" / "1.jpg").write_bytes(b"no image")
    (tmp_path / "pets" / "test" / "dog" / "2.jpg").write_bytes(b"\xff\xd8 cut off")
    digits.batch_size = 8
    digits.model.num_classes = 2
    digits.input.update(
        source=f"folder:{tmp_path / 'pets'}", mean=(0.5,) * 3, std=(0.2,) * 3, in_memory=False
    )
    result = train.train(digits, tmp_path / "run")
    assert result["images"] == 7
    errors = capfd.readouterr().err
    assert errors.count("cat/1.jpg") == 1
    assert "dog/2.jpg" in errors

    digits.input.max_broken_images = 0
    with pytest.raises(ValueError, match="1.jpg.*max_broken_images"):
        train.train(digits, tmp_path / "other")


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_good_checkpoint(digits, tmp_path):
    digits.total_steps = 40
    digits.optimizer.warmup_epochs = 0.2  # the first steps are fine
    digits.optimizer.learning_rate = 1e30
    with pytest.raises(FloatingPointError, match=r"step \d+, learning rate .*e\+29.*checkpoint"):
        train.train(digits, tmp_path)
    saved = checkpoints.Checkpoints(tmp_path, read_only=True)
    assert saved.latest_step() is None  # steps 3 and on were bad already
    saved.close()


@pytest.mark.parametrize("every", [1, 100])
def test_the_advice_after_a_divergence_can_be_followed(every, digits, tmp_path):
    good = digits.copy_and_resolve_references()
    good.checkpoint_steps = digits.checkpoint_steps = every
    digits.optimizer.learning_rate = 1e15
    digits.optimizer.warmup_epochs = 0.5
    digits.optimizer.warmup_factor = 1e-16
    with pytest.raises(FloatingPointError, match="try the same command with a lower"):
        train.train(digits, tmp_path)
    if every == 1:  # the last checkpoint is of weights that are finite, and of no use
        assert list((tmp_path / "diverged").iterdir())
    good.optimizer.warmup_epochs = 0.5
    assert train.train(good, tmp_path)["images"] == 360


def test_an_evaluation_that_is_not_finite_stops_the_run_before_it_saves(
    digits, trained, monkeypatch
):
    digits.total_steps = 9
    figures = {"loss": float("nan"), "top1": 0.5, "top5": 0.5, "images": 360}
    monkeypatch.setattr(train.evaluation, "evaluate", lambda *_: figures)
    with pytest.raises(FloatingPointError, match="the loss of the evaluation is nan at step 9"):
        train.train(digits, trained)
    saved = checkpoints.Checkpoints(trained, read_only=True)
    assert saved.steps() == [3, 6] and saved.best_step() == 6
    saved.close()
    assert "NaN" not in (trained / "metrics.jsonl").read_text()


def test_a_run_whose_classes_were_renamed_does_not_go_on(digits, tmp_path, capfd):
    root = tmp_path / "pets"
    for split in ("train", "test"):
        photographs(root, split)
    digits.batch_size, digits.model.num_classes = 8, 2
    digits.input.update(source=f"folder:{root}", mean=(0.5,) * 3, std=(0.2,) * 3, in_memory=False)
    train.train(digits, tmp_path / "run")
    assert metrics.read_lines(tmp_path / "run")[0]["classes"] == ["cat", "dog"]
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / "mouse")
    digits.total_steps = 8
    with pytest.raises(ValueError, match="other classes: cat gone, mouse new"):
        train.train(digits, tmp_path / "run")
    for split in ("train", "test"):
        (root / split / "mouse").rename(root / split / "cat")
    (root / "train" / "cat" / "0.jpg").unlink()
    train.train(digits, tmp_path / "run")
    assert "the training images were 8 and are 7" in capfd.readouterr().out


def test_weights_that_are_not_finite_are_never_saved(digits, trained, monkeypatch):
    digits.total_steps = 9
    monkeypatch.setattr(train.steps, "all_finite", lambda state: jnp.array(False))
    with pytest.raises(
        FloatingPointError, match="at step 9.*last good checkpoint is that of step 6"
    ):
        train.train(digits, trained)
    saved = checkpoints.Checkpoints(trained, read_only=True)
    assert saved.latest_step() == 6
    saved.close()


@pytest.mark.parametrize("what", ["state", "metrics"])
def test_an_unreadable_checkpoint_falls_back_to_the_one_before(what, digits, trained, capfd):
    before = losses(trained)
    newest = trained / "checkpoints" / f"{6:08d}"
    for file in newest.rglob("*"):
        if file.is_file() and (file.parent.name == "metrics") == (what == "metrics"):
            file.write_bytes(b"damaged")
    train.train(digits, trained)
    errors = capfd.readouterr().err
    assert "the checkpoint of step 6 is now in" in errors
    assert list((trained / "unreadable").iterdir())
    assert losses(trained) == before


def losses(workdir):
    lines = metrics.read_lines(workdir)
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


@pytest.mark.slow
def test_an_error_of_a_save_surfaces(tmp_path):
    # In a process of its own: what Orbax had begun is left behind, and warns when it is collected.
    program = """
import orbax.checkpoint as ocp
import configs
import configs
import train
from training import command

def fail(*arguments, **keywords):
    raise OSError(28, "No space left on device")

ocp.StandardCheckpointHandler.async_save = fail
command.run(train.main, configs)
"""
    flags = ("--config.total_steps=6", "--config.eval_steps=6", "--config.checkpoint_steps=3")
    done = subprocess.run(**command("-c", program, f"--workdir={tmp_path}", *flags))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the disk is full: ")


@pytest.mark.parametrize(
    "code, reason, told",
    [
        (28, "RESOURCE_EXHAUSTED: No space left on device", "the disk is full: .*: it resumes"),
        (30, "PERMISSION_DENIED: Read-only file system", "the disk is read-only: .*resumes"),
        (122, "RESOURCE_EXHAUSTED: Disk quota exceeded", "RESOURCE_EXHAUSTED: Disk quota exceeded"),
        (5, "UNKNOWN: Input/output error", "UNKNOWN: Input/output error"),
    ],
)
def test_what_tensorstore_says_of_a_disk_is_for_the_user(code, reason, told):
    error = ValueError(f"{reason} [os_error_code='{code}'] [tensorstore_spec='{{}}']")
    assert re.fullmatch(told, explain(error))
    assert explain(ValueError("of a library")) is None


def test_a_full_disk_is_told_before_a_save_and_the_run_goes_on_later(digits, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        room = iter([2**30, 2**10])
        usage = collections.namedtuple("usage", "free")
        patched.setattr(shutil, "disk_usage", lambda folder: usage(next(room)))
        with pytest.raises(OSError, match=r"a checkpoint needs \d MB, 0 MB are free") as raised:
            train.train(digits, tmp_path)
        assert explain(raised.value).startswith("the disk is full")
    assert train.train(digits, tmp_path)["images"] == 360
    steps = [line["step"] for line in metrics.read_lines(tmp_path) if "resumed" in line]
    assert steps == [3]


def test_a_bug_keeps_its_traceback():
    def bug():
        return jnp.ones(3) + jnp.ones(4)

    with pytest.raises(Exception) as raised:
        bug()
    assert explain(raised.value) is None


def test_a_device_that_is_not_there_is_named(tmp_path):
    done = subprocess.run(
        **command("train.py", f"--workdir={tmp_path}", env={"JAX_PLATFORMS": "cuda"})
    )
    assert done.returncode == 1
    assert "JAX_PLATFORMS=cuda" in done.stderr.splitlines()[-1]


def test_ctrl_c_while_a_command_starts_is_answered_in_one_line():
    program = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started by
from training import start
start.early()
import time
print("ready", flush=True)
time.sleep(60)
"""
    with subprocess.Popen(**command("-c", program)) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors.strip()) == (130, "stopped by Ctrl-C")


def test_after_training_ctrl_c_does_what_it_did_before():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        assert signal.getsignal(signal.SIGINT) != before[0]
        signal.raise_signal(signal.SIGTERM)
        assert stop.received(1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_disk_full_for_tensorboard_alone_is_told_and_stops_nothing(tmp_path, capfd, monkeypatch):
    writer = metrics.Writer(tmp_path, [], {"config": {}}, 0)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboard.EventsWriter, "write_event", full)
    for step in range(1, 50):
        writer.write(step, {"train/loss": 1.0})
    writer.close()
    assert capfd.readouterr().err.count("no more events for TensorBoard") == 1
    assert len(metrics.read_lines(tmp_path)) == 50


def test_tensorboard_gets_the_figures_of_each_log(tmp_path):
    for first, last in ((1, 3), (3, 5)):  # stopped after step 2, and gone on from there
        (tmp_path / str(first)).mkdir()
        writer = metrics.Writer(tmp_path / str(first), [], {"config": {}}, first - 1)
        writer.picture(first - 1, "train/images", np.full((2, 3, 3), 7, np.uint8))
        for step in range(first, last):
            writer.write(step, {"train/loss": step / 2})
        writer.close()
        (file,) = (tmp_path / str(first) / "tensorboard").iterdir()
        _, start, picture, *events = [
            event_pb2.Event.FromString(record) for record in records(file.read_bytes())
        ]
        assert (start.session_log.status, start.step) == (event_pb2.SessionLog.START, first)
        seen = picture.summary.value[0]
        assert (picture.step, seen.tag) == (first - 1, "train/images")
        with Image.open(io.BytesIO(seen.image.encoded_image_string)) as opened:
            assert opened.size == (3, 2) and (np.asarray(opened) == 7).all()
        found = {event.step: event.summary.value[0] for event in events}
        assert {step: value.simple_value for step, value in found.items()} == {
            step: step / 2 for step in range(first, last)
        }
        assert {value.tag for value in found.values()} == {"train/loss"}


def records(content):
    """Yields the records of a TFRecord file: length, a checksum, data, a checksum."""
    while content:
        length = int.from_bytes(content[:8], "little")
        yield content[12 : 12 + length]
        content = content[16 + length :]
