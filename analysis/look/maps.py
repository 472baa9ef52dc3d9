"""What a trained network computes on its way to an answer: filters, feature maps, and where its evidence lies."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import models


def first_filters(module: nn.Module, variables, image_shape) -> np.ndarray:
    """Returns the kernel of the first convolution, [height, width, channels of the images, filters].

    Args:
      module: from `models.create`.
      variables: its parameters and BatchNorm statistics.
      image_shape: (height, width, channels).
    """
    paths = []

    def note(layer, arguments, named, context):
        if isinstance(context.module, nn.Conv):
            paths.append(context.module.path)
        return layer(*arguments, **named)

    with nn.intercept_methods(note):
        jax.eval_shape(module.apply, variables, _image(image_shape))
    params = variables["params"]
    for name in paths[0]:
        params = params[name]
    return np.asarray(params["kernel"])


def shapes(module: nn.Module, variables, image_shape) -> dict[str, tuple[int, int, int]]:
    """Returns (height, width, channels) of each feature map by name, from the image to the answer."""
    found = {}

    def note(variables, image):  # in here; what jax hands out is sorted by name
        maps = models.features(module, variables, image)
        found.update({name: x.shape[1:] for name, x in maps.items() if x.ndim == 4})

    jax.eval_shape(note, variables, _image(image_shape))
    return found


def class_activation(map_, variables, classes):
    """Returns what each place of the last feature map says for a class, [N, height, width], in logits.

    Their mean, and the bias of the class, is its logit (Zhou et al. 2016, arXiv:1512.04150, section 2).

    Args:
      map_: the last feature map of a network that `averages`, [N, height, width, channels].
      variables: parameters of the network.
      classes: int [N], the class of each image.
    """
    weights = variables["params"]["fc"]["kernel"][:, classes]
    return jnp.einsum("nhwk,kn->nhw", map_.astype(jnp.float32), weights)


def averages(variables) -> bool:
    """Whether a network ends in global average pooling and one linear layer, which all of these call "fc"."""
    return "fc" in variables["params"]


def grad_cam(map_, slopes):
    """Returns where a feature map speaks for a class, [N, height, width], at least 0, in no unit.

    Each channel counts by the mean of the gradient of the logit by it (Selvaraju et al. 2017,
    arXiv:1610.02391, section 3). For the last map of a network that `averages`, it is
    `class_activation` without what is below 0, divided by the number of places.

    Args:
      map_: a feature map, [N, height, width, channels].
      slopes: the gradient by it of the logit of a class, see `models.backward`, of the same shape.
    """
    weights = slopes.astype(jnp.float32).mean((1, 2), keepdims=True)
    return jax.nn.relu((weights * map_.astype(jnp.float32)).sum(-1))


def _image(shape):
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)
