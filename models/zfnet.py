"""ZFNet: Visualizing and Understanding Convolutional Networks (Zeiler and Fergus, 2013), arXiv:1311.2901.

  conv channels          parameters   multiply-adds (224 x 224)
  96-256-384-384-256     62,357,608   1,168,032,896
  96-256-512-1024-512   107,627,624   2,476,704,896 (`wide`: the lecture's, table 3 of the paper)

AlexNet without groups, with 7x7 filters of stride 2 in conv1 and a stride of 2 in conv2 (figure 3).
The paper does not print the parameters of its contrast normalisation; AlexNet's response normalisation
stands in for it, after the pooling (figure 3). After each update the paper rescales every conv1 filter
whose root mean square is above 0.1 (section 3); here the layer uses the rescaled filter, the stored one
stays as it is, and no gradient goes through the scale. pytorchcv's ZFNet, which has published weights,
normalises before it pools, with another alpha, and rescales nothing.
`initialization="he"` suits short runs and small images.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import layers


class Model(nn.Module):
    """Five convolutions and three fully connected layers (figure 3).

    Raises:
      ValueError: an initialisation or a stem that is not there.
    """

    num_classes: int
    wide: bool = False  # 512-1024-512 channels in conv3 to conv5
    stem: str = "imagenet"  # "small": conv2 with stride 1, padded; for images of 32 to 64
    filter_rms: float = 0.1  # conv1 filters above it are rescaled to it; 0: never
    response_alpha: float = 1e-4  # of the sum over 5 channels; 2e-5: PyTorch's and Caffe's 1e-4
    normalise_first: bool = False  # before the pooling, as in AlexNet
    hidden: int = 4096  # width of fc6 and fc7
    dropout: float = 0.5
    initialization: str = "paper"  # N(0, 0.01); "he": arXiv:1502.01852. Biases are 0
    dtype: str = "float32"  # of the computation; parameters and logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        layers.one_of("stem", self.stem, ("imagenet", "small"))
        layers.one_of("initialization", self.initialization, ("paper", "he"))
        init = nn.initializers.normal(0.01) if self.initialization == "paper" else layers.HE_FAN_IN
        small = self.stem == "small"

        def conv(name, x, features, kernel, stride=1, padding=None, **more):
            layer = layers.conv(
                features,
                kernel,
                stride,
                padding=padding,
                use_bias=True,
                kernel_init=init,
                dtype=self.dtype,
                name=name,
                **more,
            )
            return layers.see(self, name, layers.relu(layer(x)))

        def pool(x):
            return layers.max_pool_ceil(x, 3, 2)

        def normalise(x):
            return layers.local_response_norm(x, alpha=self.response_alpha, k=2.0)

        def pool_and_normalise(x):
            return pool(normalise(x)) if self.normalise_first else normalise(pool(x))

        padding = 3 if small else 1
        convolve = self.rescaled_convolution if self.filter_rms else layers.convolve
        x = conv("conv1", x, 96, 7, 2, padding=padding, convolve=convolve)
        x = pool_and_normalise(x)
        stride, padding = (1, 2) if small else (2, 0)
        x = conv("conv2", x, 256, 5, stride, padding=padding)
        x = pool_and_normalise(x)
        for i, features in enumerate((512, 1024, 512) if self.wide else (384, 384, 256), 3):
            x = conv(f"conv{i}", x, features, 3)
        x = layers.max_pool(x, (3, 3), strides=(2, 2))

        layers.check_not_empty(x)
        x = x.reshape(x.shape[0], -1)
        for name in ("fc6", "fc7"):
            fc = nn.Dense(self.hidden, kernel_init=init, dtype=self.dtype, name=name)
            x = layers.relu(fc(x))
            x = layers.see(self, name, x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        last_init = nn.initializers.normal(0.01)
        x = nn.Dense(self.num_classes, kernel_init=last_init, dtype=self.dtype, name="fc8")(x)
        return x.astype(jnp.float32)

    def rescaled_convolution(self, images, kernel, *args, **kwargs):
        return layers.convolve(images, self.rescaled(kernel), *args, **kwargs)

    def rescaled(self, kernel):
        """Returns filters whose root mean square is at most `filter_rms`."""
        rms = jnp.sqrt(jnp.mean(jnp.square(kernel), axis=(0, 1, 2)))
        scale = jax.lax.stop_gradient(jnp.minimum(1.0, self.filter_rms / rms))
        return (kernel * scale).astype(kernel.dtype)

    def plain(self, variables: dict) -> dict:
        """Returns variables that make the same network of plain convolutions alone."""
        if not self.filter_rms:
            return variables
        conv1 = variables["params"]["conv1"]
        conv1 = conv1 | {"kernel": self.rescaled(conv1["kernel"])}
        return variables | {"params": variables["params"] | {"conv1": conv1}}
