"""A search learns, is honest about it, survives a kill, and trains each genotype once."""

import importlib
import json
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import PROJECT, assert_alike, command, normal
from flax import serialization
from flax.traverse_util import flatten_dict
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

import data
import models
from models import genotypes, nasnet
from models.genotypes import as_text
from nas import children, loop, methods, proxy, ranges, report, spaces, supernet
from training import files
from training.state import TrainState

FIELDS = {
    "random": {},
    "evolution": {"population": 50, "sample": 15},
    "reinforce": {"learning_rate": 0.005, "entropy": 0.01},
    "ppo": {"learning_rate": 0.002, "entropy": 0.01},
}


class Words(spaces.Space):
    """Twelve letters out of five; the best word is known, and letters in a row are worth more."""

    sizes = (5,) * 12

    def __init__(self, seed):
        self.optimum = np.random.default_rng(1000 + seed).integers(0, 5, 12)

    def decode(self, tokens):
        return tokens

    def reward(self, tokens):
        right = np.array(tokens) == self.optimum
        return float((right.mean() + np.mean(right[1:] & right[:-1])) / 2)


def best_of(name, seed, batches=100):
    space = Words(seed)
    method = methods.make(name, space, seed, **FIELDS[name])
    best = 0.0
    for _ in range(batches):
        asked = method.ask(10)
        rewards = [space.reward(tokens) for tokens in asked]
        method.tell(asked, rewards)
        best = max(best, *rewards)
    return best


@pytest.mark.parametrize("name", ["evolution", "reinforce", "ppo"])
@pytest.mark.slow
def test_a_method_finds_the_known_optimum_where_random_search_does_not(name):
    for seed in range(3):
        assert best_of(name, seed) == 1.0
        assert best_of("random", seed) < 0.6


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_method_that_was_saved_goes_on_as_the_one_that_was_not(name):
    space = Words(0)
    one, other = (methods.make(name, space, 7, **FIELDS[name]) for _ in range(2))
    for batch in range(7):
        asked = one.ask(10)
        assert asked == one.ask(10)  # asking teaches nothing
        one.tell(asked, [space.reward(tokens) for tokens in asked])
        if batch == 5:
            saved = serialization.to_bytes(one.state)
    other.state = serialization.from_bytes(other.state, saved)
    assert other.ask(10) == asked
    other.tell(asked, [space.reward(tokens) for tokens in asked])
    assert serialization.to_bytes(one.state) == serialization.to_bytes(other.state)
    assert one.ask(5) == other.ask(5)


