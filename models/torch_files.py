"""Reads the tensors of PyTorch checkpoints and of .safetensors files, without PyTorch.

A PyTorch checkpoint is a pickle, and a pickle can run any program. Here an unpickler reads it that
knows the few names that tensors need and refuses every other one: nothing of the file is run. Its
tensors are views (storage, offset, shape, strides) of flat storages that lie beside the pickle:

  zip, since PyTorch 1.6:  NAME/data.pkl, and NAME/data/KEY for each storage.
  stream, before:          pickles of a magic number, a version, the system, the object and the keys;
                           then each storage: its number of elements as int64, and the elements.
"""

import io
import os
import pickle
import pickletools
import re
import reprlib
import struct
import zipfile
from typing import NamedTuple

import numpy as np
import safetensors

NESTED = ("state_dict", "model", "model_state_dict", "net", "state_dict_ema")

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
_DTYPES = {*_STORAGES.values(), "uint16", "uint32", "uint64"}
# What training scripts keep beside the weights. It is read as nothing, but does not spoil the file.
_IGNORED = {
    "argparse.Namespace",
    "builtins.dict",
    "builtins.set",
    "collections.Counter",
    "collections.defaultdict",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "torch.Size",
    "torch.device",
}


def read(path) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name, for example "layer1.0.conv1.weight".

    The content tells the format: one of PyTorch's two, or safetensors. The state dict is the whole
    file, or lies in it under one of `NESTED`; whatever else is there is left out.

    Args:
      path: of the file, whatever its extension.

    Returns:
      Read-only arrays of the file's shapes and types, but float32 for bfloat16; those that share
      memory in PyTorch share it here.

    Raises:
      OSError: the file is not there, or cannot be opened.
      ValueError: it is no checkpoint, is damaged, or asks for more than tensors need.
    """
    with open(path, "rb") as file:
        try:
            start = file.read(9)
            file.seek(0)
            if start.startswith(b"PK\x03\x04"):
                return _state_dict(*_read_zip(file))
            if start[8:] == b"{":
                return _read_safetensors(file)
            if start.startswith(b"\x80"):
                return _state_dict(*_read_stream(file))
            raise _UnreadableError("is neither a PyTorch checkpoint nor a safetensors file")
        except _UnreadableError as error:
            raise ValueError(f"{path} {error}") from error
        except Exception as error:  # whatever damage makes pickle, zipfile or safetensors raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(f"{path} is damaged or cut short: {reason}") from error


class _UnreadableError(Exception):
    """What is wrong with a file; its name comes before."""


class _Storage(NamedTuple):
    """A flat array of the file. Like `_Tensor` a tuple, which no pickle can change afterwards."""

    key: str
    dtype: str
    size: int  # in elements

    @property
    def itemsize(self) -> int:
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int  # this and the strides in elements
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Dict(dict):
    """A dictionary without attributes: those that a pickle brings are dropped."""

    def __setstate__(self, _):
        pass


class _Ignored:
    """Stands for a value of `_IGNORED`, and takes whatever is put into it."""

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, _):
        pass

    def __setitem__(self, _, __):
        pass


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries, lists, numbers, strings and `_Tensor`s, and nothing else."""

    def __init__(self, file):
        super().__init__(file)
        self.file = file
        self.storages = {}

    def load(self):
        """Looks at each instruction first: of a damaged file, five bytes can claim gigabytes."""
        start = self.file.tell()
        for i, (code, argument, _) in enumerate(pickletools.genops(self.file)):
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > i:
                raise _UnreadableError("is damaged: its pickle numbers more values than it has")
        self.file.seek(start)
        return super().load()

    def find_class(self, module, name):
        full = f"{module}.{name}".replace("__builtin__.", "builtins.")  # Python 2's name
        prefix, _, last = full.rpartition(".")
        if prefix in ("torch", "torch.storage", "torch.cuda") and last in _STORAGES:
            return _STORAGES[last]
        if prefix == "torch" and last in _DTYPES:
            return last
        if full in _IGNORED:
            return type("Ignored", (_Ignored,), {})  # a new one: the pickle may set its attributes
        known = {
            "collections.OrderedDict": self.dictionary,
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor_v3": self.tensor_of_dtype,
            "torch._utils._rebuild_parameter": self.parameter,
        }
        if full not in known:
            raise _UnreadableError(
                f"asks for {full}, which is none of the few names that tensors need. Nothing of the "
                "file was run. If it is a whole pickled model, save model.state_dict() instead"
            )
        return known[full]

    def persistent_load(self, pid):
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or any(view) or dtype not in _DTYPES or not _counts([size]):
            raise _UnreadableError(f"holds a storage of an unknown kind: {reprlib.repr(pid)}")
        return self.storages.setdefault(key, _Storage(key, dtype, size))

    def dictionary(self, *items):
        return _Dict(*items)

    def parameter(self, tensor, *_):
        return tensor

    def tensor_of_dtype(self, storage, offset, shape, strides, _, __, dtype, *___):
        if dtype not in _DTYPES:
            raise _UnreadableError(f"holds a tensor of an unknown type: {reprlib.repr(dtype)}")
        other = storage._replace(dtype=dtype)
        other = other._replace(size=storage.size * storage.itemsize // other.itemsize)
        return self.tensor(other, offset, shape, strides)

    def tensor(self, storage, offset, shape, strides, *_):
        tensor = _Tensor(storage, offset, tuple(shape), tuple(strides))
        fits = isinstance(storage, _Storage) and len(tensor.shape) == len(tensor.strides)
        if not fits or not _counts([offset, *tensor.shape, *tensor.strides]):
            raise _UnreadableError(
                f"is damaged: a tensor is described by {reprlib.repr(tuple(tensor))}"
            )
        last = offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        if 0 not in tensor.shape and last >= storage.size:
            raise _UnreadableError(
                f"is damaged: a tensor of shape {tensor.shape}, strides {tensor.strides} and offset "
                f"{offset} reaches beyond its storage of {storage.size} elements"
            )
        return tensor


def _counts(values) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _read_zip(file):
    """Returns the object, and a function from a storage's key to its bytes."""
    archive = zipfile.ZipFile(file)
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _UnreadableError("is a zip archive, but not one of PyTorch's")
    folder = pickles[0].removesuffix("data.pkl")

    def record(name: str) -> bytes:
        if archive.getinfo(folder + name).compress_type != zipfile.ZIP_STORED:
            raise _UnreadableError(f"holds {folder}{name} compressed, which PyTorch never does")
        return archive.read(folder + name)

    if folder + "byteorder" in archive.namelist() and record("byteorder") != b"little":
        raise _UnreadableError("was written by a big-endian machine: save it again on another")
    return _Unpickler(io.BytesIO(record("data.pkl"))).load(), lambda key: record(f"data/{key}")


def _read_stream(file):
    """Returns the object, and a function from a storage's key to its bytes."""
    if _Unpickler(file).load() != _MAGIC:
        raise _UnreadableError("is a pickle, but not a PyTorch checkpoint")
    _Unpickler(file).load()  # the version; it has always been 1001
    if not _Unpickler(file).load()["little_endian"]:
        raise _UnreadableError("was written by a big-endian machine: save it again on another")
    unpickler = _Unpickler(file)
    content = unpickler.load()
    keys = _Unpickler(file).load()
    size = os.fstat(file.fileno()).st_size
    storages = {}
    for key in keys:
        (elements,) = struct.unpack("<q", file.read(8))
        length = elements * unpickler.storages[key].itemsize
        if not 0 <= length <= size - file.tell():
            raise _UnreadableError(f"is cut short: a storage of {length:,} bytes is not there")
        storages[key] = file.read(length)
    return content, storages.__getitem__


def _read_safetensors(file) -> dict[str, np.ndarray]:
    arrays = {}
    for name, tensor in safetensors.deserialize(file.read()):
        kind, bits = re.fullmatch(r"(\D+)(\d*)", tensor["dtype"]).groups()  # as in F32 and BOOL
        dtype = {"BF": "bfloat", "F": "float", "I": "int", "U": "uint"}.get(
            kind, kind.lower()
        ) + bits
        if dtype not in _DTYPES:
            raise _UnreadableError(f"holds {name} as {tensor['dtype']}: no such type is supported")
        arrays[name] = _array(bytes(tensor["data"]), dtype).reshape(tensor["shape"])
    return arrays


def _state_dict(content, read_storage) -> dict[str, np.ndarray]:
    """Finds the state dict in what a pickle held, and makes its tensors NumPy arrays."""
    if isinstance(content, dict):
        for name in NESTED:
            if isinstance(content.get(name), dict):
                content = content[name]
                break
    tensors = {}
    if isinstance(content, dict):
        tensors = {k: v for k, v in content.items() if isinstance(k, str) and type(v) is _Tensor}
    if not tensors:
        held = f"a {type(content).__name__.strip('_').lower()}"
        if isinstance(content, dict):
            held = f"only {', '.join(map(str, list(content)[:8])) or 'an empty dictionary'}"
        raise _UnreadableError(f"holds no state dict of tensors but {held}")

    flat = {}  # each storage once, so that what was shared stays shared
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        if 0 in shape:
            arrays[name] = _array(b"", storage.dtype).reshape(shape)
            continue
        if storage not in flat:
            flat[storage] = _array(read_storage(storage.key), storage.dtype)
        if len(flat[storage]) < storage.size:  # than the bounds that were checked
            raise _UnreadableError(f"is cut short: the storage of {name} lacks elements")
        arrays[name] = np.lib.stride_tricks.as_strided(
            flat[storage][offset:],
            shape,
            [stride * flat[storage].itemsize for stride in strides],
            writeable=False,
        )
    return arrays


def _array(data: bytes, dtype: str) -> np.ndarray:
    """Returns a flat, read-only array; bfloat16 is the upper half of float32."""
    if dtype == "bfloat16":
        wide = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        data, dtype = wide.tobytes(), "float32"
    return np.frombuffer(data, dtype)
