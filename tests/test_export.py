"""A written program answers as the network does, anywhere, for any number of images."""

import dataclasses
import json
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import command, few_digits
from jax import export as jax_export
from ml_collections import ConfigDict
from test_models import TINY, tiny, variables_of

import inference
import train
from inference import export
from models.layers import convolution
from training import sharding
from training.state import TrainState


def trained(name):
    """Returns a network of a family with random weights, as a run would have it."""
    module, images = tiny(name)
    variables = variables_of(module, images)
    config = ConfigDict({"input": few_digits().input, "model": {"num_classes": 5}})
    side = images.shape[1]
    config.input.update(image_size=side, resize=side, mean=(0.5,) * 3, std=(0.2,) * 3)
    state = TrainState(
        jnp.zeros((), int), variables["params"], variables.get("batch_stats", {}), {}
    )
    return inference.Trained(config, module, state, {}, sharding.make_mesh(jax.devices()[:1]))


def other_weights(run):
    params = jax.tree.map(lambda w: w * 0.9, run.state.params)
    return dataclasses.replace(run, state=run.state.replace(params=params))


def written(run, kind, preprocesses, monkeypatch):
    """Returns the program; our own convolutions fail meanwhile."""
    with monkeypatch.context() as patched:
        patched.setattr(convolution, "_convolve", None)
        return getattr(export, kind)(run, preprocesses)


def difference(run, program, kind, preprocesses):
    return export.largest_difference(run, export.reader(program, kind), preprocesses)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "resnet" else pytest.mark.slow) for n in TINY]
)
def test_a_program_answers_as_the_network_and_has_no_convolution_of_ours(name, monkeypatch):
    run = trained(name)
    preprocesses = name == "resnet"  # the normalisation is that of all
    program = written(run, "stablehlo", preprocesses, monkeypatch)
    assert difference(run, program, "stablehlo", preprocesses) < 1e-5
    exported = jax_export.deserialize(bytearray(program))
    assert exported.platforms == export.PLATFORMS
    calls = set(re.findall(r"custom_call @(\w+)", exported.mlir_module()))
    assert calls <= {"shape_assertion"}  # jax.export's own, of N
    assert exported.call(
        np.zeros((7, *exported.in_avals[0].shape[1:]), exported.in_avals[0].dtype)
    ).shape == (7, 5)
    assert difference(other_weights(run), program, "stablehlo", preprocesses) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_an_onnx_model_answers_as_the_network(name, monkeypatch):
    pytest.importorskip("jax2onnx", reason="pip install -e '.[onnx]'")
    onnxruntime = pytest.importorskip("onnxruntime")
    run = trained(name)
    preprocesses = name == "resnet"
    program = written(run, "onnx", preprocesses, monkeypatch)
    assert difference(run, program, "onnx", preprocesses) < 1e-4
    assert difference(other_weights(run), program, "onnx", preprocesses) > 1e-3
    (images,) = onnxruntime.InferenceSession(program).get_inputs()
    assert images.shape[0] == "N"
    assert images.type == ("tensor(uint8)" if preprocesses else "tensor(float)")
    pixels = np.zeros((7, *images.shape[1:]), np.uint8 if preprocesses else np.float32)
    assert export.reader(program, "onnx")(pixels).shape == (7, 5)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # TensorFlow's own
@pytest.mark.parametrize("name", TINY)
def test_a_tflite_model_answers_as_the_network(name, monkeypatch):
    pytest.importorskip("tensorflow", reason="pip install -e '.[tflite]'")
    pytest.importorskip("ai_edge_litert", reason="pip install -e '.[tflite]'")
    run = trained(name)
    preprocesses = name == "resnet"
    program = written(run, "tflite", preprocesses, monkeypatch)
    assert difference(run, program, "tflite", preprocesses) < 1e-4
    assert difference(other_weights(run), program, "tflite", preprocesses) > 1e-3


@pytest.mark.slow
def test_integers_answer_as_the_network_and_take_pixels_as_they_are():
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    pytest.importorskip("tensorflow")
    run = trained("shufflenet")  # it has every kind of pooling and padding
    random = np.random.default_rng(0)
    pixels = random.integers(20, 200, (20, 32, 32, 3), np.uint8)
    program = export.tflite(run, True, pixels, number=8)  # of the last ones, four are none
    read = interpreter.Interpreter(model_content=program)
    (images,), operations = read.get_input_details(), read._get_ops_details()
    assert list(images["shape"]) == [8, 32, 32, 3] and images["dtype"] == np.uint8
    assert images["quantization"] == (1.0, 0)
    floats = export.reader(export.tflite(run), "tflite")(pixels)
    integers = export.reader(program, "tflite")(pixels)
    assert np.abs(integers - floats).mean() < 0.1 * np.abs(floats).max()
    assert np.corrcoef(integers.ravel(), floats.ravel())[0, 1] > 0.9
    assert sum(one["op_name"] == "DEQUANTIZE" for one in operations) == 1  # of the logits


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_missing_package_is_named_with_its_extra(format, monkeypatch):
    for package in ("jax2onnx", "tensorflow"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"pip install -e '.\[{format}\]'"):
        getattr(export, format)(trained("resnet"))


@pytest.mark.slow
def test_the_command_writes_a_program_and_the_names_of_its_logits(tmp_path):
    config = few_digits()
    train.train(config, tmp_path)
    done = subprocess.run(**command("scripts/export.py", f"--workdir={tmp_path}"))
    assert done.returncode == 0, done.stderr
    assert "uint8 [N, 8, 8, 1] to logits [N, 10]" in done.stdout
    program = jax_export.deserialize(
        bytearray((tmp_path / "export" / "network.stablehlo").read_bytes())
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    expected = inference.load(tmp_path).predict(list(images))
    np.testing.assert_allclose(jax.nn.softmax(program.call(images)), expected, atol=1e-5)
    names = json.loads((tmp_path / "export" / "classes.json").read_text())
    assert names == [str(i) for i in range(10)]