def test_ageing_kills_the_oldest_not_the_worst():
    method = methods.make("evolution", Words(0), 0, population=3, sample=3)
    asked = method.ask(4)
    method.tell(asked, [1.0, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(method.state["tokens"], asked[1:])


@pytest.mark.parametrize(
    "space",
    [
        spaces.CellSpace(5),
        spaces.CellSpace(2, spaces.ENAS_OPERATIONS, ("add",)),
        spaces.LayerSpace(6, strides=(1, 2)),
    ],
)
def test_all_tokens_of_a_space_describe_a_network(space):
    rng = np.random.default_rng(0)
    check = {"nasnet": genotypes.cells.check, "zoph_le": genotypes.layers.check}[space.network]
    for _ in range(100):
        tokens = space.draw(rng)
        assert check(as_text(space.decode(tokens))) == space.decode(tokens)
        other = space.mutate(tokens, rng)
        assert sum(a != b for a, b in zip(tokens, other, strict=True)) == 1
        assert all(0 <= token < size for token, size in zip(other, space.sizes, strict=True))


def test_a_node_is_the_same_with_its_terms_exchanged():
    space = spaces.CellSpace(1, ("id", "max"), ("add",))
    assert space.decode((0, 1, 0, 1, 0) * 2) == space.decode((1, 0, 1, 0, 0) * 2)
    assert space.decode((0, 1, 0, 1, 0) * 2) != space.decode((0, 1, 1, 0, 0) * 2)


@pytest.mark.slow
def test_the_supernet_is_nasnet_with_the_weights_of_a_cell():
    operations = ("id", "avg", "sep3")
    nodes = ("sep3", 1, "avg", 0), ("avg", 2, "id", 1), ("id", 2, "sep3", 0), ("avg", 1, "sep3", 2)
    cell = (nodes, (3, 4, 5))
    net = supernet.Supernet(10, 4, operations, cells=1, filters=4)
    fields = {"layout": "cifar", "cells": 1, "filters": 4, "stem_filters": 4, "dropout": 0.0}
    fields |= {"aux_head": False, "epsilon": 1e-5, "bn_momentum": 0.9, "genotype": (cell, cell)}
    model = models.create("nasnet", num_classes=10, **fields)
    x = normal(0, (4, 8, 8, 3))
    terms = jnp.asarray(supernet.terms((cell, cell), operations))
    drawn = np.random.default_rng(1)  # to compile the initialisers would take longer than the rest
    draw = {
        "params": lambda leaf: jnp.asarray(drawn.normal(0, 0.3, leaf.shape), leaf.dtype),
        "batch_stats": lambda leaf: jnp.asarray(drawn.uniform(0.5, 1.5, leaf.shape), leaf.dtype),
    }
    shared = jax.eval_shape(net.init, jax.random.key(1), x, terms)
    shared = {kind: jax.tree.map(draw[kind], tree) for kind, tree in shared.items()}
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(1), x))

    def pick(path, shape):
        keys = [key.key for key in path]
        node = next((key for key in keys if key.startswith("node")), None)
        if node is None:
            found = shared
            for key in keys:
                found = found[key]
            if found.shape != shape.shape:  # reads the nodes of a cell: those that no node reads
                wide = found.shape[-2] // 4  # of a node
                rows = [np.arange(wide * (i - 2), wide * (i - 1)) for i in cell[1]]
                found = jnp.take(found, np.concatenate(rows), axis=-2)
            return found
        number, side = int(node[4]) - 2, node.endswith("right")
        operation, source = cell[0][number][2 * side : 2 * side + 2]
        reduces = keys[1].startswith("reduction")
        filters = (
            4 * {"cell1": 1, "reduction1": 2, "cell2": 2, "reduction2": 4, "cell3": 4}[keys[1]]
        )
        return keys, number, side, operation, source, reduces, filters

    def fill(path, shape):
        found = pick(path, shape)
        if not isinstance(found, tuple):
            return found
        keys, number, side, operation, source, reduces, filters = found
        kind = "weights" if keys[0] == "params" else "statistics"
        vector = shared[keys[0]][keys[1]][kind][2 * number + side]
        # The layout of the vector: each operation, at stride 2 and at 1 in a reduction cell.
        norm = nasnet.layers.batch_norm(False, dtype="float32")
        conv = supernet.partial(nasnet.layers.conv, padding="SAME", dtype="float32")
        trees, wanted = [], None
        for stride in (2, 1) if reduces else (1,):
            for name in operations:
                module = nasnet.Operation(name, filters, stride, False, conv, norm)
                image = jnp.zeros((1, 4, 4, filters))
                tree = jax.eval_shape(lambda m=module, i=image: m.init(jax.random.key(0), i))
                if name == operation and (not reduces or (stride == 2) == (source < 2)):
                    wanted = len(trees)
                trees.append(jax.tree.map(lambda s: jnp.zeros(s.shape), tree.get(keys[0], {})))
        vectors, unravel = zip(*(ravel_pytree(tree) for tree in trees), strict=True)
        start = sum(len(v) for v in vectors[:wanted])
        found = unravel[wanted](vector[start : start + len(vectors[wanted])])
        for key in keys[3:]:
            found = found[key]
        return found

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(lambda s: s.shape, shapes)

    def answers(apply, variables):
        """Answers in training, and afterwards, with the statistics that it left."""
        first, updates = apply(variables, train=True, mutable=["batch_stats"])
        return first, apply(variables | updates, train=False)

    ours, theirs = (
        jax.jit(answers, static_argnums=0)(*arguments)
        for arguments in (
            (lambda v, **how: net.apply(v, x, terms, **how), shared),
            (lambda v, **how: model.apply(v, x, **how), variables),
        )
    )
    assert_alike(ours, theirs, tolerance=1e-4)


def trained(genotypes, log=None, stop=None):
    """A stand-in for the training of children: what they come to is a function of the genotype."""
    for position, genotype in enumerate(genotypes):
        if log is not None:
            if len(log) == stop:
                raise KeyboardInterrupt
            log.append(as_text(genotype))
        rng = np.random.default_rng(sum(map(ord, as_text(genotype))))
        failed = rng.random() < 0.1
        yield position, {"error": "diverged"} if failed else {"accuracy": rng.random()}


