"""GoogLeNet: Going Deeper with Convolutions (Szegedy et al., 2014), arXiv:1409.4842, table 1.

  form         parameters   with both auxiliary heads   multiply-adds (224 x 224, without heads)
  paper         6,998,552   13,378,280                  1,582,671,872
  batch_norm    7,005,832   13,385,816                  1,582,671,872
  torchvision   6,624,904   13,004,888                  1,498,376,192

"paper": biases, local response normalisation, dropout 0.4. "batch_norm": BatchNorm after each
convolution instead of biases and response normalisation (the modules are GoogLeNet's, not those of
BN-Inception). "torchvision", whose weights people use: BatchNorm, 3x3 kernels in the 5x5 branch (a slip
inherited from TF-slim), a last pooling of 2x2, auxiliary heads that average adaptively to 4x4; its
dropout is 0.2 (a field). The paper's table counts K as 1024 and misprints conv1's cost. How
the paper starts its weights is not printed: here He, or in the BatchNorm forms TF-slim's N(0, 0.01^2).
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from models import layers

# 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class ConvReLU(nn.Module):
    """Convolution, BatchNorm in the forms that have it, ReLU."""

    features: int
    kernel: int
    stride: int = 1
    norm: Callable | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x):
        init = nn.initializers.truncated_normal(0.01) if self.norm else layers.HE_FAN_IN
        x = layers.conv(
            self.features,
            self.kernel,
            self.stride,
            use_bias=self.norm is None,
            kernel_init=init,
            dtype=self.dtype,
            name="conv",
        )(x)
        return layers.relu(self.norm(name="bn")(x) if self.norm else x)


class Inception(nn.Module):
    """1x1 | 1x1, 3x3 | 1x1, 5x5 | 3x3 max pooling, 1x1; concatenated in this order (figure 2b)."""

    widths: tuple[int, ...]
    conv: Callable
    kernel_5x5: int

    @nn.compact
    def __call__(self, x):
        one, reduce_3x3, three, reduce_5x5, five, projection = self.widths
        branch_1x1 = self.conv(one, 1, name="1x1")(x)
        branch_3x3 = self.conv(reduce_3x3, 1, name="3x3_reduce")(x)
        branch_3x3 = self.conv(three, 3, name="3x3")(branch_3x3)
        branch_5x5 = self.conv(reduce_5x5, 1, name="5x5_reduce")(x)
        branch_5x5 = self.conv(five, self.kernel_5x5, name="5x5")(branch_5x5)
        pooled = layers.max_pool(x, (3, 3), padding=((1, 1), (1, 1)))
        pooled = self.conv(projection, 1, name="pool_proj")(pooled)
        return jnp.concatenate([branch_1x1, branch_3x3, branch_5x5, pooled], axis=-1)


class AuxiliaryHead(nn.Module):
    """5x5 average pooling with stride 3, 1x1 to 128, fc 1024, dropout 0.7, fc (section 5).

    Sows its logits.
    """

    num_classes: int
    adaptive: bool
    conv: Callable
    dtype: str

    @nn.compact
    def __call__(self, x, train: bool):
        if self.adaptive:
            x = layers.adaptive_average_pool(x, 4)
        else:
            window = tuple(min(5, side) for side in x.shape[1:3])  # on maps of small images
            x = layers.avg_pool(x, window, strides=(3, 3))
        x = self.conv(128, 1, name="conv")(x)
        x = layers.relu(nn.Dense(1024, dtype=self.dtype, name="fc1")(x.reshape(len(x), -1)))
        x = nn.Dropout(0.7, deterministic=not train)(x)
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc2")(x)
        self.sow("aux_logits", "logits", x.astype(jnp.float32))


class Model(nn.Module):
    """Three convolutions and nine inception modules; 22 layers with parameters.

    The logits of the auxiliary heads, on 4a and 4d, are sown into the collection "aux_logits" where it
    is mutable: in training. Other calls do not compute them. Each head's loss has weight 0.3.

    Raises:
      ValueError: a form or a stem that is not there.
    """

    num_classes: int
    form: str = "paper"  # "batch_norm", "torchvision"
    stem: str = "imagenet"  # "small": conv1 is 3x3, no first pooling; for images of 32 to 64
    aux_heads: bool = True
    dropout: float = 0.4
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        layers.one_of("form", self.form, ("paper", "batch_norm", "torchvision"))
        layers.one_of("stem", self.stem, ("imagenet", "small"))
        torchvision = self.form == "torchvision"
        norm = None
        if self.form != "paper":
            norm = layers.batch_norm(train, epsilon=1e-3, dtype=self.dtype)

        def conv(features, kernel, stride=1, *, name):
            return ConvReLU(features, kernel, stride, norm=norm, dtype=self.dtype, name=name)

        def normalise(x):
            return x if norm else layers.local_response_norm(x, alpha=2e-5, k=1.0)

        if self.stem == "imagenet":
            x = conv(64, 7, 2, name="conv1")(x)
            x = layers.see(self, "conv1", x)
            x = layers.max_pool_ceil(x, 3, 2)
        else:
            x = conv(64, 3, 2, name="conv1")(x)
            x = layers.see(self, "conv1", x)
        x = conv(64, 1, name="conv2_reduce")(normalise(x))
        x = normalise(conv(192, 3, name="conv2")(x))
        x = layers.see(self, "conv2", x)
        x = layers.max_pool_ceil(x, 3, 2)
        needed = self.aux_heads and self.is_mutable_collection("aux_logits")
        with_head = {"4a": "aux1", "4d": "aux2"} if needed else {}
        for name, widths in INCEPTION.items():
            if name == "4a":
                x = layers.max_pool_ceil(x, 3, 2)
            elif name == "5a":
                x = layers.max_pool_ceil(x, 2 if torchvision else 3, 2)
            kernel_5x5 = 3 if torchvision else 5
            x = Inception(widths, conv, kernel_5x5, name=f"inception{name}")(x)
            x = layers.see(self, f"inception{name}", x)
            if name in with_head:
                head = AuxiliaryHead(
                    self.num_classes, torchvision, conv, self.dtype, name=with_head[name]
                )
                head(x, train)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        return x.astype(jnp.float32)
