"""PyTorch's files are read without PyTorch, and nothing in them is run.

The files are written here by hand.
"""

import argparse
import collections
import datetime
import decimal
import fractions
import io
import json
import os
import pathlib
import pickle
import random
import shlex
import struct
import subprocess
import sys
import uuid
import zipfile
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy
from conftest import command

import data
from models.torch import files as torch_files
from training import metrics
from training.command import explain

KINDS = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
MAGIC = 0x1950A86A20F9469CFC6C


class Global:
    """A function or class that need not exist where the file is written."""

    def __init__(self, module, name):
        self.line = f"{module}\n{name}\n"


class Call(NamedTuple):
    function: Global
    arguments: tuple


class Storage:
    def __init__(self, array, kind=None, size=None):
        self.kind = kind or KINDS[array.dtype.name]
        self.bytes = array.tobytes()
        self.elements = array.size
        self.size = array.size if size is None else size  # as the pickle says


@pytest.fixture(autouse=True)
def python_pickles_as_ever():
    """The library `datasets`, where another test has imported it, brings dill, which changes `pickle._Pickler`."""
    if "dill" in sys.modules:
        sys.modules["dill"].extend(use_dill=False)


class Pickler(pickle._Pickler):
    """Writes globals unseen and storages beside the pickle, as PyTorch does."""

    def __init__(self, file, form, protocol):
        super().__init__(file, protocol)
        self.storages, self.end = [], (None,) if form == "stream" else ()

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        key = str(self.storages.index(obj))
        return ("storage", Global("torch", obj.kind), key, "cpu", obj.size, *self.end)

    def save(self, obj, **options):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + obj.line.encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, **options)


def write(path, obj, form, byteorder="little", protocol=2):
    content = io.BytesIO()
    pickler = Pickler(content, form, protocol)
    pickler.dump(obj)
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("name/data.pkl", content.getvalue())
            archive.writestr("name/byteorder", byteorder)
            for key, storage in enumerate(pickler.storages):
                archive.writestr(f"name/data/{key}", storage.bytes)
        return
    system = {"protocol_version": 1001, "little_endian": byteorder == "little"}
    with open(path, "wb") as file:
        for value in (MAGIC, 1001, system):
            pickle.dump(value, file, 2)
        file.write(content.getvalue())
        pickle.dump([str(key) for key in range(len(pickler.storages))], file, 2)
        for storage in pickler.storages:
            file.write(struct.pack("<q", storage.elements) + storage.bytes)


def tensor(storage, offset, shape, strides):
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    hooks = collections.OrderedDict()
    return Call(rebuild, (storage, offset, shape, strides, False, hooks))


