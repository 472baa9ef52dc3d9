"""Weights of PyTorch's networks give PyTorch's answers."""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import record_parity

import models
from models.torch import weights as torch_weights

PARITY = json.loads(record_parity.FILE.read_text())
QUICK = ("torchvision/resnet18", "pytorchcv/preresnet20_cifar10")


SHAPES = {}  # of each network once, which several libraries have


def description(name, num_classes=1000):
    """Returns the module, the layers, and the shapes of the variables of a PyTorch network."""
    ours, fields, layers = torch_weights.describe(name)
    module = models.create(ours, num_classes=num_classes, **fields)
    if repr(module) not in SHAPES:
        SHAPES[repr(module)] = models.shapes(module, (224, 224, 3))
    return module, layers, SHAPES[repr(module)]


def classes(name):
    return {"cifar10": 10, "svhn": 10, "cifar100": 100}.get(name.rpartition("_")[2], 1000)


def weights(name, num_classes=1000):
    _, layers, shapes = description(name, num_classes)
    names = torch_weights.torch_names(layers, shapes)
    return {key: record_parity.tensor(key, shape) for key, shape in names.items()}


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in PARITY["logits"]
    ],
)
def test_the_answers_are_those_of_pytorch(name):
    recorded = PARITY["logits"][name]
    module, variables = models.load_torch(name, weights(name, len(recorded["logits"][0])))
    x = record_parity.images(recorded["shape"]).transpose(0, 2, 3, 1)
    logits, aux = jax.jit(lambda v, x: module.apply(v, x, mutable=["aux_logits"]))(variables, x)
    answers = {"logits": logits} | {k: v["logits"][0] for k, v in aux.get("aux_logits", {}).items()}
    assert set(answers) == set(recorded) - {"shape"}
    for key, answer in answers.items():
        expected = np.array(recorded[key])
        assert np.abs(answer - expected).max() < 1e-4 * np.abs(expected).max(), key


@pytest.mark.parametrize("architecture", models.available())
def test_each_architecture_is_compared_with_another_implementation(architecture):
    compared = {torch_weights.describe(name)[0] for name in PARITY["logits"]}
    numpys = (pathlib.Path(__file__).parent / "test_blocks.py").read_text("utf-8")
    assert architecture in compared or f'"{architecture}"' in numpys, (
        f"nothing says that models/{architecture}.py computes what its paper says: write its blocks in "
        "NumPy in tests/test_blocks.py; or, where PyTorch has it, its names in models/torch/ and itself "
        "into RUN of tests/record_parity.py"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", PARITY["names"])
def test_names_and_sizes_are_those_of_pytorch(name):
    _, layers, shapes = description(name, classes(name))
    sizes = {k: math.prod(s) for k, s in torch_weights.torch_names(layers, shapes).items()}
    assert record_parity.digest(sizes) == PARITY["names"][name]["digest"]
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
    assert parameters == PARITY["names"][name]["parameters"]


@pytest.mark.parametrize("depth, tensors", [(20, 97), (32, 157), (110, 547)])
def test_cifar_networks_have_the_names_of_akamaster(depth, tensors):
    module, variables = models.load_torch(f"akamaster/resnet{depth}", weights_of_cifar(depth))
    _, layers, shapes = description(f"akamaster/resnet{depth}", 10)
    assert len(torch_weights.torch_names(layers, shapes)) == tensors
    assert (module.shortcut, module.shortcut_zeros, module.num_classes) == ("A", "around", 10)
    logits = jax.eval_shape(module.apply, variables, jnp.zeros((2, 32, 32, 3)))
    assert logits.shape == (2, 10)


def weights_of_cifar(depth):
    return {f"module.{k}": v for k, v in weights(f"akamaster/resnet{depth}", 10).items()}


def test_the_classifier_has_as_many_classes_as_the_weights():
    module, variables = models.load_torch(
        "torchvision/shufflenet_v2_x0_5",
        shufflenet := weights("torchvision/shufflenet_v2_x0_5", num_classes=7),
    )
    assert module.num_classes == 7
    np.testing.assert_array_equal(variables["params"]["fc"]["bias"], shufflenet["fc.bias"])


def test_googlenet_comes_without_auxiliary_heads_where_the_weights_have_none():
    state = {k: v for k, v in weights("torchvision/googlenet").items() if not k.startswith("aux")}
    module, variables = models.load_torch("torchvision/googlenet", state)
    assert not module.aux_heads
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 6_624_904


NAMES = ("conv1.weight", "layer1.0.conv1.weight", "linear.weight")
_, _, LAYERS = torch_weights.describe("akamaster/resnet20")


def canonical(names):
    """Returns which of `names` gets which name."""
    return torch_weights.canonical(LAYERS, {name: name for name in names})


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.module.",
        "model.",
        "net.",
        "model._orig_mod.",
        "_forward_module.model.module.",
        "_fsdp_wrapped_module._checkpoint_wrapped_module.",
        "algorithm.model.backbone.",
    ],
)
def test_what_wrappers_put_before_all_names_is_dropped(prefix):
    assert canonical(prefix + name for name in NAMES) == {name: prefix + name for name in NAMES}


