"""Makes hostile PyTorch and safetensors files, and reads them under the limits that models/torch/files.py states.

From the project's root, on Linux:

  python tests/faults/weights.py     a line of JSON a file: what happened, seconds and MB. A file that takes too
                              long or crashes ends it, after the line with its name; the exit status is 1
                              if one took more memory or was read wrongly
"""

import importlib.util
import io
import itertools
import json
import pathlib
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile
import zlib

SECONDS = 3  # of computing, to read one
MEGABYTES, TIMES = 100, 10  # of memory to read one: MEGABYTES and TIMES its size
VALUES = [0, 1, 2, 3, 4, 5]  # of the right tensor, beside what is hostile


# Pickles, by instruction.


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(content)) + content


def several(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def call(name: str, *arguments: bytes) -> bytes:
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode() + several(*arguments) + b"R"


def storage(key=None, kind=b"ctorch\nFloatStorage\n", size=None) -> bytes:
    return several(text("storage"), kind, key or text("0"), text("cpu"), size or number(6)) + b"Q"


def tensor(stored=None, offset=None, shape=None, strides=None) -> bytes:
    shape, strides = shape or several(number(6)), strides or several(number(1))
    arguments = (stored or storage(), offset or number(0), shape, strides, b"\x89", b"}")
    return call("torch._utils._rebuild_tensor_v2", *arguments)


def untyped(dtype: bytes) -> bytes:
    stored = storage(text("0"), b"ctorch.storage\nUntypedStorage\n", number(24))
    arguments = (number(0), several(number(3)), several(number(1)), b"\x89", b"}", dtype)
    return call("torch._utils._rebuild_tensor_v3", stored, *arguments)


def state(*items: bytes) -> bytes:
    """Returns a dictionary of the right tensor and `items`, which are keys and values in turn."""
    return b"}(" + text("w") + tensor() + b"".join(items) + b"u"


def graph(depth: int) -> bytes:
    """Returns the pair of twice the pair of twice ...: of `depth` instructions, 2 ** depth leaves."""
    twice = (b"r" + struct.pack("<I", 10**6 + i) for i in range(depth))
    return b")" + b"".join(put + b"j" + put[1:] + b"\x86" for put in twice)


# Files around them.


def archive(pickled: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("x/data.pkl", b"\x80\x02" + pickled + b".")
        out.writestr("x/data/0", RIGHT)
    return file.getvalue()


def stream(pickled: bytes, system=None, keys=None, elements=6) -> bytes:
    system = system or b"}" + text("little_endian") + b"\x88s"
    keys = keys or b"](" + text("0") + b"e"
    pickles = [number(0x1950A86A20F9469CFC6C), number(1001), system, pickled, keys]
    return b"".join(b"\x80\x02" + p + b"." for p in pickles) + struct.pack("<q", elements) + RIGHT


def safetensors(header, content=b"", length=None) -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + content


def entry(dtype="F32", shape=(6,), offsets=(0, 24)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def directory(records, start: int, zip64=b"", size=None, at=None) -> bytes:
    """Returns the end of a zip archive. Records are (name, checksum, size, size claimed, position)."""
    content = b"".join(
        b"PK\1\2"
        + struct.pack(
            "<6H3L5H2L", 20, 20, 0, 0, 0, 0, crc, stored, claimed, len(name), *[0] * 5, place
        )
        + name
        for name, crc, stored, claimed, place in records
    )
    sizes = len(content) if size is None else size, start if at is None else at
    return content + zip64 + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 1, 1, *sizes, 0)


def local(name: bytes, content: bytes) -> bytes:
    """Returns what stands before the content of a record."""
    size, crc = len(content), zlib.crc32(content)
    return b"PK\3\4" + struct.pack("<5H3L2H", 20, 0, 0, 0, 0, crc, size, size, len(name), 0) + name


def overlapping(count: int, kernel: bytes) -> bytes:
    """Returns an archive in which the content of each storage holds the next, headers and all."""
    items = (
        text(f"t{i}")
        + tensor(storage(text(f"s{i}"), b"ctorch\nByteStorage\n", number(len(kernel))))
        for i in range(count)
    )
    pickled = b"\x80\x02}(" + b"".join(items) + b"u."
    records, content = [], kernel
    for i in reversed(range(count)):
        name = f"x/data/s{i}".encode()
        records.append((name, zlib.crc32(content), len(content), len(content)))
        content = local(name, content) + content
        records[-1] += (len(content),)
    first = local(b"x/data.pkl", pickled) + pickled
    end = len(first) + len(content)
    found = [(*record, end - position) for *record, position in records]
    found.append((b"x/data.pkl", zlib.crc32(pickled), len(pickled), len(pickled), 0))
    return first + content + directory(found, end)


RIGHT = struct.pack("<6f", *VALUES)
MANY = 60_000  # copies of one thing
PUT, GET = b"r\xff\xff\0\0", b"j\xff\xff\0\0"

ODD = {  # values that are dear to hash, print, copy or follow, or are no counts
    "a graph": graph(40),
    "a deep tuple": b")" + b"\x85" * 3000,
    "a deep list": b"]" * 3000 + b"a" * 2999,
    "a list in itself": b"]" + PUT + GET + b"a",
    "a dictionary in itself": b"}" + PUT + text("model") + GET + b"s",
    "a frozen set of a graph": b"(" + graph(40) + b"\x91",
    "an integer of 100 kB": b"\x8b" + struct.pack("<i", 100_000) + b"\x7f" * 100_000,
    "digits of an integer": b"I" + b"9" * 100_000 + b"\n",
    "2 ** 63": number(2**63),
    "-1": number(-1),
    "not a number": b"G\x7f\xf8\0\0\0\0\0\0",
    "text of 1 MB": text("x" * 1_000_000),
    "text that widens": text("\U0001f40d" + "x" * 100_000),
    "escapes": text("\x1b]0;owned\x07\x1b[2J\n"),
    "a tensor": tensor(),
    "nothing": b"N",
}
PLACES = {
    "a value": lambda odd: state(text("v"), odd),
    "a key": lambda odd: state(odd, number(1)),
    "the file": lambda odd: odd,
    "the state dict": lambda odd: b"}" + text("state_dict") + odd + b"s",
    "the key of a storage": lambda odd: state(text("v"), tensor(storage(odd))),
    "the kind of a storage": lambda odd: state(text("v"), tensor(storage(kind=odd))),
    "the size of a storage": lambda odd: state(text("v"), tensor(storage(text("1"), size=odd))),
    "the identity of a storage": lambda odd: state(text("v"), tensor(odd + b"Q")),
    "a storage": lambda odd: state(text("v"), tensor(odd)),
    "an offset": lambda odd: state(text("v"), tensor(offset=odd)),
    "a shape": lambda odd: state(text("v"), tensor(shape=odd)),
    "a size": lambda odd: state(text("v"), tensor(shape=several(odd), strides=several(number(0)))),
    "a stride": lambda odd: state(text("v"), tensor(strides=several(odd))),
    "the type of a tensor": lambda odd: state(text("v"), untyped(odd)),
    "pairs": lambda odd: state(text("v"), call("collections.OrderedDict", odd)),
    "arguments": lambda odd: state(text("v"), b"ccollections\nOrderedDict\n" + odd + b"R"),
    "a function": lambda odd: state(text("v"), odd + b")R"),
    "the name of a function": lambda odd: state(text("v"), text("torch") + odd + b"\x93"),
    "a module": lambda odd: state(text("v"), odd + text("FloatStorage") + b"\x93"),
    "attributes": lambda odd: state(text("v"), b"}" + odd + b"b"),
    "an item of a set": lambda odd: state(text("v"), b"\x8f(" + odd + b"\x90"),
    "a parameter": lambda odd: state(text("v"), call("torch._utils._rebuild_parameter", odd)),
}


def pickles():
    """Yields hostile pickles by name: one idea each, to stand in either kind of file."""
    for odd, place in itertools.product(ODD, PLACES):
        yield f"{odd} as {place}", PLACES[place](ODD[odd])
    yield "a very deep tuple as a key", state(b")" + b"\x85" * 100_000, number(1))
    yield "a million numbered dictionaries", b"}\x94" * 10**6
    pairs = b"](" + b"".join(text(f"{i:x}") + b"N\x86" for i in range(MANY)) + b"e" + PUT
    copy = b"ccollections\nOrderedDict\n" + GET + b"\x85R0"
    yield "a dictionary copied again and again", pairs + copy * MANY
    large = b"(" + b"N" * MANY + b"t" + PUT
    copy = b"ctorch._utils\n_rebuild_parameter\n" + GET + b"R0"
    yield "arguments copied again and again", large + copy * MANY
    identity = text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), number(6)
    identity = several(*identity, b"N" * MANY) + PUT
    yield "an identity copied again and again", identity + (GET + b"Q0") * MANY
    function = b"ctorch._tensor\n_rebuild_from_type_v2\n"
    call_in_call = several(b"cdatetime\ndate\n", b"N", b")", b"N")
    for _ in range(300):
        call_in_call = several(function, b"N", call_in_call, b"N")
    yield "a call in calls again and again", call_in_call + PUT + (function + GET + b"R0") * MANY
    shape = b"(" + b"K\1" * MANY + b"t" + PUT
    yield "a shape checked again and again", shape + tensor(shape=GET, strides=GET) * 10_000
    yield "strides of one hash", state(*of_one_hash(10_000))
    stored = storage(text("x" * 100_000)) + PUT + b"0"
    tensors = (tensor(GET, number(i), several(b"K\0")) for i in range(5000))
    items = (text(f"{i:x}") + value for i, value in enumerate(tensors))
    yield "a long key of many tensors", stored + state(*items)
    large, none = several(number(2**40)), several(number(0))
    yield "an expanded tensor", state(text("v"), tensor(shape=large, strides=none))
    large, none = several(*[number(2**40)] * 8), several(*[number(0)] * 8)
    yield "a tensor expanded eight times", state(text("v"), tensor(shape=large, strides=none))
    names = (text(f"{i:x}") + GET for i in range(MANY))
    yield "a tensor of many names", state(text("v"), tensor() + PUT, *names)
    kinds = "Double Float Half BFloat16 Long Int Short Char Byte Bool Untyped".split()
    tensors = (text(k) + tensor(storage(kind=f"ctorch\n{k}Storage\n".encode())) for k in kinds)
    yield "a storage of many kinds", state(*tensors)
    types = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool uint16 uint32"
    tensors = (text(t) + untyped(f"ctorch\n{t}\n".encode()) for t in types.split())
    yield "an untyped storage of many types", b"}(" + b"".join(tensors) + b"u"
    for name in ("os.system", "builtins.eval", "torch.load", "x.\x1b[2J", "o" * 10**6):
        yield f"a call of {name[:20]!r}", state(text("v"), call(name, text("exit 7")))
    for code in b"P0\n", b"\x82\1", b"\x97", b"\x98", b"g0\n", b"(i\nos\n", b"\xff", b"0", b"t":
        yield f"the instruction {code!r}", code
    for code in (b"X", b"B", b"T", b"\x8b", b"\x8d", b"\x8e", b"\x96", b"\x95"):
        length = b"\xff\xff\xff\x7f" if code in b"XBT\x8b" else b"\xff\xff\xff\xff\xff\xff\xff\x3f"
        yield f"the instruction {code!r} of all memory", code + length
    yield "a number for a value far away", state(text("v"), b"]r\xff\xff\xff\xff")
    yield "nothing at all", b""


def of_one_hash(count: int):
    """Yields names and tensors whose strides have one hash, which is linear in the last of them."""
    p1, p2, p5 = 11400714785074694791, 14029467366897019727, 2870177450012600261
    for first in itertools.count():
        total = (p5 + first * p2) % 2**64
        total = (total << 31 | total >> 33) * p1 % 2**64
        last = -total * pow(p2, -1, 2**64) % 2**64
        if last < 2**61 - 1:  # a number is its own hash below
            strides = several(number(first), number(last))
            yield text(f"{first:x}") + tensor(shape=several(b"K\0", b"K\0"), strides=strides)
            count -= 1
        if not count:
            return


def archives():
    """Yields zip archives whose directory lies."""
    yield "records in each other", overlapping(100, bytes(2_000_000))
    pickled = b"\x80\x02" + state() + b"."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("x/data.pkl", pickled, zipfile.ZIP_STORED)
        out.writestr("x/data/0", bytes(50_000_000))
    yield "a bomb of zeros", file.getvalue()
    names = [b"x/data.pkl", b"x/data/0"]
    contents = [pickled, RIGHT]
    body = b"".join(local(n, c) + c for n, c in zip(names, contents, strict=True))
    places = [0, len(local(names[0], pickled) + pickled)]
    sizes = list(map(len, contents))
    crcs = list(map(zlib.crc32, contents))
    records = list(zip(names, crcs, sizes, sizes, places, strict=True))
    yield "the right one", body + directory(records, len(body))
    yield "two records of one name", body + directory(records + records, len(body))
    for claimed in (0, 23, 25, 10**9, 2**32 - 1):
        lies = [records[0], (names[1], crcs[1], 24, claimed, places[1])]
        yield f"{claimed} bytes claimed", body + directory(lies, len(body))
        lies = [records[0], (names[1], crcs[1], claimed, claimed, places[1])]
        yield f"{claimed} bytes claimed twice", body + directory(lies, len(body))
    for position in (1, len(body), 2**32 - 1):
        lies = [records[0], (*records[1][:4], position)]
        yield f"a record at {position}", body + directory(lies, len(body))
    for size in (0, 1, 10**6, 2**32 - 1):
        yield f"a directory of {size} bytes", body + directory(records, len(body), size=size)
        yield f"a directory at {size}", body + directory(records, len(body), at=size)
        end = struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, 2, 2, size << 31, size << 30)
        end = b"PK\6\6" + end + b"PK\6\7" + struct.pack("<LQL", 0, len(body), 1)
        yield f"a large directory of {size} << 31", body + directory(records, len(body), end)
    for kind in b"", b"%x":
        more = [(kind and kind % i, 0, 0, 0, 0) for i in range(20_000)]
        yield f"a directory of many {kind}", body + directory(records + more, len(body))