OBJECTIVE = ConfigDict({"cost": "", "target": 0.0, "exponent": 0.0})


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_search_that_was_killed_ends_as_an_undisturbed_one(name, tmp_path):
    space = spaces.CellSpace(1, ("id", "max"), ("add",))  # so small that genotypes come again
    log = []

    def run(folder, stop):
        folder.mkdir(exist_ok=True)
        known = loop.Children(
            folder / "children.jsonl", lambda genotypes: trained(genotypes, log, stop)
        )
        method = methods.make(name, space, 3, **FIELDS[name])
        search = loop.Search(folder / "search", space, method)
        search.run(40, 8, known, OBJECTIVE)
        return search

    undisturbed = run(tmp_path / "one", None)
    assert len(log) == len(set(log)) < 40  # each genotype once
    log.clear()
    for stop in (3, 11):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "two", stop)
        with (tmp_path / "two" / "children.jsonl").open("a") as file:
            file.write('{"genotype": [')  # cut off by the kill
    resumed = run(tmp_path / "two", None)
    assert len(log) == len(set(log))
    assert as_text(resumed.asked) == as_text(undisturbed.asked)
    for file in ("search/asked.jsonl", "search/state.msgpack", "children.jsonl"):
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
    assert {x["reward"] for x in resumed.asked if "error" in trained_once(x)} == {0.0}


def test_a_search_in_which_nothing_can_be_trained_stops_at_once(tmp_path):
    space = spaces.CellSpace(1, ("id", "max"), ("add",))
    fail = lambda genotypes: ((i, {"error": "no data"}) for i in range(len(genotypes)))  # noqa: E731
    search = loop.Search(tmp_path / "search", space, methods.make("random", space, 0))
    with pytest.raises(ValueError, match="all children of the first batch failed.*no data"):
        search.run(4, 2, loop.Children(tmp_path / "children.jsonl", fail), OBJECTIVE)


def trained_once(line):
    return next(trained([line["genotype"]]))[1]


def test_the_reward_weighs_accuracy_and_cost():
    objective = ConfigDict({"cost": "parameters", "target": 1000.0, "exponent": -0.5})
    child = {"accuracy": 0.8, "parameters": 4000}
    assert loop.reward(child, objective) == pytest.approx(0.4)
    assert loop.reward(child, OBJECTIVE) == 0.8
    assert loop.reward({"error": "diverged"}, objective) == 0.0


def test_the_pareto_front_has_those_that_no_other_beats():
    values = [(10, 0.5), (20, 0.4), (20, 0.7), (30, 0.7), (40, 0.9)]
    made = [{"parameters": cost, "accuracy": accuracy} for cost, accuracy in values]
    found = report.front([*made, {"parameters": 1, "error": "diverged"}], "parameters")
    assert [(c["parameters"], c["accuracy"]) for c in found] == [(10, 0.5), (20, 0.7), (40, 0.9)]


def test_the_verdict_says_so_where_random_search_does_as_well():
    def asked(*bests):
        return {
            seed: [{"genotype": [seed], "reward": 0.1}, {"genotype": [seed], "reward": best}]
            for seed, best in enumerate(bests)
        }

    found = report.Found(
        {
            "random": asked(0.80, 0.82, 0.81),
            "ppo": asked(0.83, 0.80, 0.82),
            "evolution": asked(0.90, 0.92, 0.915),
            "reinforce": asked(0.70, 0.72, 0.715),
        },
        {}, {},
    )  # fmt: skip
    ppo, evolution, reinforce = report.verdict(found).splitlines()[2:]
    assert "no better than random search" in ppo and "n = 3" in ppo
    assert "evolution: its best is better than random search" in evolution
    assert "its best is worse than random search" in reinforce


@pytest.mark.parametrize(
    "name",
    [p.stem for p in PROJECT.glob("configs/nas/*.py") if p.stem not in ("common", "__init__")],
)
@pytest.mark.slow
def test_a_config_of_a_search_can_be_built(name):
    config = importlib.import_module(f"configs.nas.{name}").get_config()
    space = spaces.make(**config.nas.space)
    for method in config.nas.methods:
        methods.make(method, space, 0, **config.nas.get(method, {}))
    child = children.config_of_child(config)
    assert child.input.train_split.endswith("%]") and child.input.eval_split.endswith("%:]")
    assert {child.input.train_split[:5], child.input.eval_split[:5]} == {"train"}
    assert config.input.eval_split == "test"
    genotype = space.decode(space.draw(np.random.default_rng(0)))
    fields = {"genotype": as_text(genotype)}
    if space.network == "nasnet":
        fields["cells"] = 1  # enough, and traced in less time
    model = models.create(**{**child.model, **fields})
    image = jnp.zeros((1, *data.input_shape(child.input)))
    logits = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), image))[0]
    assert logits.shape == (1, 10)
    if config.nas.children == "compiled":
        supernet.of_config(child.model, config.nas.space.nodes, config.nas.space.operations)