def test_a_wrapper_is_dropped_within_names():
    given = [
        "module.conv1.weight",
        "layer1._fsdp_wrapped_module.0._checkpoint_wrapped_module._orig_mod.conv1.weight",
        "linear.module.weight",
    ]
    assert canonical(given) == dict(zip(NAMES, given, strict=True))


def test_what_lies_beside_a_network_is_left_out_but_not_what_lies_in_it():
    beside, within = "acc.correct", "conv9.weight"
    assert list(canonical([*(f"net.{n}" for n in NAMES), f"net.{within}", beside])) == [
        *NAMES,
        within,
    ]
    assert list(canonical([*NAMES, beside])) == [*NAMES, beside]


def test_a_name_of_the_network_itself_is_no_prefix():
    layers = [("model.conv1", "conv1", 1), ("linear", "fc", 1)]
    state = {"model.conv1.weight": 1, "linear.weight": 2}
    assert torch_weights.canonical(layers, state) == state


def test_weights_of_several_networks_are_refused():
    both = [prefix + name for prefix in ("encoder_q.", "encoder_k.") for name in NAMES]
    with pytest.raises(ValueError, match=r"several networks: encoder_q\., encoder_k\."):
        canonical(both)
    with pytest.raises(ValueError, match=r"two weights are one: linear.weight and module.linear"):
        canonical([*NAMES, "module.linear.weight"])


def test_old_names_of_densenet_are_understood():
    state = weights("torchvision/densenet121")
    old = {k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for k, v in state.items()}
    assert old.keys() != state.keys()
    _, variables = models.load_torch("torchvision/densenet121", old)
    jax.tree.map(
        np.testing.assert_array_equal,
        variables,
        models.load_torch("torchvision/densenet121", state)[1],
    )


@pytest.fixture(scope="module")
def resnet18():
    return weights("torchvision/resnet18")


def test_a_tensor_that_is_missing_left_over_or_of_another_shape_is_named(resnet18):
    def load(state):
        models.load_torch("torchvision/resnet18", state)

    without = {k: v for k, v in resnet18.items() if k != "layer1.0.bn1.running_var"}
    with pytest.raises(ValueError, match=r"missing: layer1\.0\.bn1\.running_var"):
        load(without)
    with pytest.raises(ValueError, match="missing: fc.weight"):
        load({k: v for k, v in resnet18.items() if k != "fc.weight"})
    with pytest.raises(ValueError, match="missing: fc.weight"):
        load(resnet18 | {"fc.weight": np.array(7)})
    with pytest.raises(ValueError, match="left over: layer5.0.conv1.weight"):
        load(resnet18 | {"layer5.0.conv1.weight": np.zeros(3)})
    wrong = resnet18 | {"conv1.weight": np.zeros((64, 1, 7, 7))}
    with pytest.raises(ValueError, match=r"conv1.weight is \(64, 1, 7, 7\), not \(64, 3, 7, 7\)"):
        load(wrong)
    with pytest.raises(ValueError) as caught:
        load(resnet18 | {"\x1b[2J" + "k" * 10_000: np.zeros(3)})
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    load(resnet18 | {"bn1.num_batches_tracked": np.array(7), "n_averaged": np.array(7)})


@pytest.mark.parametrize(
    "name, meant",
    [
        ("resnet50", "torchvision/resnet50 or timm/resnet50 or pytorchcv/resnet50"),
        ("torchvision/resnet51", "torchvision/resnet50"),
        ("timm/resnet50d", "timm/resnet50"), ("x/vgg11", "torchvision/vgg11"),
        ("pytorchcv/resnet164_cifar10", "pytorchcv/resnet164bn_cifar10"),
        ("pytorchcv/mobilenet_wd8", "pytorchcv/mobilenet_w"),
        ("timm/alexnet", "torchvision/alexnet"), ("", ""), ("pytorchcv/resnet26", ""), ("pytorchcv/resnet18b", ""),
        ("pytorchcv/shufflenet_g5_w1", ""), ("torchvision/zfnet", "pytorchcv/zfnet"),
        ("timm/efficientnet_b0", "; `python scripts/import_torch.py --list`"),
    ],
)  # fmt: skip
def test_an_unknown_network_is_answered_with_those_that_may_be_meant(name, meant, resnet18):
    with pytest.raises(ValueError, match="unknown network .*import_torch.py --list") as raised:
        models.load_torch(name, resnet18)
    assert meant in str(raised.value)
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize(
    "name, size, resize, red",
    [
        ("torchvision/resnet50", 224, 256, 0.485),
        ("timm/nasnetalarge", 331, 363, 0.5),
        ("akamaster/resnet20", 32, 32, 0.485),
        ("pytorchcv/zfnet", 224, 256, 0.485),
        ("pytorchcv/nasnet_6a4032", 331, 379, 0.485),
        ("pytorchcv/resnet20_svhn", 32, 32, 0.4914),
    ],
)
def test_images_are_as_the_published_weights_want_them(name, size, resize, red):
    expected = torch_weights.preprocessing(name)
    assert (expected["image_size"], expected["resize"]) == (size, resize)
    assert expected["mean"][0] == red


def test_the_tag_of_timms_weights_is_dropped(resnet18):
    assert models.load_torch("timm/resnet18.a1_in1k", resnet18)[0].depth == 18
