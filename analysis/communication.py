"""What travels between devices: the collectives of a compiled program."""

import math
import re
from typing import NamedTuple

_COLLECTIVES = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
_INSTRUCTION = re.compile(rf"= (.*?) ({_COLLECTIVES})(-start)?\(")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
_BYTES = {"f64": 8, "f32": 4, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "pred": 1}


class Collective(NamedTuple):
    """One exchange between devices."""

    kind: str  # for example "collective-permute"
    bytes: int  # that each device receives
    scope: str  # of the operation, for example "jit(step)/jvp()/Model/exchange_for_conv3/ppermute"


def collectives(compiled) -> list[Collective]:
    """Returns the collectives of a `jax.stages.Compiled`, in the order of its text."""
    return parse(compiled.as_text())


def parse(text: str) -> list[Collective]:
    """Returns the collectives of a program in HLO's text form.

    One that was joined of several has several arrays. The start of an asynchronous one lists what goes in, then what
    comes out.
    """
    found = []
    for line in text.splitlines():
        match = _INSTRUCTION.search(line)
        if not match:
            continue
        shapes, kind, start = match.groups()
        arrays = _ARRAY.findall(shapes)
        if start and kind != "all-reduce":
            arrays = arrays[1:2]
        sizes = (
            _BYTES[kind_] * math.prod(int(side) for side in sides.split(",") if side)
            for kind_, sides in arrays
        )
        scope = re.search(r'op_name="([^"]*)"', line)
        found.append(Collective(kind, sum(sizes), scope[1] if scope else ""))
    return found