def test_a_child_is_trained_by_smoothed_labels_and_a_key_of_its_own_each_step(monkeypatch):
    class Keys:
        """Leaves behind the key that augmentation was given."""

        num_classes = 3

        def apply(self, variables, images, terms, train, mutable):
            return jnp.array([[4.0, 0.0, 1.0]] * 2), {"batch_stats": images}

    def make_preprocess(config, train):
        return lambda key, images: jax.random.key_data(key)

    monkeypatch.setattr(data, "make_preprocess", make_preprocess)
    child = object.__new__(proxy.Proxy)
    unmixed = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0}
    child.config = ConfigDict({"input": unmixed, "label_smoothing": 0.3})
    child.model, child._tx = Keys(), optax.sgd(1.0)
    batch = {"image": None, "label": jnp.zeros(2, int)}

    def key(seed, step):
        now = TrainState(jnp.array(step), {}, {}, child._tx.init({}))
        after, loss = child._train_step(now, batch, None, jax.random.key(seed), np.inf)
        # -log p of logits 4, 0, 1 with targets 0.8, 0.1, 0.1 (arXiv:1512.00567, section 7)
        assert loss == pytest.approx(np.log(np.exp([4, 0, 1]).sum()) - (0.8 * 4 + 0.1 * 1))
        return tuple(np.asarray(after.batch_stats))

    assert len({key(seed, step) for seed in (0, 1) for step in (0, 1, 2)}) == 6


def test_parts_of_a_split_share_no_image():
    config = ConfigDict({"source": "digits", "train_split": "train[:80%]"})
    config.eval_split = "train[80%:]"
    parts = [data.open_source(config, train) for train in (True, False)]
    assert [len(part) for part in parts] == [1149, 288]
    both = np.concatenate([part.images for part in parts])
    config.train_split = "train"
    whole = data.open_source(config, True).images
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in whole)
    for split, message in (("train[:0%]", "is empty"), ("train[80]", "looks like train")):
        config.train_split = split
        with pytest.raises(ValueError, match=message):
            data.open_source(config, True)


TINY = (
    "--config.nas.space.nodes=1",
    "--config.nas.space.operations=('id','max')",
    "--config.nas.methods=('reinforce',)",
    "--config.nas.seeds=2",
    "--config.nas.asks=4",
    "--config.nas.batch=2",
    "--config.nas.proxy.total_steps=3",
    "--config.nas.proxy.model.filters=4",
    "--config.nas.proxy.model.stem_filters=4",
    "--config.nas.sharing.seeds=1",
    "--config.nas.sharing.rounds=2",
    "--config.nas.sharing.steps=3",
    "--config.nas.sharing.batches=2",
    "--config.nas.final.cells=()",
    "--config.nas.final.networks=()",
    "--config.nas.final.drawn=0",
    "--config.nas.final.seeds=1",
    "--config.nas.final.parameters=2000",
    "--config.total_steps=3",
)


@pytest.mark.slow
def test_a_whole_search_reports_and_its_genotype_trains(tmp_path, other_checkout):
    script = ["scripts/nas.py", "--config=configs/nas/digits.py", f"--workdir={tmp_path / 'nas'}"]
    other = {"PYTHONPATH": str(other_checkout)}  # of whose code none runs, also not in processes
    done = subprocess.run(**command(*script, *TINY, env=other))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "nas" / "report.md").read_text()
    for words in ("REINFORCE", "core-hours", "Spearman", "trained from scratch", "normal cell"):
        assert words in text
    figures = json.loads((tmp_path / "nas" / "report.json").read_text())
    assert {len(s) for s in figures["searches"]["reinforce"].values()} == {4}
    assert {one["group"] for one in figures["final"]} == {"reinforce", "sharing"}
    assert all(1000 < one["parameters"] < 3000 for one in figures["final"])

    again = subprocess.run(**command(*script, *TINY, "--report"))
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "nas" / "report.md").read_text() == text
    other = subprocess.run(**command(*script, *TINY, "--config.nas.batch=4"))
    assert other.returncode == 1
    assert "nas.batch was 2 and is 4" in other.stderr and "Traceback" not in other.stderr


