"""Reads the tensors of PyTorch checkpoints and of .safetensors files, without PyTorch.

A PyTorch checkpoint is a pickle, a program that may call any function. Here a small machine follows it
that knows the few names that tensors need: no object of the file is ever built, and nothing of it is
run. Its tensors are views (storage, offset, shape, strides) of flat storages beside the pickle:

  zip, since PyTorch 1.6:  NAME/data.pkl, and NAME/data/KEY for each storage.
  stream, before:          pickles of a magic number, a version, the system, the object and the keys;
                           then each storage: its number of elements as int64, and the elements.
"""

import io
import json
import math
import os
import pickletools
import re
import stat
import struct
import zipfile
from typing import NamedTuple

import numpy as np
import safetensors

NESTED = (  # where training scripts put the state dict; the first that is there is read
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params",
    "module", "state_dict_ema", "ema_state_dict", "model_ema", "model_ema_state_dict", "params_ema",
    "ema_model", "ema",
)  # fmt: skip

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}  # fmt: skip
_SAFETENSORS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
}  # fmt: skip
_NEVER_WRITTEN = ("PUT", "GET", "INST", "PERSID", "EXT1", "EXT2", "EXT4")  # by protocol 2 and later
_DTYPES = set(_SAFETENSORS.values())
# What training scripts keep beside the weights. It is read as nothing, but does not spoil the file.
_HARMLESS = re.compile(
    r"""builtins\.(bool|bytearray|bytes|complex|dict|float|frozenset|int|list|long|object|range|set)
    | builtins\.(slice|str|tuple|unicode|xrange) | (copyreg|copy_reg)\._reconstructor
    | _codecs\.encode | typing\.Any | types\.SimpleNamespace | argparse\.Namespace
    | array\.(array|_array_reconstructor) | collections\.(ChainMap|Counter|defaultdict|deque)
    | datetime\.(date|datetime|time|timedelta|timezone) | zoneinfo\.ZoneInfo(\._unpickle)?
    | decimal\.Decimal | fractions\.Fraction | uuid\.(SafeUUID|UUID)
    | pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path
    | numpy\.(ndarray|dtype|bool_?|bytes_|str_|(u?int|float|complex)\d+) | numpy\.dtypes\.\w+DType
    | numpy\._?core\.multiarray\.(_reconstruct|scalar) | numpy\._?core\.numeric\._frombuffer
    | numpy\.random\.(\w+\.)?(__\w+_ctor|__pyx_unpickle_\w+|MT19937|PCG64|PCG64DXSM|Philox|SFC64)
    | numpy\.random\.bit_generator\.SeedSequence
    | torch\.(Size|Tensor|device|strided|complex\d+|float8_\w+) | torch\.nn\.parameter\.Parameter
    | torch\.serialization\._get_layout | torch\.torch_version\.TorchVersion
    | (pytorch_)?lightning[\w.]*\.AttributeDict
    | (addict|box|easydict|ml_collections|munch|omegaconf|yacs)\.[\w.]+""",  # configurations
    re.VERBOSE,
)


