"""What training makes small: losses of logits beside the probabilities that a network should answer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data.messages import one_of

LOSSES = ("softmax", "bce")
Loss = Callable[[jax.Array, jax.Array], jax.Array]  # (logits, targets), [N, classes] each


def softmax(logits, targets):
    """Returns the mean cross-entropy of the softmax."""
    return optax.softmax_cross_entropy(logits, targets).mean()


def make(config, num_classes: int, labels=None) -> Loss:
    """Returns the loss of a config, a mean over the images.

    Args:
      config: whole; its fields `loss`, `bce_threshold`, `bce_sum`, `class_weights` and `label_smoothing`.
      num_classes: of the network.
      labels: of the images to train on, [N], for class weights that balance them; None: not known.

    Raises:
      ValueError: there is no such loss, or its fields do not fit each other or the classes.
    """
    one_of("loss", config.loss, LOSSES)
    weights = config.class_weights
    if weights == ("balanced",):
        weights = balanced(num_classes, labels)
    if weights and len(weights) != num_classes:
        raise ValueError(
            f"class_weights has {len(weights)} numbers, and there are {num_classes} classes: "
            "give one a class, in the order of the classes, balanced, or () for none"
        )
    if config.loss == "bce":
        return binary(num_classes, config, weights)
    return weighted_softmax(weights, config.label_smoothing) if weights else softmax


def balanced(num_classes: int, labels) -> tuple[float, ...]:
    """Returns n / (classes * n_c) for each class c with n_c of the n labels, as scikit-learn's "balanced".

    A class without an image weighs as one with a single image.

    Raises:
      ValueError: the labels are not known.
    """
    if labels is None:
        raise ValueError(
            "class_weights=balanced needs the labels of all images, which a set of TFDS tells with the images "
            "alone: give a number for each class"
        )
    counts = np.bincount(labels, minlength=num_classes)
    return tuple(len(labels) / (num_classes * np.maximum(counts, 1)))


def weighted_softmax(weights: tuple[float, ...], label_smoothing: float) -> Loss:
    """Returns `softmax` with a weight a class, as torch.nn.CrossEntropyLoss(weight, label_smoothing=...).

    It is divided by the weights of the labels, without smoothing. An image of two classes, mixed,
    weighs as much as its parts.
    """
    by_class = jnp.array(weights, jnp.float32)

    def loss(logits, targets):
        of_images = -jnp.sum(by_class * targets * jax.nn.log_softmax(logits), axis=-1)
        of_labels = (targets @ by_class - label_smoothing * by_class.mean()) / (1 - label_smoothing)
        return of_images.sum() / of_labels.sum()

    return loss


def binary(num_classes: int, config, class_weights: tuple[float, ...] = ()) -> Loss:
    """Returns the cross-entropy of a sigmoid a class (arXiv:2110.00476).

    Targets above `bce_threshold` count as 1, others as 0, so that an image mixed of two has both classes;
    at 1 they count as what they are. It is the mean over the classes, or with `bce_sum` their sum, as
    timm's BinaryCrossEntropy. `class_weights` multiply what each class adds.

    Raises:
      ValueError: with this label smoothing all targets are on one side of the threshold.
    """
    threshold, smoothing = config.bce_threshold, config.label_smoothing
    others = smoothing / num_classes
    if threshold < 1 and not others <= threshold < 1 - smoothing + others:
        raise ValueError(
            f"bce_threshold {threshold} does not lie between the targets of label_smoothing {smoothing}, "
            f"{others:.3g} and {1 - smoothing + others:.3g}: set label_smoothing=0, bce_threshold=0.2, or 1 "
            "for targets as they are"
        )
    weights = jnp.array(class_weights or (1.0,), jnp.float32)
    reduce = jnp.sum if config.bce_sum else jnp.mean

    def loss(logits, targets):
        if threshold < 1:
            targets = (targets > threshold).astype(targets.dtype)
        return reduce(weights * optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1).mean()

    return loss