def whole(array, kind=None):
    strides = [stride // array.itemsize for stride in array.strides]
    return tensor(Storage(array, kind), 0, array.shape, tuple(strides))


def state_dict(**tensors):
    ordered = collections.OrderedDict(tensors)
    ordered._metadata = {"": {"version": 1}}
    return ordered


def refusal(path) -> str:
    """Returns the one line that the user gets."""
    with pytest.raises(ValueError) as caught:
        torch_files.read(path)
    line = explain(caught.value)
    assert str(path) in line and "\n" not in line
    return line


@pytest.fixture(params=["zip", "stream"])
def form(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.bin"


def test_tensors_keep_names_shapes_types_and_order(form, path):
    rng = np.random.default_rng(0)
    arrays = {f"module.{name}": rng.integers(0, 2, (2, 3)).astype(name) for name in KINDS}
    arrays |= {"scalar": np.array(7), "none": np.zeros((0, 4), np.float32)}
    write(path, state_dict(**{name: whole(array) for name, array in arrays.items()}), form)
    found = torch_files.read(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_bfloat16_becomes_float32(form, path):
    upper = np.array([0x3F80, 0xC040, 0x0001, 0x7F80], np.uint16)
    write(path, state_dict(a=whole(upper.reshape(2, 2), "BFloat16Storage")), form)
    found = torch_files.read(path)["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[1, -3], [2.0**-133, np.inf]], np.float32))


def test_views_have_their_offsets_and_strides_and_share_a_storage(form, path):
    base = np.arange(100, dtype=np.float32)
    storage = Storage(base)
    views = {
        "transposed": tensor(storage, 5, (3, 4), (1, 10)),
        "sparse": tensor(storage, 1, (2, 2), (49, 49)),
        "repeated": tensor(storage, 99, (6,), (0,)),
        "parameter": Call(
            Global("torch._utils", "_rebuild_parameter"),
            (tensor(storage, 0, (100,), (1,)), True, collections.OrderedDict()),
        ),
        "untyped": Call(
            Global("torch._utils", "_rebuild_tensor_v3"),
            (
                Storage(np.arange(8, dtype=np.uint8), "UntypedStorage"),
                *(1, (2,), (2,), False, collections.OrderedDict(), Global("torch", "uint16")),
            ),
        ),
        "old": Call(Global("torch._utils", "_rebuild_tensor"), (storage, 98, (2,), (1,))),
    }
    write(path, state_dict(**views), form)
    found = torch_files.read(path)
    np.testing.assert_array_equal(found["transposed"], base[5:45].reshape(4, 10)[:, :3].T)
    np.testing.assert_array_equal(found["sparse"], [[1, 50], [50, 99]])
    np.testing.assert_array_equal(found["repeated"], [99] * 6)
    np.testing.assert_array_equal(found["parameter"], base)
    np.testing.assert_array_equal(found["untyped"], np.array([0x0302, 0x0706], np.uint16))
    np.testing.assert_array_equal(found["old"], [98, 99])
    assert np.shares_memory(found["transposed"], found["parameter"])
    with pytest.raises(ValueError, match="read-only"):
        found["parameter"][0] = 1


@pytest.mark.parametrize("name", torch_files.NESTED)
def test_a_state_dict_is_found_in_a_checkpoint(form, path, name):
    array = np.ones(3, np.float32)
    momentum = {"state": {0: {"momentum_buffer": whole(array)}}, "param_groups": [{"lr": 0.1}]}
    checkpoint = {
        "epoch": 3,
        "arch": "resnet18",
        "args": argparse.Namespace(lr=0.1),
        "best": whole(array),
        "optimizer": momentum,
        name: state_dict(weight=whole(array)),
    }
    write(path, checkpoint, form)
    assert list(torch_files.read(path)) == ["weight"]


def test_the_state_dict_is_found_where_it_has_tensors(form, path):
    nested = {"model": {"depth": 20}, "net": {"state_dict": state_dict(weight=whole(np.ones(3)))}}
    write(path, nested, form)
    assert list(torch_files.read(path)) == ["weight"]


BYSTANDERS = [
    np.arange(3.0),
    np.array(["a", "b"]),
    np.float32(1),
    np.random.RandomState(0).get_state(),
    np.random.default_rng(0),
    random.getstate(),
    pathlib.Path("out"),
    pathlib.PurePosixPath("out"),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal("0.1"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=7),
    argparse.Namespace(output=pathlib.Path("out"), lr=1e-3),
    collections.defaultdict(list, a=[1]),
    collections.Counter("abc"),
    collections.deque([1, 2]),
    {(1, 2): {3}, None: frozenset([4]), 5.0: 6j, 2**200: b"bytes" * 1000, "long" * 1000: slice(3)},
    bytearray(b"abc"),
    Call(Global("torch", "Size"), ((1, 2),)),
    Call(Global("torch", "device"), ("cuda", 0)),
    Call(Global("torch.torch_version", "TorchVersion"), ("2.9",)),
    Call(Global("omegaconf.dictconfig", "DictConfig"), ()),
    Call(Global("pytorch_lightning.utilities.parsing", "AttributeDict"), ()),
]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_harmless_values_beside_the_weights_are_passed_over(form, path, protocol):
    weights = state_dict(weight=whole(np.ones(3)))
    for value in BYSTANDERS:
        write(path, {"value": value, "state_dict": weights}, form, protocol=protocol)
        assert list(torch_files.read(path)) == ["weight"], value


def test_nothing_of_a_file_is_built(form, path, monkeypatch):
    """Not even of a class that is known as harmless: it may be another one here."""
    monkeypatch.setattr(argparse, "Namespace", None)
    harmless = Call(Global("argparse", "Namespace"), ("unknown argument",))
    write(path, state_dict(a=whole(np.ones(3)), b=harmless), form)
    assert list(torch_files.read(path)) == ["a"]


def test_nothing_of_a_file_is_run(form, path, tmp_path):
    marker = tmp_path / "was run"
    bad = Call(Global("os", "system"), (f"touch '{marker}'",))
    write(path, state_dict(a=whole(np.ones(3)), b=bad), form)
    line = refusal(path)
    assert "os.system" in line and "Nothing of the file was run" in line

    class Plain:
        def __reduce__(self):
            return pathlib.Path.touch, (marker,)

    path.write_bytes(pickle.dumps(Plain()))
    assert "Path.touch" in refusal(path)  # Python 3.13 keeps it in pathlib._local
    path.write_bytes(b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.")
    assert "fromkeys" in refusal(path)
    assert not marker.exists()


def test_tied_tensors_are_one_array_and_small_expanded_ones_are_read(form, path):
    weight = Storage(np.arange(1000, dtype=np.uint8))
    names = {name: tensor(weight, 0, (1000,), (1,)) for name in ("a", "b", "c")}
    expanded = tensor(Storage(np.ones(1)), 0, (8, 4), (0, 0))
    write(path, state_dict(**names, ones=expanded), form)
    found = torch_files.read(path)
    assert found["a"] is found["b"] is found["c"]
    np.testing.assert_array_equal(found["ones"], np.ones((8, 4)))


@pytest.mark.parametrize("size, sizes", [(1, (2**40,)), (1, (2**40,) * 8), (100, (100, 100))])
def test_tensors_of_more_elements_than_the_file_has_bytes_are_refused(form, path, size, sizes):
    expanded = tensor(Storage(np.ones(size)), 0, sizes, (0,) * len(sizes))
    write(path, state_dict(a=whole(np.ones(3)), b=expanded), form)
    assert "save them contiguous" in refusal(path)


def test_a_storage_has_one_type(form, path):
    class Two(Storage):
        def __eq__(self, other):  # the same key
            return True

    two = {kind: tensor(Two(np.ones(6), kind), 0, (6,), (1,)) for kind in KINDS.values()}
    write(path, state_dict(**two), form)
    assert "a storage of an unknown kind" in refusal(path)


@pytest.mark.parametrize(
    "offset, shape, strides",
    [
        (0, (11,), (1,)),
        (5, (2, 3), (3, 1)),
        (10, (), ()),
        (0, (2, 2), (2**62, 2**62)),
        (0, (1,) * 9, (1,) * 9),
        (2**63, (0,), (1,)),
        (9, (5,), (-1,)),
        (-1, (5,), (1,)),
        (0, (-2, -2), (1, 1)),
        (0, (2, 2), (1,)),
        (0, (2.0,), (1,)),
        (0, (2,), ("1",)),
    ],
)
def test_a_view_that_leaves_its_storage_is_refused(form, path, offset, shape, strides):
    write(path, state_dict(a=tensor(Storage(np.zeros(10)), offset, shape, strides)), form)
    assert "damaged: a tensor" in refusal(path)


def test_a_storage_that_is_shorter_than_it_says_is_refused(form, path):
    write(path, state_dict(a=tensor(Storage(np.zeros(10), size=20), 0, (20,), (1,))), form)
    assert "cut short" in refusal(path)


def safetensors_file(path):
    """One tensor of float32 and one of bfloat16, which NumPy's side of the library cannot write."""
    tensors = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [8, 12]},
    }
    header = json.dumps(tensors).encode()
    a, b = np.array([1, 2], np.float32), np.array([0x3F80, 0xC040], np.uint16)
    path.write_bytes(struct.pack("<Q", len(header)) + header + a.tobytes() + b.tobytes())


def small_file(path, form):
    if form == "safetensors":
        return safetensors_file(path)
    return write(path, {"state_dict": state_dict(a=whole(np.ones(3)), b=whole(np.ones(2)))}, form)


@pytest.mark.parametrize("form", ["zip", "stream", "safetensors"])
def test_a_file_that_is_cut_short_anywhere_is_refused(form, path):
    small_file(path, form)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        refusal(path)


@pytest.mark.parametrize("form", ["zip", "stream", "safetensors"])
def test_a_damaged_file_is_refused_or_read_but_never_a_surprise(form, path):
    small_file(path, form)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1000):
        damaged = bytearray(good)
        damaged[rng.integers(len(good))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            torch_files.read(path)
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "neither"),
        (b"<!DOCTYPE html>", "neither"),
        (b"version https://git-lfs.github.com/spec/v1\n", "neither"),
        (pickle.dumps({"a": 1}), "not a PyTorch checkpoint"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "not a PyTorch checkpoint"),  # of 16 GiB for pickle
        (b"PK\x03\x04" + bytes(40), "damaged"),
    ],
)
def test_another_file_is_refused(path, content, message):
    path.write_bytes(content)
    assert message in refusal(path)


