"""The layers of networks by the formulas of their papers, in NumPy and double precision."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.normalization import BatchNorm


def padded(x, kernel, stride, padding, fill):
    """Pads images [N, height, width, C]; None: half a kernel around, "SAME": as TensorFlow."""
    around = [(0, 0)]
    for size, side, step in zip(x.shape[1:3], kernel, stride, strict=True):
        if padding == "SAME":
            missing = max((-(-size // step) - 1) * step + side - size, 0)
            around.append((missing // 2, missing - missing // 2))
        elif padding == "ceil":  # Caffe's: the last window may hang over the edge
            missing = -(-(size - side) // step) * step + side - size
            around.append((0, missing))
        else:
            around.append((side // 2 if padding is None else padding,) * 2)
    return np.pad(x, [*around, (0, 0)], constant_values=fill)


def windows(x, kernel, stride, dilation=1):
    """Returns what a kernel sees at each place, [N, height', width', C, *kernel]."""
    reach = [dilation * (side - 1) + 1 for side in kernel]
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    return seen[:, :: stride[0], :: stride[1], :, ::dilation, ::dilation]


def pair(value):
    return (value, value) if isinstance(value, int) else value


def relu(x):
    return np.maximum(x, 0)


def max_pool(x, window, stride, padding=0):
    x = padded(x, pair(window), pair(stride), padding, -np.inf)
    return windows(x, pair(window), pair(stride)).max((-1, -2))


def average_pool(x, window, stride, padding=0, count_zeros=True):
    """The mean of each window; `count_zeros`: the padding is part of the window."""
    x = padded(x, pair(window), pair(stride), padding, 0.0 if count_zeros else np.nan)
    return np.nanmean(windows(x, pair(window), pair(stride)), axis=(-1, -2))


def response_norm(x, alpha, k, n=5, beta=0.75):
    """Of each channel i, with the sum over max(0, i - n/2) to min(C - 1, i + n/2) (AlexNet, 3.3)."""
    y = np.empty_like(x)
    for i in range(x.shape[-1]):
        neighbours = x[..., max(0, i - n // 2) : i + n // 2 + 1]
        y[..., i] = x[..., i] / (k + alpha * np.square(neighbours).sum(-1)) ** beta
    return y


class Run:
    """What a network of ours answers in training, with the weights it had and the coins it tossed.

    All variables are random, scales and biases, too. Dropout and drop path toss NumPy's coins. Coins
    and layers are kept in the order in which the network asked for them.
    """

    def __init__(self, module, images, monkeypatch, progress=1.0, largest_scale=1.5):
        random = np.random.default_rng(0)
        self.layers, self.coins = {nn.Conv: [], nn.Dense: [], BatchNorm: []}, []

        def draw(path, leaf):
            if path[-1].key == "kernel":
                values = random.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape)
            elif path[-1].key in ("scale", "var"):
                values = random.uniform(0.5, largest_scale, leaf.shape)
            else:
                values = random.normal(0, 0.3, leaf.shape)
            return values.astype(leaf.dtype)

        def toss(key, p, shape):
            self.coins.append((float(p), random.random(shape) < p))
            return jnp.asarray(self.coins[-1][1])

        def note(call, args, kwargs, context):
            if type(context.module) in self.layers and context.method_name == "__call__":
                self.layers[type(context.module)].append(context.module.path)
            return call(*args, **kwargs)

        def forward(variables, images):
            with nn.intercept_methods(note):
                return module.apply(
                    variables | {"schedule": {"progress": progress}},
                    images,
                    train=True,
                    mutable=["batch_stats", "intermediates", "aux_logits"],
                    rngs={"dropout": jax.random.key(0)},
                )

        shapes = jax.eval_shape(module.init, jax.random.key(0), images)
        shapes = {name: shapes[name] for name in ("params", "batch_stats") if name in shapes}
        self.variables = jax.tree.map_with_path(draw, shapes)
        with monkeypatch.context() as patch:
            patch.setattr(jax.random, "bernoulli", toss)
            logits, updates = jax.jit(forward)(self.variables, images)
        heads = {name: sown["logits"][0] for name, sown in updates.get("aux_logits", {}).items()}
        self.maps = updates["intermediates"]["features"] | heads | {"logits": logits}
        self.statistics = updates.get("batch_stats", {})


class Reference:
    """Layers in NumPy, which take their weights and coins from a `Run`, in its order of each kind."""

    def __init__(self, run: Run):
        self.run, self.maps, self.statistics = run, {}, []
        self.layers = {kind: iter(paths) for kind, paths in run.layers.items()}
        self.coins = iter(run.coins)

    def take(self, kind):
        path = next(self.layers[kind])
        return path, {
            name: np.float64(value)
            for tree in self.run.variables.values()
            for name, value in leaves(tree, path).items()
        }

    def conv(
        self, x, features, kernel, stride=1, padding=None, groups=1, dilation=1, change=np.asarray
    ):
        """`change`: what is done to the kernel first."""
        kernel, stride = pair(kernel), pair(stride)
        _, weights = self.take(nn.Conv)
        assert weights["kernel"].shape == (*kernel, x.shape[-1] // groups, features)
        reach = [dilation * (side - 1) + 1 for side in kernel]
        x = padded(x, reach, stride, padding, 0.0)
        y = [
            np.tensordot(windows(part, kernel, stride, dilation), weight, ((3, 4, 5), (2, 0, 1)))
            for part, weight in zip(
                np.split(x, groups, -1),
                np.split(change(weights["kernel"]), groups, -1),
                strict=True,
            )
        ]
        return np.concatenate(y, axis=-1) + weights.get("bias", 0.0)

    def dense(self, x, features):
        _, weights = self.take(nn.Dense)
        assert weights["kernel"].shape == (x.shape[-1], features)
        return x @ weights["kernel"] + weights["bias"]

    def norm(self, x, epsilon=1e-5, momentum=0.9):
        """By the mean and the variance of the batch; the running ones follow (arXiv:1502.03167)."""
        path, weights = self.take(BatchNorm)
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        for name, value in (("mean", mean), ("var", var)):
            running = momentum * weights[name] + (1 - momentum) * value
            self.statistics.append((leaves(self.run.statistics, path)[name], running))
        return (x - mean) / np.sqrt(var + epsilon) * weights["scale"] + weights["bias"]

    def drop(self, x, rate, whole_images=False):
        """Zeroes a share of the values, or of the images, and divides the others by the rest."""
        if rate == 0:
            return x
        keep, kept = next(self.coins, (None, None))
        assert keep == pytest.approx(1 - rate)
        assert kept.shape == ((len(x), 1, 1, 1) if whole_images else x.shape)
        return x * kept / (1 - rate)

    def see(self, name, x):
        """Notes x as what the network calls `name`, and returns it."""
        self.maps[name] = x
        return x

    def compare(self):
        """All layers and coins are used, and the maps and running statistics are those of the run."""
        left = [*self.coins, *(path for paths in self.layers.values() for path in paths)]
        assert not left, f"not in the reference: {left}"
        assert self.maps.keys() == self.run.maps.keys()
        for name, expected in self.maps.items():
            close(self.run.maps[name], expected, name)
        for found, expected in self.statistics:
            close(found, expected, "running statistics")


def leaves(tree, path):
    for name in path:
        tree = tree.get(name, {})
    return tree


def close(found, expected, name, tolerance=1e-4):
    assert found.shape == expected.shape, name
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=name
    )