@pytest.mark.slow
def test_children_of_any_space_are_runs_of_a_sweep(tmp_path):
    done = subprocess.run(
        **command(
            "scripts/nas.py",
            "--config=configs/nas/layers.py",
            f"--workdir={tmp_path}",
            "--config.nas.methods=('random',)",
            "--config.nas.asks=2",
            "--config.nas.space.layers=2",
            "--config.total_steps=2",
            "--config.nas.validation=20",
            "--config.nas.final.searches=0",
            "--config.nas.final.drawn=0",
            "--config.input.source=digits",
            "--config.input.image_size=8",
            "--config.input.mean=(0.3,)",
            "--config.input.std=(0.4,)",
        )
    )
    assert done.returncode == 0, done.stderr
    lines = files.read_jsonl(tmp_path / "children.jsonl")
    assert len(lines) == 2
    assert all(0 <= line["accuracy"] <= 1 and line["multiply_adds"] > 0 for line in lines)


def test_mistakes_are_told_in_one_line(tmp_path):
    for arguments, message in (
        (["--config=configs/digits.py"], "this config has no search"),
        (
            ["--config=configs/nas/digits.py", "--config.nas.methods=('bandit',)"],
            "unknown 'bandit'; choose among random, evolution, reinforce, ppo",
        ),
    ):
        done = subprocess.run(**command("scripts/nas.py", f"--workdir={tmp_path}", *arguments))
        assert done.returncode == 1
        assert message in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())  # nothing that would be in the way of the right command


@pytest.mark.parametrize(
    "field, value, right",
    [
        ("seeds", 0, "at least 1"),
        ("asks", -1, "at least 1"),
        ("validation", 100, "at least 1 and at most 99"),
        ("space.nodes", 0, "at least 1"),
        ("objective.exponent", float("nan"), "at least -100 and at most 100"),
        ("evolution.sample", 0, "at least 1"),
        ("ppo.clip", -0.2, "at least 0"),
        ("ppo.baseline", 1.5, "at least 0 and at most 1"),
        ("reinforce.learning_rate", float("inf"), "at least 0"),
        ("sharing.clip_norm", -1.0, "at least 0"),
        ("final.drawn", -1, "at least 0"),
        ("methods", (), "at least one, each once"),
        ("methods", ("ppo", "ppo"), "at least one, each once"),
    ],
)
def test_a_number_of_a_search_that_is_out_of_its_range_is_told(field, value, right):
    nas = importlib.import_module("configs.nas.digits").get_config().nas
    ranges.check(nas)
    nas.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=f"nas.{field} .*{right}"):
        ranges.check(nas)


def test_every_number_of_a_search_has_a_range():
    names = set()
    for name in ("digits", "layers"):
        nas = importlib.import_module(f"configs.nas.{name}").get_config().nas
        ranges.check(nas)
        flat = flatten_dict(nas.to_dict(), sep=".")
        names |= {f for f, x in flat.items() if type(x) in (int, float) and "proxy." not in f}
    assert names <= ranges.RANGES.keys()


def test_a_space_without_a_choice_is_told():
    for space, message in (
        ({"kind": "cells", "operations": ()}, "at least one operation"),
        ({"kind": "layers", "sides": ()}, "nas.space.sides is"),
        ({"kind": "layers", "filters": (24, 0)}, "nas.space.filters is"),
    ):
        with pytest.raises(ValueError, match=message):
            spaces.make(**space)


def test_what_one_compiled_network_cannot_do_is_told():
    def changed(**fields):
        config = importlib.import_module("configs.nas.digits").get_config()
        config.update_from_flattened_dict(fields)
        return config

    for fields, message in (
        ({"nas.space.combiners": ("add", "concat")}, "nas.children=runs"),
        ({"nas.space.operations": ("id", "sep9")}, "operation 'sep9': choose one of"),
        ({"model.dropout": 0.5}, "need model.dropout=0.0, not 0.5"),
        ({"nas.proxy.optimizer.weight_decay": 0.1}, "has no optimizer.weight_decay"),
    ):
        with pytest.raises(ValueError, match=message):
            children.check_compiled(changed(**fields))
    for fields, message in (
        ({"nas.children": "runs"}, "needs nas.children=compiled"),
        ({"nas.sharing.method": "random"}, "choose reinforce or ppo"),
        ({"nas.proxy.optimizer.schedule": "cosine"}, "needs a constant learning rate"),
    ):
        with pytest.raises(ValueError, match=message):
            children.check_sharing(changed(**fields))
    children.check_compiled(changed())
    children.check_sharing(changed())
    with pytest.raises(ValueError, match="set its cost"):
        loop.check_objective(changed(**{"nas.objective.exponent": -0.1}).nas.objective)
