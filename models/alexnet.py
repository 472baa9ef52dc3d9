"""AlexNet: ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al., 2012).

  form          conv channels             input       parameters   multiply-adds
  grouped       96-256-384-384-256        227 or 224  60,965,224     724,406,816
  ungrouped     96-256-384-384-256        227         62,378,344   1,135,256,096
  single_tower  64-192-384-256-256        227         61,100,840     716,767,232 (224: 714,188,480)

"grouped" is the paper's network: its two GPUs are the two groups of conv2, conv4 and conv5. The paper
prints inputs of 224 x 224, but its 55 x 55 maps need 227 without padding in conv1, or 224 with 2.
"single_tower" is that of "One weird trick" (arXiv:1404.5997) as torchvision publishes it and as the
lecture tabulates it: no response normalisation, dropout before fc6 and fc7 instead of after.

The paper draws weights from N(0, 0.01^2) and sets the biases of conv2, conv4, conv5 and the hidden
fully connected layers to 1, for pixels of 0 to 255. `initialization="he"` suits short runs and small images.
"""

import flax.linen as nn
import jax.numpy as jnp

from models import layers, pooling

CHANNELS = {
    "grouped": (96, 256, 384, 384, 256),
    "ungrouped": (96, 256, 384, 384, 256),
    "single_tower": (64, 192, 384, 256, 256),
}


class Model(nn.Module):
    """Five convolutions and three fully connected layers (figure 2).

    Raises:
      ValueError: a form, an initialisation or a stem that is not there.
    """

    num_classes: int
    form: str = "grouped"  # "ungrouped", "single_tower"
    stem: str = "imagenet"  # "small": conv1 is 5x5 with stride 2, for images of 32 to 64
    conv1_padding: int = 2  # for images of 224; 0 for 227
    hidden: int = 4096  # width of fc6 and fc7
    dropout: float = 0.5
    initialization: str = "paper"  # N(0, 0.01), biases 0 and 1; "he": arXiv:1502.01852
    pooled_size: int = 0  # torchvision averages to 6 x 6 before fc6, at any image size; 0: never
    dtype: str = "float32"  # of the computation; parameters and logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        layers.one_of("form", self.form, tuple(CHANNELS))
        layers.one_of("stem", self.stem, ("imagenet", "small"))
        layers.one_of("initialization", self.initialization, ("paper", "he"))
        paper_init = self.initialization == "paper"
        kernel_init = nn.initializers.normal(0.01) if paper_init else layers.HE_FAN_IN
        one = nn.initializers.ones if paper_init else nn.initializers.zeros
        zero = nn.initializers.zeros
        tower = self.form == "single_tower"

        def conv(x, features, kernel, bias_init, stride=1, padding=None, split=False):
            return layers.relu(
                layers.conv(
                    features,
                    kernel,
                    stride,
                    padding=padding,
                    groups=2 if split and self.form == "grouped" else 1,
                    use_bias=True,
                    kernel_init=kernel_init,
                    bias_init=bias_init,
                    dtype=self.dtype,
                )(x)
            )

        def normalise_and_pool(x):
            if not tower:
                x = layers.local_response_norm(x, alpha=1e-4, k=2.0)
            return pooling.max_pool(x, (3, 3), strides=(2, 2))

        c1, c2, c3, c4, c5 = CHANNELS[self.form]
        if self.stem == "imagenet":
            x = conv(x, c1, 11, zero, stride=4, padding=self.conv1_padding)
        else:
            x = conv(x, c1, 5, zero, stride=2)
        self.sow("intermediates", "conv1", x)
        x = conv(normalise_and_pool(x), c2, 5, one, split=True)
        self.sow("intermediates", "conv2", x)
        x = conv(normalise_and_pool(x), c3, 3, zero)
        self.sow("intermediates", "conv3", x)
        x = conv(x, c4, 3, one, split=True)
        self.sow("intermediates", "conv4", x)
        x = conv(x, c5, 3, one, split=True)
        self.sow("intermediates", "conv5", x)
        x = pooling.max_pool(x, (3, 3), strides=(2, 2))
        if self.pooled_size:
            x = layers.adaptive_average_pool(x, self.pooled_size)

        layers.check_not_empty(x)
        x = x.reshape(len(x), -1)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        for name in ("fc6", "fc7"):
            x = drop(x) if tower else x
            x = nn.Dense(self.hidden, kernel_init=kernel_init, bias_init=one, dtype=self.dtype)(x)
            x = layers.relu(x)
            self.sow("intermediates", name, x)
            x = x if tower else drop(x)
        last_init = nn.initializers.normal(0.01)
        x = nn.Dense(self.num_classes, kernel_init=last_init, dtype=self.dtype)(x)
        return x.astype(jnp.float32)
