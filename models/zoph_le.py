"""Zoph-Le: Neural Architecture Search with Reinforcement Learning (Zoph and Le, 2016), arXiv:1611.01578.

The space of the paper's networks for CIFAR-10. The search chooses for each layer

  filter height and width  1, 3, 5 or 7
  number of filters        24, 36, 48 or 64
  stride                   1; optionally 1, 2 or 3
  inputs                   any of the earlier layers

Of what it found, the paper prints

  network                                            parameters  test error
  v1, 15 layers, no stride and no pooling            4.2 M       5.50 %
  v2, 20 layers, strides                             2.5 M       6.01 %
  v3, 39 layers, max pooling at layers 13 and 24     7.1 M       4.47 %

v1 has 5.56 % with all connections there could be, and 7.97 % without skip connections. Their genotypes
are not here, nor is the pooling of v3. Ours, where we do not know the paper's: the padding of the
convolutions (TensorFlow's "SAME"), zeros below and to the right of a smaller map, the head (global
average pooling and a fully connected layer), and one stride for rows and columns. A genotype, see
models/genotypes/layers.py, may have other sizes than the paper's space.
"""

import flax.linen as nn
import jax.numpy as jnp

from models import genotypes, layers

CHAIN = tuple((3, 3, 36, 1, (i,)) for i in range(6))  # the default is ours, none of the paper


class Model(nn.Module):
    """Layers of convolution, BatchNorm, ReLU; each reads earlier layers, concatenated in depth.

    The outputs that no layer reads are concatenated, too, before the head.

    Raises:
      ValueError: a genotype that describes no network.
    """

    num_classes: int
    genotype: str | tuple = ""  # layers, or the same as JSON text; empty: CHAIN
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        genotype = genotypes.layers.check(self.genotype or CHAIN)
        norm = layers.batch_norm(train, dtype=self.dtype)
        maps = [x]
        for number, (height, width, filters, stride, inputs) in enumerate(genotype, 1):
            x = concatenate([maps[i] for i in inputs or (0,)])
            kernel = (height, width)
            name = f"layer{number}"
            x = layers.conv(
                filters, kernel, stride, padding="SAME", dtype=self.dtype, name=f"{name}_conv"
            )(x)
            x = layers.relu(norm(name=f"{name}_bn")(x))
            maps.append(layers.see(self, name, x))
        read = {i for *_, inputs in genotype for i in inputs}
        x = concatenate([maps[i] for i in range(1, len(maps)) if i not in read])
        x = layers.see(self, "last", x)
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(jnp.mean(x, axis=(1, 2)))
        return x.astype(jnp.float32)


def concatenate(maps):
    """Concatenates maps [N, height, width, C] in depth, smaller ones padded with zeros to the largest."""
    height, width = (max(x.shape[axis] for x in maps) for axis in (1, 2))
    padded = [
        jnp.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)))
        for x in maps
    ]
    return jnp.concatenate(padded, axis=-1)
