"""A trained network as a program that needs neither this project nor Flax."""

import importlib
import logging
import os
import types
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

import data
from inference.trained import Trained
from models import layers

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo(run: Trained, preprocesses: bool = True) -> bytes:
    """Returns the network as StableHLO in the form of `jax.export`, weights and all, for each of PLATFORMS.

    The program maps images [N, eval_size, eval_size, channels] to float32 logits [N, num_classes], for
    any N. The images are uint8 where it `preprocesses`, which is to normalise them; else they are float32,
    normalised. It computes with JAX's own operations, not those that are fast in training on the CPU.
    """
    images = jax.ShapeDtypeStruct((*export.symbolic_shape("N"), *_shape(run)), _dtype(preprocesses))
    with layers.use_stock():
        logits = jax.jit(_logits(run, preprocesses))
        return bytes(export.export(logits, platforms=PLATFORMS)(images).serialize())


def onnx(run: Trained, preprocesses: bool = True) -> bytes:
    """Returns the network as an ONNX model from `images` to `logits`, see `stablehlo`.

    Raises:
      ValueError: jax2onnx is not installed.
    """
    jax2onnx = _library("jax2onnx", "onnx")
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of types that it leaves open
    images = types.SimpleNamespace(shape=("N", *_shape(run)), dtype=_dtype(preprocesses))
    with layers.use_stock(portable=True):
        model = jax2onnx.to_onnx(
            _logits(run, preprocesses), [images], input_names=["images"], output_names=["logits"]
        )
    del model.graph.value_info[:]  # some have the order of dimensions from before a transposition
    return model.SerializeToString()


def tflite(
    run: Trained,
    preprocesses: bool = True,
    examples: np.ndarray | None = None,
    number: int = 1,
) -> bytes:
    """Returns the network as a TFLite model, which takes a fixed number of images, see `stablehlo`.

    Args:
      run: the network.
      preprocesses: whether the images are uint8, and normalised by the model.
      examples: images [n, eval_size, eval_size, channels], uint8 or normalised, as the model takes them.
        Their values give the ranges of 8-bit integers with which the model then computes throughout.
      number: of the images that the model takes at a time.

    Raises:
      ValueError: TensorFlow is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it tells what it looks for and where
    tf = _library("tensorflow", "tflite")
    from jax.experimental import jax2tf

    integers = examples is not None
    dtype = np.float32 if integers else _dtype(preprocesses)
    images = tf.TensorSpec((number, *_shape(run)), dtype, name="images")
    with layers.use_stock(portable=True):
        logits = jax2tf.convert(_logits(run, preprocesses), with_gradient=False)
        program = tf.function(logits, autograph=False, input_signature=[images])
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [program.get_concrete_function()], program
        )
    if integers:
        examples = np.array(examples, np.float32)
        if preprocesses:  # a step of the integers is then a level, since the range is 0 to 255
            examples[0, 0, 0], examples[0, -1, -1] = 0, 255
            converter.inference_input_type = tf.uint8
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [examples[np.arange(i, i + number) % len(examples)]]
            for i in range(0, len(examples), number)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of what it does by itself
        return converter.convert()


def reader(program: bytes, format: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what a program of a format, the name of a function above, says: images [N, ...] to logits.

    It is run by what others run it by: jax.export, onnxruntime, LiteRT's interpreter.
    """
    if format == "stablehlo":
        return export.deserialize(bytearray(program)).call
    if format == "onnx":
        session = _library("onnxruntime", "onnx").InferenceSession(program)
        return lambda images: session.run(["logits"], {"images": np.asarray(images)})[0]
    litert = _library("ai_edge_litert.interpreter", "tflite")
    interpreter = (
        litert.Interpreter(  # by its own operations: XNNPACK refuses some networks of integers
            model_content=program,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    )
    interpreter.allocate_tensors()
    (taken,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()
    number = taken["shape"][0]

    def answer(images):
        missing = number - len(images)  # of the last ones
        fill = ((0, missing), (0, 0), (0, 0), (0, 0))
        interpreter.set_tensor(taken["index"], np.pad(images, fill))
        interpreter.invoke()
        return interpreter.get_tensor(logits["index"])[: len(images)]

    return lambda images: np.concatenate(
        [answer(images[i : i + number]) for i in range(0, len(images), number)]
    )


def largest_difference(run: Trained, answer: Callable, preprocesses: bool = True) -> float:
    """Returns how far the logits of a program are from the network's, on images of noise.

    Of 1 is a difference as large as the largest logit. `answer` is what `reader` returns.
    """
    shape = (3, *_shape(run))
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images = data.make_preprocess(run.config.input, train=False)(pixels)[0]
    expected = jax.jit(run.module.apply)(jax.device_get(run.variables), images)
    found = answer(pixels if preprocesses else images)
    return float(jnp.abs(found - expected).max() / jnp.abs(expected).max())


def _logits(run: Trained, preprocesses: bool) -> Callable:
    variables = run.variables
    if hasattr(run.module, "plain"):  # jax2onnx takes each convolution for a plain one
        variables = run.module.plain(variables)
    variables = jax.device_get(variables)
    normalise = data.make_preprocess(run.config.input, train=False)

    def logits(images):
        images = normalise(images)[0] if preprocesses else images
        return run.module.apply(variables, images, train=False)

    return logits


def _shape(run: Trained) -> tuple[int, int, int]:
    return data.eval_shape(run.config.input)


def _dtype(preprocesses: bool) -> np.dtype:
    return np.dtype(np.uint8 if preprocesses else np.float32)


def _library(name: str, extra: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{error}: pip install -e '.[{extra}]'") from error