@pytest.mark.parametrize(
    "obj, message",
    [
        ([1, 2], "a list"),
        ({}, "a dictionary without names"),
        ({1: 2}, "a dictionary without names"),
        ({"epoch": 3, "weights": {}}, "only epoch, weights"),
        ({"state_dict": {"a": 1}}, "only a"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(form, path, obj, message):
    write(path, obj, form)
    assert message in refusal(path)


def test_other_writers_of_zip_files_are_refused(path):
    array = state_dict(a=whole(np.ones(3)))
    write(path, array, "zip", byteorder="big")
    assert "big-endian" in refusal(path)
    write(path, array, "stream", byteorder="big")
    assert "big-endian" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "")
    assert "zip archive" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("name/data.pkl", bytes(1000))
    assert "compressed" in refusal(path)


def test_safetensors_are_read(path):
    arrays = {name: np.arange(6).reshape(2, 3).astype(name) for name in KINDS}
    arrays["scalar"] = np.array(7)
    safetensors.numpy.save_file(arrays, path)
    found = torch_files.read(path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)

    safetensors_file(path)
    found = torch_files.read(path)
    np.testing.assert_array_equal(found["a"], [1, 2])
    np.testing.assert_array_equal(found["b"], [[1], [-3]])
    assert found["b"].dtype == np.float32


def test_a_header_with_one_name_twice_is_refused(path):
    safetensors_file(path)
    content = path.read_bytes().replace(b'"b"', b'"a"')
    path.write_bytes(content)
    assert "two entries of one name" in refusal(path)


def test_messages_are_short_and_plain(form, path):
    odd = "\x1b[2J\n" + "k" * 900
    for obj in ({odd: 1}, {"a": Call(Global("os\x1b[2J", "x" * 10_000), ())}):
        write(path, obj, form)
        with pytest.raises(ValueError) as caught:
            torch_files.read(path)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 600
        assert r"\x1b[2J" in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
def test_no_hostile_file_hangs_crashes_swells_or_is_read_wrongly():
    done = subprocess.run(**command("tests/faults/weights.py", env={"OPENBLAS_NUM_THREADS": "1"}))
    last = done.stdout.splitlines()[-1]
    assert done.returncode >= 0 and done.stderr == "", (last, done.stderr)
    said = [line for line in done.stdout.splitlines() if '["re' not in line]
    assert not said, said[:5]
    assert done.stdout.count('["refused') > 600 and done.stdout.count('["read') > 100


def test_a_pipe_is_refused_and_not_waited_for(path):
    os.mkfifo(path)
    assert "is no file" in refusal(path)


def test_a_file_that_is_not_there_is_named(path):
    with pytest.raises(FileNotFoundError, match=str(path)):
        torch_files.read(path)


IMPORT = """
import runpy, sys
import jax
import models

def load_torch(name, tensors):  # as if a library had published the small network of the digits
    fields = {"num_classes": 10, "depth": 8, "layout": "cifar", "shortcut": "B", "zero_init_last": True}
    module = models.create("resnet", **fields)
    variables = module.init(jax.random.key(1), jax.numpy.zeros((1, 8, 8, 1)))
    variables["params"]["fc"]["bias"] = tensors["bias"]
    return module, variables

models.load_torch = load_torch
sys.argv = ["scripts/import_torch.py", *sys.argv[1:]]
runpy.run_path("scripts/import_torch.py", run_name="__main__")
"""


@pytest.mark.slow
def test_an_imported_checkpoint_is_evaluated_by_the_command_that_is_printed(path, tmp_path, digits):
    write(path, state_dict(bias=whole(np.eye(10, dtype=np.float32)[3] * 1000)), "zip")
    workdir = tmp_path / "run of others"
    run = ["-c", IMPORT, "--model=library/net", f"--weights={path}", f"--workdir={workdir}"]
    done = subprocess.run(**command(*run))
    assert done.returncode == 0, done.stderr
    python, *evaluate = shlex.split(done.stdout.splitlines()[-1])
    assert [python, *evaluate] == ["python", "eval.py", f"--workdir={workdir}"]
    noted = metrics.newest_header(metrics.read_lines(workdir))["config"]
    assert noted["input"]["source"] == "digits"
    assert (noted["model"]["shortcut"], noted["model"]["zero_init_last"]) == ("B", True)

    result = subprocess.run(**command(*evaluate, devices=2))
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    threes = (data.open_source(digits.input, train=False).labels == 3).mean()
    assert figures["step"] == 0 and figures["images"] == 360
    assert figures["top1"] == pytest.approx(threes, abs=1e-6)  # the bias answers 3 to each

    other = subprocess.run(**command(*evaluate, "--config.model.shortcut=A"))
    assert other.returncode == 1 and "of another network" in other.stderr
    again = subprocess.run(**command(*run))
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1].endswith("choose another --workdir")
