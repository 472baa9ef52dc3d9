"""The networks are those of the papers: their sizes, their fields, their answers."""

import jax
import jax.numpy as jnp
import pytest

import analysis
import models

# depth: parameters, multiply-adds with the stride in the 1x1, in the 3x3 (arXiv:1512.03385, table 1)
BOTTLENECK = {
    50: (25_557_032, 3_857_973_248, 4_089_184_256),
    101: (44_549_160, 7_570_194_432, 7_801_405_440),
    152: (60_192_808, 11_282_415_616, 11_513_626_624),
}
BASIC = {
    (18, "A"): (11_515_688, 1_794_805_760),
    (18, "B"): (11_689_512, 1_814_073_344),
    (18, "C"): (12_043_816, 1_878_298_624),
    (34, "A"): (21_623_848, 3_644_493_824),
    (34, "B"): (21_797_672, 3_663_761_408),
    (34, "C"): (22_716_840, 3_830_747_136),
}
CIFAR = {
    (20, "A"): (269_722, 40_551_040),
    (32, "A"): (464_154, 68_862_592),
    (44, "A"): (658_586, 97_174_144),
    (56, "A"): (853_018, 125_485_696),
    (110, "A"): (1_727_962, 252_887_680),
    (20, "B"): (272_474, 40_813_184),
    (32, "B"): (466_906, 69_124_736),
    (44, "B"): (661_338, 97_436_288),
    (56, "B"): (855_770, 125_747_840),
    (110, "B"): (1_730_714, 253_149_824),
}


def size(shape, **fields):
    count = analysis.count(models.create("resnet", **fields), shape)
    return count.parameters, count.multiply_adds


@pytest.mark.parametrize("depth", BOTTLENECK)
def test_bottleneck_networks_have_the_published_size(depth):
    parameters, in_1x1, in_3x3 = BOTTLENECK[depth]
    imagenet = {"shape": (224, 224, 3), "num_classes": 1000, "depth": depth}
    assert size(**imagenet, bottleneck_stride="1x1") == (parameters, in_1x1)
    assert size(**imagenet, bottleneck_stride="3x3") == (parameters, in_3x3)


@pytest.mark.parametrize("depth, shortcut", BASIC)
def test_basic_networks_have_the_published_size(depth, shortcut):
    fields = {"num_classes": 1000, "depth": depth, "shortcut": shortcut}
    assert size((224, 224, 3), **fields) == BASIC[depth, shortcut]


@pytest.mark.parametrize("depth, shortcut", CIFAR)
def test_cifar_networks_have_the_published_size(depth, shortcut):
    fields = {"num_classes": 10, "depth": depth, "shortcut": shortcut, "layout": "cifar"}
    assert size((32, 32, 3), **fields) == CIFAR[depth, shortcut]


@pytest.mark.parametrize("layout, depth, side", [("cifar", 56, 32), ("imagenet", 34, 224)])
def test_a_plain_network_is_as_large_as_the_residual_one_with_shortcut_a(layout, depth, side):
    fields = {"num_classes": 10, "layout": layout, "depth": depth, "shortcut": "A"}
    plain = size((side, side, 3), **fields, residual=False)
    assert plain == size((side, side, 3), **fields)


def test_counts_per_layer_add_up():
    count = analysis.count(models.create("resnet", num_classes=10, depth=18), (64, 64, 3))
    stem = count.layers[0]
    assert (stem.path, stem.parameters) == ("Conv_0", 7 * 7 * 3 * 64)
    assert stem.activations == 32 * 32 * 64
    assert stem.multiply_adds == 32 * 32 * 64 * 7 * 7 * 3
    assert {layer.path for layer in count.layers} >= {"BasicBlock_7/Conv_1", "Dense_0"}


def network(**fields):
    model = models.create("resnet", **{"num_classes": 10, "depth": 8, "layout": "cifar"} | fields)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parameters_statistics_and_logits_are_float32_whatever_the_computation(dtype):
    model, variables = network(dtype=dtype)
    logits, updates = jax.eval_shape(
        lambda x: model.apply(variables, x, train=True, mutable=["batch_stats"]),
        jnp.ones((4, 8, 8, 3)),
    )
    assert logits.shape == (4, 10)
    assert {x.dtype for x in jax.tree.leaves((logits, variables, updates))} == {
        jnp.dtype("float32")
    }


def test_bfloat16_computes_in_bfloat16_and_answers_nearly_alike():
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    model, variables = network()
    low, _ = network(dtype="bfloat16")
    kernels = [
        eqn.invars[1].aval.dtype
        for eqn in jax.make_jaxpr(lambda v: low.apply(v, x))(variables).jaxpr.eqns
        if eqn.primitive.name == "conv_general_dilated"
    ]
    assert set(kernels) == {jnp.dtype("bfloat16")}
    difference = jnp.abs(low.apply(variables, x) - model.apply(variables, x)).max()
    assert 0 < difference < 0.2


def test_zero_init_makes_each_block_start_as_its_shortcut():
    x = jnp.abs(jax.random.normal(jax.random.key(1), (2, 8, 8, 3)))
    model, variables = network(zero_init_last=True, shortcut="A", depth=8)
    shallow = jax.nn.relu(
        model.apply(
            variables, x, capture_intermediates=lambda m, _: m.name == "BatchNorm_0", mutable=True
        )[1]["intermediates"]["BatchNorm_0"]["__call__"][0]
    )
    expected = shallow[:, ::4, ::4].mean((1, 2))  # two subsampling shortcuts, then the mean
    dense = variables["params"]["Dense_0"]
    logits = expected @ dense["kernel"][:16] + dense["bias"]
    assert jnp.allclose(model.apply(variables, x), logits, atol=1e-5)


def test_zero_init_leaves_plain_networks_alone():
    model, variables = network(zero_init_last=True, residual=False)
    assert jnp.abs(model.apply(variables, jnp.ones((1, 8, 8, 3)))).max() > 0


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"name": "resnot"}, "available: .*resnet"),
        ({"name": "resnet", "dpeth": 50}, "'dpeth'.*depth"),
    ],
)
def test_a_wrong_name_or_field_is_answered_with_the_right_ones(fields, message):
    with pytest.raises(ValueError, match=message):
        models.create(num_classes=10, **fields)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"depth": 19, "layout": "imagenet"}, "18, 34, 50, 101, 152"),
        ({"depth": 21}, "6n . 2"),
        ({"shortcut": "D"}, "A, B, C"),
        ({"layout": "mnist"}, "imagenet, cifar"),
        ({"bottleneck_stride": "5x5"}, "1x1, 3x3"),
    ],
)
def test_an_option_that_the_paper_does_not_have_is_answered_with_those_it_has(fields, message):
    with pytest.raises(ValueError, match=message):
        network(**fields)
