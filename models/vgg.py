"""VGG: Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan and Zisserman, 2014).

arXiv:1409.1556, table 1. Parameters and multiply-adds at 224 x 224:

  depth  convolutions a stage  parameters    with BatchNorm  multiply-adds
  11     1, 1, 2, 2, 2         132,863,336   132,868,840      7,609,090,048
  13     2, 2, 2, 2, 2         133,047,848   133,053,736     11,308,466,176
  16     2, 2, 3, 3, 3         138,357,544   138,365,992     15,470,264,320
  19     2, 2, 4, 4, 4         143,667,240   143,678,248     19,632,062,464

The lecture's slide has two convolutions in the third stage of VGG-16, which explains its totals of
13.6 G multiply-adds and 48.6 MB: `stages=(2, 2, 2, 3, 3)`. The BatchNorm form is torchvision's (the
convolutions keep their bias; pytorchcv publishes weights of both kinds). The paper starts net 11 from N(0, variance 0.01) and the deeper ones from a
trained net 11 (section 3.1); `initialization="he"` starts each on its own.
"""

import flax.linen as nn
import jax.numpy as jnp

from models import layers

STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
WIDTHS = (64, 128, 256, 512, 512)


class Model(nn.Module):
    """Stages of 3x3 convolutions, a 2x2 max pooling after each, three fully connected layers.

    Raises:
      ValueError: a depth or an initialisation that is not there.
    """

    num_classes: int
    depth: int = 16
    stages: tuple[int, ...] = ()  # convolutions a stage, instead of depth
    batch_norm: bool = False
    conv_bias: bool = True  # False: BatchNorm's is enough
    hidden: int = 4096  # width of fc6 and fc7
    dropout: float = 0.5
    initialization: str = "he"  # arXiv:1502.01852; "paper": N(0, variance 0.01)
    pooled_size: int = 0  # torchvision averages to 7 x 7 before fc6, at any image size; 0: never
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        layers.one_of("depth", self.depth, tuple(STAGES))
        layers.one_of("initialization", self.initialization, ("he", "paper"))
        stages = self.stages or STAGES[self.depth]
        if len(stages) != len(WIDTHS):
            raise ValueError(f"stages {stages}: give five numbers, for example {STAGES[16]}")
        norm = layers.batch_norm(train, dtype=self.dtype)
        conv_init = dense_init = nn.initializers.normal(0.1)
        if self.initialization == "he":
            conv_init, dense_init = layers.HE_FAN_OUT, layers.HE_FAN_IN

        for stage, (convolutions, width) in enumerate(zip(stages, WIDTHS, strict=True), 1):
            for i in range(1, convolutions + 1):
                x = layers.conv(
                    width,
                    3,
                    use_bias=self.conv_bias,
                    kernel_init=conv_init,
                    dtype=self.dtype,
                    name=f"conv{stage}_{i}",
                )(x)
                x = layers.relu(norm(name=f"bn{stage}_{i}")(x) if self.batch_norm else x)
            x = layers.see(self, f"stage{stage}", x)
            x = layers.max_pool(x, (2, 2), strides=(2, 2))
        if self.pooled_size:
            x = layers.adaptive_average_pool(x, self.pooled_size)

        layers.check_not_empty(x)
        x = x.reshape(x.shape[0], -1)
        for name in ("fc6", "fc7"):
            fc = nn.Dense(self.hidden, kernel_init=dense_init, dtype=self.dtype, name=name)
            x = layers.relu(fc(x))
            x = layers.see(self, name, x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        last_init = dense_init if self.initialization == "paper" else nn.initializers.normal(0.01)
        x = nn.Dense(self.num_classes, kernel_init=last_init, dtype=self.dtype, name="fc8")(x)
        return x.astype(jnp.float32)