def streams():
    """Yields files of the old form whose storages lie."""
    for odd, value in ODD.items():
        yield f"{odd} as keys", stream(state(), keys=value)
        yield f"{odd} as a key", stream(state(), keys=b"](" + value + b"e")
        yield f"{odd} as the system", stream(state(), system=value)
    for elements in (-1, -(2**63), 0, 5, 7, 2**61, 2**63 - 1):
        yield f"{elements} elements", stream(state(), elements=elements)
    yield "keys that repeat", stream(state(), keys=b"](" + text("0") * 1000 + b"e")


def headers():
    """Yields safetensors files whose header lies."""
    for length in (0, 1, 10**6, 2**31, 2**63 - 1, 2**64 - 1):
        yield f"a header of {length}", safetensors({"w": entry()}, RIGHT, length)
    for offsets in (0, 20), (4, 28), (24, 0), (-24, 0), (0, 2**63), (0, 2**64), (0.0, 24), "x":
        yield f"data at {offsets}", safetensors({"w": entry(offsets=offsets)}, RIGHT)
    for shape in (2**32, 2**32), (2**63, 2), (2**64,), (-6,), (6.0,), [1] * 10_000, [[6]], "6":
        yield f"a shape of {str(shape)[:30]}", safetensors({"w": entry(shape=shape)}, RIGHT)
    for dtype in ("F8_E4M3", "F4", "C64", "X\x1b[2J", "", 32, None, "U64"):
        yield f"the type {dtype!r}", safetensors({"w": entry(dtype)}, RIGHT)
    yield "tensors that overlap", safetensors({k: entry() for k in "vw"}, RIGHT)
    half = {"w": entry(), "v": entry(offsets=(12, 36))}
    yield "tensors that half overlap", safetensors(half, RIGHT * 2)
    yield "a gap", safetensors({"w": entry(), "v": entry(offsets=(28, 52))}, RIGHT * 3)
    yield "more than is told", safetensors({"w": entry()}, RIGHT * 1000)
    empty = {f"{i:x}": entry(shape=(0,), offsets=(0, 0)) for i in range(15_000)}
    yield "many empty tensors", safetensors({"w": entry()} | empty, RIGHT)
    twice = json.dumps({"w": entry()}).encode()
    yield "one name twice", safetensors(twice[:-1] + b"," + twice[1:], RIGHT)
    field = twice.replace(b'"dtype"', b'"dtype": "I32", "dtype"')
    yield "one field twice", safetensors(field, RIGHT)
    for name, header in {
        "deep lists": b'{"w":' + b"[" * 500_000,
        "deep objects": b'{"w":' * 100_000,
        "many lists": b'{"w":[' + b"[]," * 500_000 + b"[]]}",
        "many numbers": b'{"w":[' + b"0," * 500_000 + b"0]}",
        "digits": b'{"w":' + b"9" * 500_000 + b"}",
        "a long name": b'{"' + b"x" * 10**6 + b'":{"dtype":"Q"}}',
        "escapes": b'{"\\u001b[2J":{"dtype":"Q"}}',
        "no text": b'{"\xff\xfe":1}',
        "half a text": b'{"\\ud800":' + json.dumps(entry()).encode() + b"}",
        "odd metadata": b'{"__metadata__":{"a":[1]}}',
    }.items():
        yield name, safetensors(header, RIGHT)


