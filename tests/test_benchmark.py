"""scripts/benchmark.py: its arithmetic, its mistakes, and one tiny network."""

import json
import os
import subprocess
import types

import pytest
from conftest import command

from benchmarks import costs, networks, report, rounds

pytestmark = pytest.mark.filterwarnings(
    "ignore:the load_module:DeprecationWarning"
)  # ml_collections
SCRIPT = "scripts/benchmark.py"


def test_a_network_may_bring_its_batch_and_image_size():
    assert networks.parse("akamaster/resnet20@128x32", 8, None) == ("akamaster/resnet20", 128, 32)
    assert networks.parse("configs/small.py:vgg", 8, None) == ("configs/small.py:vgg", 8, None)
    for wrong in ("vgg@", "vgg@8", "vgg@0x32", "vgg@8x32x3"):
        with pytest.raises(ValueError, match="NETWORK@BATCHxSIZE"):
            networks.parse(wrong, 8, None)


def test_a_network_is_a_config_or_one_of_pytorchs():
    config = networks.load("configs/small.py:resnet", 4, 24, "bfloat16")
    assert (config.batch_size, config.input.image_size) == (4, 24)
    assert (config.model.name, config.model.depth, config.model.dtype) == ("resnet", 20, "bfloat16")
    assert networks.twin(config) is None
    assert networks.twin(networks.load("configs/resnet50.py", 8, None, "float32")) == (
        "torchvision/resnet50"
    )
    for name in networks.TWINS:
        assert networks.twin(networks.load(name, 8, None, "float32")) == name
    for text in networks.DEFAULT:
        networks.load(*networks.parse(text, 8, None), "float32")


def test_a_switch_behind_the_name_is_turned_on():
    config = networks.load("configs/resnet50.py+scan+remat", 8, None, "float32")
    assert (config.model.scan, config.model.remat) == (True, True)
    assert networks.twin(config) == "torchvision/resnet50"  # the same network, run in another way
    assert networks.load("akamaster/resnet20+remat", 8, None, "float32").model.remat is True
    for wrong in ("depth", "num_classes"):
        with pytest.raises(ValueError, match=f"{wrong} is not a switch"):
            networks.load(f"akamaster/resnet20+{wrong}", 8, None, "float32")


@pytest.mark.parametrize("name", ["torchvision/resnet19", "configs/nothing.py", "vgg"])
def test_an_unknown_network_gets_one_line(name):
    with pytest.raises(ValueError, match="unknown network|there is no config") as caught:
        networks.load(name, 8, None, "float32")
    assert "\n" not in str(caught.value)


def test_compare_divides_medians_and_marks_what_is_slower():
    def found(name, *rates, batch=8):
        return {"network": name, "batch": batch, "size": 32, "ours": {"images_per_second": rates}}

    old = [found("a", 90, 100, 500), found("b", 100), found("c", 100, batch=4)]
    new = [found("a", 1, 200, 300), found("b", 94), found("c", 100)]
    assert rounds.compare(new, old) == [
        "a@8x32: new/old 2.00",
        "b@8x32: new/old 0.94  slower",
        "c@8x32: not in the old run",
    ]


def test_what_is_no_earlier_run_gets_one_line(tmp_path):
    file = tmp_path / "old.json"
    for text in ("{", "[]", '{"task": "train"}', '{"task": 1, "dtype": 1, "measured": 1}'):
        file.write_text(text)
        with pytest.raises(ValueError, match="is not what --json writes"):
            rounds.read(str(file), "train", "float32")
    file.write_text(json.dumps({"task": "infer", "dtype": "float32", "measured": []}))
    with pytest.raises(ValueError, match="measured infer in float32, not train in bfloat16"):
        rounds.read(str(file), "train", "bfloat16")
    with pytest.raises(ValueError, match="measured with --devices=1, not 4"):
        rounds.read(str(file), "infer", "float32", 4)


@pytest.mark.slow
def test_train_measures_a_network_and_compares_it(tmp_path):
    file = tmp_path / "new.json"
    network, flags = "configs/small.py:alexnet@2x32", ("--rounds=2", "--seconds=0.1")
    done = subprocess.run(**command(SCRIPT, "train", network, *flags, f"--json={file}"))
    assert done.returncode == 0, done.stderr
    head, row, *facts = done.stdout.splitlines()
    assert row.split()[:3] == ["configs/small.py:alexnet", "2", "32"]
    assert head.endswith("share of a matrix product") and row.endswith("%")
    assert {line.partition(":")[0] for line in facts} >= {"date", "machine", "versions", "device"}
    written = rounds.read(str(file), "train", "float32")
    assert len(written["measured"][0]["ours"]["images_per_second"]) == 2

    done = subprocess.run(**command(SCRIPT, "infer", network, f"--compare={file}"))
    assert done.returncode == 1
    assert done.stderr == f"benchmark.py: {file} measured train in float32, not infer in float32\n"


@pytest.mark.slow
def test_a_network_that_fails_gets_one_line():
    done = subprocess.run(**command(SCRIPT, "infer", "configs/alexnet.py@1x8", "--rounds=1"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "benchmark.py: configs/alexnet.py failed: " in done.stderr


@pytest.mark.slow
def test_the_second_start_finds_what_the_first_one_compiled(monkeypatch, capsys):
    kept = []

    def noted(*command):
        printed = report.output(*command)
        kept.append(set(os.listdir(command[-1])))
        return printed

    monkeypatch.setattr(costs, "output", noted)
    # What compiles in less than a second is kept, too.
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    network = "configs/digits.py@8x12"
    costs.measure_start(types.SimpleNamespace(networks=[network], rounds=1))
    empty, filled = (line.split() for line in capsys.readouterr().out.splitlines()[-2:])
    assert empty[:2] == [network, "empty"] and filled[:2] == [network, "filled"]
    assert all(float(seconds) >= 0 for seconds in empty[2:] + filled[2:])
    assert {name for name in kept[0] if name.endswith("-cache")}
    assert kept[1] == kept[0]


@pytest.mark.slow
def test_save_prints_a_row_for_each_network():
    network = "configs/digits.py@8x12"
    done = subprocess.run(**command(SCRIPT, "save", network, "--rounds=1", "--steps=1"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split()[0] == network


@pytest.mark.slow
def test_a_batch_is_shared_by_as_many_devices_as_there_are():
    network = "configs/digits.py@8x8"
    flags = ("--devices=2", "--rounds=1", "--seconds=0.1")
    done = subprocess.run(**command(SCRIPT, "train", network, *flags, devices=2))
    assert done.returncode == 0, done.stderr
    done = subprocess.run(**command(SCRIPT, "infer", network, *flags, devices=1))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("--devices=2: there are 1")
    odd = "configs/digits.py@9x8"
    done = subprocess.run(**command(SCRIPT, "infer", odd, *flags, devices=2))
    assert done.returncode == 1
    assert "batch_size 9 does not divide by 2 devices: choose 8 or 10" in done.stderr


@pytest.mark.parametrize("what", ["start", "save"])
def test_a_mistake_is_told_before_anything_is_measured(what):
    done = subprocess.run(**command(SCRIPT, what, "configs/digits.py@8x8", "configs/nothing.py"))
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("benchmark.py: there is no config configs/nothing.py")