def read(path) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name, for example "layer1.0.conv1.weight".

    The content tells the format: one of PyTorch's two, or safetensors. The state dict is the whole
    file, or lies in it under one of `NESTED`; whatever else is there is left out.

    Reading takes at most ten times the file's size and 100 MB of memory, whatever is in the file. All
    tensors together have no more elements than the file has bytes, so expanded ones, which repeat
    elements by a stride of 0, are kept while they are small. Tensors that are tied count once.

    Args:
      path: of the file, whatever its extension.

    Returns:
      Read-only arrays of the file's shapes and types, but float32 for bfloat16; those that share
      memory in PyTorch share it here, and those that are tied are the same array.

    Raises:
      OSError: the file is not there, or cannot be opened.
      ValueError: it is no checkpoint, is damaged, or asks for more than tensors need.
    """
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no weights file {path}: correct the path, or give none to have published weights fetched"
        ) from error
    if not stat.S_ISREG(kind):  # to open a pipe would wait for its writer
        raise ValueError(f"{path} is no file")
    with open(path, "rb") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            start = file.read(9)
            file.seek(0)
            if start.startswith(b"PK\x03\x04"):
                return _state_dict(*_read_zip(file, size), size)
            if start[8:] == b"{":
                return _read_safetensors(file, size)
            if start.startswith(b"\x80"):
                return _state_dict(*_read_stream(file, size), size)
            raise _UnreadableError("is neither a PyTorch checkpoint nor a safetensors file")
        except _UnreadableError as error:
            raise ValueError(f"{path} {error}") from error
        except Exception as error:  # whatever damage makes the libraries raise
            reason = short(" ".join(str(error)[:1000].split())) or type(error).__name__
            raise ValueError(f"{path} is damaged or cut short: {reason}") from error


def short(text: str) -> str:
    """Returns `text` for a message: cut, and with escapes for what a terminal would obey."""
    return repr(text if len(text) <= 200 else f"{text[:200]}...")[1:-1]


class _UnreadableError(Exception):
    """What is wrong with a file; its name comes before."""


class _Value:
    """Any value that tensors do not need."""


_VALUE = _Value()


class _Storage(NamedTuple):
    """A flat array of the file."""

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


class _Machine:
    """Follows the pickles of a file, and builds tuples, lists, dictionaries and `_Tensor`s.

    A value may hold itself, or a million others in each other. So none is hashed, compared, printed or
    followed into its depth, keys are text, and each instruction takes the same time and memory (to copy
    n values counts as n): to bound their number bounds the whole.
    """

    def __init__(self, size: int):
        self.left = 2**19 + size // 64  # instructions: some 100 bytes each. A tensor takes 35
        self.storages = {}

    def load(self, file):
        """Returns the value of the next pickle in `file`."""
        stack, marks, memo = [], [], {}

        def above_mark():
            start = marks.pop()
            values = stack[start:]
            del stack[start:]
            return values

        for opcode, argument, _ in pickletools.genops(file):
            self.spend(1)
            match opcode.name:
                case "PROTO" | "FRAME":
                    pass
                case "STOP":
                    return stack.pop()
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "MARK":
                    marks.append(len(stack))
                case "POP" | "BUILD":  # attributes are dropped
                    stack.pop()
                case "POP_MARK" | "ADDITEMS":  # sets stay empty
                    above_mark()
                case "NONE":
                    stack.append(None)
                case "NEWTRUE" | "NEWFALSE":
                    stack.append(opcode.name == "NEWTRUE")
                case "EMPTY_TUPLE":
                    stack.append(())
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    values = [stack.pop() for _ in range(int(opcode.name[-1]))]
                    stack.append(tuple(reversed(values)))
                case "TUPLE":
                    stack.append(tuple(above_mark()))
                case "EMPTY_LIST":
                    stack.append([])
                case "APPEND":
                    value = stack.pop()
                    _extend(stack[-1], [value])
                case "APPENDS":
                    values = above_mark()
                    _extend(stack[-1], values)
                case "EMPTY_DICT":
                    stack.append({})
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    _update(stack[-1], [key], [value])
                case "SETITEMS":
                    values = above_mark()
                    _update(stack[-1], values[::2], values[1::2])
                case "EMPTY_SET":
                    stack.append(_VALUE)
                case "FROZENSET":
                    above_mark()
                    stack.append(_VALUE)
                case "GLOBAL":
                    stack.append(self.named(*argument.split(" ", 1)))
                case "STACK_GLOBAL":
                    name, module = stack.pop(), stack.pop()
                    stack.append(self.named(module, name))
                case "REDUCE" | "NEWOBJ":
                    arguments, function = stack.pop(), stack.pop()
                    stack.append(self.call(function, arguments))
                case "BINPERSID":
                    stack.append(self.storage(stack.pop()))
                case name if argument is None or name in _NEVER_WRITTEN:
                    raise _UnreadableError(f"is damaged: its pickle asks for {name}")
                case _:  # a number, text or bytes; no long one is a name, a key or a count
                    long = isinstance(argument, str | bytes) and len(argument) > 1000
                    long = long or isinstance(argument, int) and argument.bit_length() > 128
                    stack.append(_VALUE if long else argument)

    def spend(self, count):
        self.left -= count
        if self.left < 0:
            raise _UnreadableError("holds a pickle of far more instructions than tensors need")

    def named(self, module, name):
        full = ".".join((module, name)).replace("__builtin__.", "builtins.")  # Python 2's name
        if module in ("torch", "torch.storage", "torch.cuda") and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and name in _DTYPES:
            return name
        known = {
            "collections.OrderedDict": self.dictionary,
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor_v3": self.tensor_of_dtype,
            "torch._utils._rebuild_parameter": self.parameter,
            "torch._utils._rebuild_parameter_with_state": self.parameter,
            "torch._tensor._rebuild_from_type_v2": self.tensor_of_type,
        }
        if full not in known and not _HARMLESS.fullmatch(full):
            raise _UnreadableError(
                f"asks for {short(full)}, which is none of the few names that tensors need. Nothing of "
                "the file was run. If it is a whole pickled model, save model.state_dict() instead"
            )
        return known.get(full, _VALUE)

    def call(self, function, arguments):
        self.spend(1)
        if function is _VALUE:
            return _VALUE
        if not callable(function) or type(arguments) is not tuple or len(arguments) > 16:
            raise _UnreadableError("is damaged: its pickle calls what is no function")
        return function(*arguments)

    def storage(self, pid):
        if type(pid) is tuple and 5 <= len(pid) <= 6:
            kind, dtype, key, _, size, *view = pid
            fits = kind == "storage" and not any(view) and type(key) is type(dtype) is str
            if fits and dtype in _DTYPES and _counts([size]):
                storage = _Storage(key, dtype, size)
                if self.storages.setdefault(key, storage) == storage:
                    return storage
        raise _UnreadableError("is damaged, or holds a storage of an unknown kind")

    def dictionary(self, pairs=()):
        self.spend(len(pairs))
        made = {}
        for key, value in pairs.items() if type(pairs) is dict else pairs:
            _update(made, [key], [value])
        return made

    def parameter(self, tensor, *_):
        return tensor

    def tensor_of_type(self, function, _, arguments, *__):
        return self.call(function, arguments)

    def tensor_of_dtype(self, storage, offset, shape, strides, _, __, dtype, *___):
        if type(dtype) is not str or dtype not in _DTYPES or type(storage) is not _Storage:
            raise _UnreadableError("holds a tensor of an unknown type")
        other = storage._replace(dtype=dtype)
        other = other._replace(size=storage.size * storage.itemsize // other.itemsize)
        return self.tensor(other, offset, shape, strides)

    def tensor(self, storage, offset, shape, strides, *_):
        fits = type(storage) is _Storage and _counts([offset]) and _counts(shape)
        if not fits or not _counts(strides) or len(shape) != len(strides):
            raise _UnreadableError(
                "is damaged: a tensor is not described by a storage and numbers below 2^63"
            )
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if 0 not in shape and last >= storage.size:
            view = f"shape {tuple(shape)}, strides {tuple(strides)} and offset {offset}"
            raise _UnreadableError(
                f"is damaged: a tensor of {short(view)} reaches beyond its storage of "
                f"{storage.size} elements"
            )
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _counts(values) -> bool:
    """Whether these are the few, not too large numbers of a shape."""
    few = type(values) in (tuple, list) and len(values) <= 8
    return few and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _extend(target, values):
    if type(target) is list:
        target += values
    elif target is not _VALUE:
        raise _UnreadableError("is damaged: its pickle appends to what is no list")


def _update(target, keys, values):
    """Sets the items whose keys are text: no other is the name of a tensor."""
    if type(target) is dict:
        for key, value in zip(keys, values, strict=True):
            if type(key) is str:
                target[key] = value
    elif target is not _VALUE:
        raise _UnreadableError("is damaged: its pickle sets items of what is no dictionary")


def _read_zip(file, size):
    """Returns the object, and a function from a storage's key to its bytes."""
    archive = zipfile.ZipFile(file)
    records = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in records if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _UnreadableError("is a zip archive, but not one of PyTorch's")
    folder = pickles[0].removesuffix("data.pkl")
    claimed = sum(info.compress_size for info in records.values())
    if len(records) < len(archive.infolist()) or claimed > size:
        raise _UnreadableError("is damaged: its records overlap, or two have one name")

    def record(name: str) -> bytes:
        info = archive.getinfo(folder + name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise _UnreadableError(f"holds {short(name)} compressed, which PyTorch never does")
        return archive.read(folder + name)

    if folder + "byteorder" in records and record("byteorder") != b"little":
        raise _UnreadableError("was written by a big-endian machine: save it again on another")
    content = _Machine(size).load(io.BytesIO(record("data.pkl")))
    return content, lambda key: record(f"data/{key}")


def _read_stream(file, size):
    """Returns the object, and a function from a storage's key to its bytes."""
    machine, whole = _Machine(size), file.read()
    file = io.BytesIO(whole)
    if machine.load(file) != _MAGIC:
        raise _UnreadableError("is a pickle, but not a PyTorch checkpoint")
    machine.load(file)  # the version; it has always been 1001
    if not machine.load(file)["little_endian"]:
        raise _UnreadableError("was written by a big-endian machine: save it again on another")
    content, keys = machine.load(file), machine.load(file)
    start = file.tell()
    places = {}
    for key in keys:
        if type(key) is not str or key in places:
            raise _UnreadableError("is damaged: its storages are not numbered")
        (elements,) = struct.unpack_from("<q", whole, start)
        start, length = start + 8, elements * machine.storages[key].itemsize
        if not 0 <= length <= len(whole) - start:
            raise _UnreadableError(f"is cut short: a storage of {length:,} bytes is not there")
        places[key] = slice(start, start + length)
        start += length
    return content, lambda key: whole[places[key]]


def _read_safetensors(file, size) -> dict[str, np.ndarray]:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > 2**21 + size // 16:  # some 20,000 tensors
        raise _UnreadableError(f"is damaged: its header claims {length:,} of {size:,} bytes")
    json.loads(file.read(length).decode(), object_pairs_hook=_without_duplicates)
    file.seek(0)
    arrays = {}
    for name, tensor in safetensors.deserialize(file.read()):
        if tensor["dtype"] not in _SAFETENSORS:
            raise _UnreadableError(
                f"holds {short(name)} as {tensor['dtype']}: no such type is supported"
            )
        flat = _array(tensor["data"], _SAFETENSORS[tensor["dtype"]])
        arrays[name] = flat.reshape(tensor["shape"])
    return arrays


def _without_duplicates(pairs):
    if len(dict(pairs)) < len(pairs):
        raise _UnreadableError("is damaged: its header holds two entries of one name")


def _state_dict(content, read_storage, size) -> dict[str, np.ndarray]:
    """Finds the state dict in what a pickle held, and makes its tensors NumPy arrays."""
    found = [content]
    for outer in found:  # which grows: {"model": {"state_dict": ...}} has been seen
        if type(outer) is dict and len(found) < 50:  # one may hold itself
            inner = [outer.get(name) for name in NESTED]
            found += [value for value in inner if type(value) is dict and value]
    content = next(filter(_tensors, found[1:]), content)
    tensors = _tensors(content)
    if not tensors:
        content = found[:2][-1]
        held = f"a {type(content).__name__.strip('_').lower()}"
        if type(content) is dict:
            names = ", ".join(short(name) for name in list(content)[:8])
            held = f"only {names}" if names else "a dictionary without names"
        raise _UnreadableError(f"holds no state dict of tensors but {held}")

    elements, records, flat, made, arrays = 0, {}, {}, {}, {}
    for name, tensor in tensors.items():
        # A text, since numbers can be chosen so that all tuples of them have one hash.
        arrays[name] = made.get(text := str(tensor))
        if arrays[name] is not None:  # tied
            continue
        (key, dtype, length), offset, shape, strides = tensor
        elements += math.prod(shape)
        if elements > size:
            raise _UnreadableError("holds tensors that repeat elements: save them contiguous")
        if 0 in shape:
            array = _array(b"", dtype).reshape(shape)
        else:
            if key not in records:  # each is read once, so that what was shared stays shared
                records[key] = read_storage(key)
            if (key, dtype) not in flat:
                flat[key, dtype] = _array(records[key], dtype)
            whole = flat[key, dtype]
            if len(whole) < length:  # than the bounds that were checked
                raise _UnreadableError(f"is cut short: the storage of {short(name)} lacks elements")
            offset, *strides = (n * whole.itemsize for n in (offset, *strides))
            array = np.ndarray(shape, whole.dtype, whole, offset, strides)
        arrays[name] = made[text] = array
    return arrays


def _tensors(value) -> dict[str, _Tensor]:
    items = value.items() if type(value) is dict else ()
    return {name: item for name, item in items if type(item) is _Tensor}


def _array(data, dtype: str) -> np.ndarray:
    """Returns a flat, read-only array; bfloat16 is the upper half of float32."""
    if dtype == "bfloat16":
        halves = np.frombuffer(data, np.uint16)
        array = np.zeros((len(halves), 2), np.uint16)
        array[:, 1] = halves
        array = array.reshape(-1).view(np.float32)
    else:
        array = np.frombuffer(data, dtype)
    array.flags.writeable = False
    return array