def mutations(content: bytes, count: int, seed: int):
    """Yields damaged copies of a file: cut, flipped, zeroed, doubled, exchanged, filled."""
    rng = random.Random(seed)
    for i in range(count):
        a, b, c = sorted(rng.randrange(len(content) + 1) for _ in range(3))
        bit = bytes([content[a - 1] ^ 1 << rng.randrange(8)])
        yield (
            content[:a],
            content[: a - 1] + bit + content[a:],
            content[:a] + bytes(b - a) + content[b:],
            content[:b] + content[a:b] + content[b:],
            content[:a] + content[b:c] + content[a:b] + content[c:],
            content[:a] + b"\xff" * 4 + content[a + 4 :],
        )[i % 6]


def files():
    """Yields (name, content, whether what is read beside the hostile part must be right)."""
    for name, pickled in pickles():
        yield f"zip: {name}", archive(pickled), True
        if len(pickled) < 200_000:  # the same machine reads both
            yield f"stream: {name}", stream(pickled), True
    for maker in (archives, streams, headers):
        for name, content in maker():
            yield f"{maker.__name__}: {name}", content, True
    seeds = archive(state()), stream(state()), safetensors({"w": entry()}, RIGHT)
    for seed, content in enumerate(seeds):
        for i, damaged in enumerate(mutations(content, 120, seed)):
            yield f"mutation {i} of {('zip', 'stream', 'safetensors')[seed]}", damaged, False


