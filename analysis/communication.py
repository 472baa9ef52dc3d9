"""What travels between devices: the collectives of a compiled program."""

import math
import re
from typing import NamedTuple

_COLLECTIVES = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
_PATTERN = re.compile(
    rf"= \(?(\w+)\[([\d,]*)\]\S* ({_COLLECTIVES})(?:-start)?\(.*?op_name=\"([^\"]*)\""
)
_BYTES = {"f64": 8, "f32": 4, "bf16": 2, "f16": 2}


class Collective(NamedTuple):
    """One exchange between devices."""

    kind: str  # for example "collective-permute"
    bytes: int  # that each device receives
    scope: str  # of the operation, for example "jit(step)/jvp()/Model/exchange_for_conv3/ppermute"


def collectives(compiled) -> list[Collective]:
    """Returns the collectives of a `jax.stages.Compiled`, in the order of its text."""
    found = []
    for kind, sides, name, scope in _PATTERN.findall(compiled.as_text()):
        size = math.prod(int(side) for side in sides.split(",") if side)
        found.append(Collective(name, size * _BYTES.get(kind, 4), scope))
    return found
