"""A network as blocks within blocks, with what flows between them: what the page draws."""

import collections

import flax.linen as nn

import analysis
from analysis.count import Count, Layer, Operation

OUTSIDE = -1  # in an edge: what comes into the block, or leaves it
TOTALS = ("parameters", "multiply_adds", "memory")
SHOWN = (
    *("kind", "input", "output", "kernel", "stride", "padding", "groups", *TOTALS),
    *("receptive_field", "field_start", "field_step"),
)


def describe(module: nn.Module, shape: tuple[int, int, int]) -> dict:
    """Returns a network's totals and its outermost block.

    A block is {"name", "output", "nodes", "edges"}. Its nodes are blocks, layers and operations; an edge
    [from, to] has the positions of two of them, or OUTSIDE. Layers that only training uses, auxiliary
    heads, are in the totals alone.

    Args:
      module: from `models.create`.
      shape: (height, width, channels) of its images.
    """
    count = analysis.count(module, shape)
    return {name: getattr(count, name) for name in TOTALS} | {"input": shape, "root": root(count)}


def root(count: Count) -> dict:
    """Returns the outermost block of a network, see `describe`."""
    used = [layer for layer in count.layers if layer.output]
    members = [*used, *count.operations]
    followers = collections.defaultdict(list)
    for member in members:
        for path in member.after:
            followers[path].append(member.path)
    return _block("", "", members, followers)


def _block(name: str, outer: str, members: list[Layer | Operation], followers: dict) -> dict:
    """`outer`: what the paths of the members begin with; `followers`: of each path, in the whole network."""
    groups = collections.defaultdict(list)
    for member in members:
        groups[member.path.removeprefix(outer).partition("/")[0]].append(member)
    nodes, edges, owner = [], set(), {}
    for i, (child, group) in enumerate(groups.items()):
        owner |= {member.path: i for member in group}
        if len(group) == 1:
            nodes.append(_leaf(child, group[0]))
        else:
            nodes.append(_block(child, f"{outer}{child}/", group, followers))
    for member in members:
        after = member.after or [""]  # the image
        edges |= {(owner.get(path, OUTSIDE), owner[member.path]) for path in after}
        before = followers[member.path] or [""]  # the answer
        edges |= {(owner[member.path], owner.get(path, OUTSIDE)) for path in before}
    edges = sorted((a, b) for a, b in edges if a != b)
    last = max(a for a, b in edges if b == OUTSIDE)
    return {"name": name, "output": nodes[last]["output"], "nodes": nodes, "edges": edges}


def _leaf(name: str, one: Layer | Operation) -> dict:
    """Returns a layer or an operation, without what is empty."""
    fields = {field: getattr(one, field, None) for field in SHOWN}
    return {"name": name} | {field: value for field, value in fields.items() if value}