def read(torch_files, path: pathlib.Path, right: bool) -> str:
    """Returns what reading did, which begins with "read" or "refused" where it is as it should be."""
    try:
        found = torch_files.read(path)
    except ValueError as error:
        line = str(error)
        plain = line.isprintable() and line.startswith(str(path)) and len(line) < 1000
        return f"{'refused' if plain and 'MemoryError' not in line else 'badly'}: {line[:500]!a}"
    arrays = {id(array): array for array in found.values()}.values()  # tied ones once
    if sum(array.size for array in arrays) > path.stat().st_size:
        return "swollen"
    for array in arrays:
        array.any()  # all of it is there
    if right and "w" in found and found["w"].tolist() != VALUES:
        return f"wrong: {found['w'].tolist()}"
    return "read"


def memory(key: str) -> int:
    """Returns VmSize, VmRSS or VmHWM (the peak of VmRSS) of this process, in MB."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) >> 10


def main() -> int:
    path = pathlib.Path(__file__).parents[2] / "models/torch/files.py"
    spec = importlib.util.spec_from_file_location("torch_files", path)  # alone: without JAX
    torch_files = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(torch_files)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.pth"
        for name, content, right in files():
            path.write_bytes(content)
            print(json.dumps(name), end=" ", flush=True)
            pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
            allowed = (MEGABYTES << 20) + TIMES * len(content)
            before = memory("VmRSS")
            resource.setrlimit(resource.RLIMIT_AS, ((memory("VmSize") << 20) + allowed, -1))
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            began = time.process_time()
            said = read(torch_files, path, right)
            seconds = time.process_time() - began
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
            figures = [len(content), round(seconds, 3), memory("VmHWM") - before]
            bad += not said.startswith(("read", "refused"))
            print(json.dumps([said, *figures]), flush=True)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
