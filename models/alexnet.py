"""AlexNet: ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al., 2012).

  form          conv channels             input       parameters   multiply-adds
  grouped       96-256-384-384-256        227 or 224  60,965,224     724,406,816
  ungrouped     96-256-384-384-256        227         62,378,344   1,135,256,096
  single_tower  64-192-384-256-256        227         61,100,840     716,767,232 (224: 714,188,480)

"grouped" is the paper's network: its two GPUs are the two groups of conv2, conv4 and conv5. The paper
prints inputs of 224 x 224, but its 55 x 55 maps need 227 without padding in conv1, or 224 with 2.
"single_tower" is that of "One weird trick" (arXiv:1404.5997) as torchvision publishes it and as the
lecture tabulates it: no response normalisation, dropout before fc6 and fc7 instead of after.

On two devices, as in 2012, each holds one tower: half of the output channels of every layer. They see all
channels of the other at the third convolution and the fully connected layers, and nothing of each other elsewhere
(section 3.5). `response_norm="tower"` keeps the response normalisation inside a tower, too, as that
requires; Caffe's copy of the network normalises across the towers.

The paper draws weights from N(0, 0.01^2) and sets the biases of conv2, conv4, conv5 and the hidden
fully connected layers to 1, for pixels of 0 to 255. `initialization="he"` suits short runs and small images.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from models import layers

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
    response_norm: str = "across"  # all channels, as in Caffe; "tower": of one GPU; "none"
    response_alpha: float = 1e-4  # of the sum over 5 channels; 2e-5: PyTorch's and Caffe's 1e-4
    ceil_pooling: bool = False  # windows may hang over the edge, as in Caffe; pytorchcv's needs it
    pooled_size: int = 0  # torchvision averages to 6 x 6 before fc6, at any image size; 0: never
    tower_axis: str = ""  # axis of the mesh whose two devices hold a tower each, see `split`
    dtype: str = "float32"  # of the computation; parameters and logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        layers.one_of("form", self.form, tuple(CHANNELS))
        layers.one_of("stem", self.stem, ("imagenet", "small"))
        layers.one_of("initialization", self.initialization, ("paper", "he"))
        layers.one_of("response_norm", self.response_norm, ("across", "tower", "none"))
        if self.response_norm == "tower" and self.form != "grouped":
            raise ValueError("model.response_norm=tower needs model.form=grouped, which has towers")
        two_devices = bool(self.tower_axis)
        if two_devices and (self.form != "grouped" or self.response_norm == "across"):
            raise ValueError(
                "AlexNet on two devices: set model.form=grouped and model.response_norm=tower or none"
            )
        parts = 2 if two_devices else 1  # of the channels of a layer, this device has one
        towers = 2 if self.form == "grouped" and not two_devices else 1  # on this device
        paper_init = self.initialization == "paper"
        kernel_init = nn.initializers.normal(0.01) if paper_init else layers.HE_FAN_IN
        one = nn.initializers.ones if paper_init else nn.initializers.zeros
        zero = nn.initializers.zeros
        single_tower = self.form == "single_tower"

        def conv(name, x, features, kernel, bias_init, stride=1, padding=None, groups=1):
            layer = layers.conv(
                features // parts,
                kernel,
                stride,
                padding=padding,
                groups=groups,
                use_bias=True,
                kernel_init=kernel_init,
                bias_init=bias_init,
                dtype=self.dtype,
                name=name,
            )
            return layers.see(self, name, layers.relu(layer(x)))

        def pool(x):
            if self.ceil_pooling:
                return layers.max_pool_ceil(x, 3, 2)
            return layers.max_pool(x, (3, 3), strides=(2, 2))

        def normalise_and_pool(x):
            if not single_tower and self.response_norm != "none":
                halves = jnp.split(x, towers if self.response_norm == "tower" else 1, axis=-1)
                alpha = self.response_alpha
                halves = [layers.local_response_norm(half, alpha=alpha, k=2.0) for half in halves]
                x = jnp.concatenate(halves, axis=-1)
            return pool(x)

        def both_towers(x, layer):
            """Returns the channels of both devices for `layer`: sends its own, receives the other's."""
            if not two_devices:
                return x
            with jax.named_scope(f"exchange_for_{layer}"):
                other = jax.lax.ppermute(x, self.tower_axis, [(0, 1), (1, 0)])
                first = jax.lax.axis_index(self.tower_axis) == 0
                pair = jnp.where(first, x, other), jnp.where(first, other, x)
                return jnp.concatenate(pair, axis=-1)

        c1, c2, c3, c4, c5 = CHANNELS[self.form]
        if self.stem == "imagenet":
            x = conv("conv1", x, c1, 11, zero, stride=4, padding=self.conv1_padding)
        else:
            x = conv("conv1", x, c1, 5, zero, stride=2)
        x = conv("conv2", normalise_and_pool(x), c2, 5, one, groups=towers)
        x = conv("conv3", both_towers(normalise_and_pool(x), "conv3"), c3, 3, zero)
        x = conv("conv4", x, c4, 3, one, groups=towers)
        x = conv("conv5", x, c5, 3, one, groups=towers)
        x = pool(x)
        if self.pooled_size:
            x = layers.adaptive_average_pool(x, self.pooled_size)

        layers.check_not_empty(x)
        x = both_towers(x, "fc6")
        x = x.reshape(x.shape[0], -1)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        for name, following in (("fc6", "fc7"), ("fc7", "fc8")):
            x = drop(x) if single_tower else x
            width = self.hidden // parts
            fc = nn.Dense(
                width, kernel_init=kernel_init, bias_init=one, dtype=self.dtype, name=name
            )
            x = layers.relu(fc(x))
            x = layers.see(self, name, x)
            x = both_towers(x, following)
            x = x if single_tower else drop(x)
        last_init = nn.initializers.normal(0.01)
        classes = self.num_classes // parts
        x = nn.Dense(classes, kernel_init=last_init, dtype=self.dtype, name="fc8")(x)
        return x.astype(jnp.float32)

    @nn.nowrap
    def split(self, mesh: Mesh) -> "Towers":
        """Returns the network whose towers lie on the two devices of the mesh axis "model".

        Raises:
          ValueError: there are other than two.
        """
        if mesh.shape["model"] != 2:
            raise ValueError(f"model_devices {mesh.shape['model']}: alexnet has 2 towers")
        return Towers(self.clone(tower_axis="model"), mesh)


class Towers(NamedTuple):
    """AlexNet of which each device of the mesh axis "model" computes its half of each layer's outputs.

    Its parameters are those of the undivided network, and so is the result; only what the network
    gathers itself travels between the devices.
    """

    tower: Model
    mesh: Mesh

    def apply(self, variables, x, *, mutable=False, rngs=None, **named):
        """Returns what `Model.apply` does."""

        def tower(variables, x, rngs):
            return self.tower.apply(variables, x, mutable=mutable, rngs=rngs, **named)

        def half(leaf):
            return (
                PartitionSpec(*[None] * (leaf.ndim - 1), "model") if leaf.ndim else PartitionSpec()
            )

        outputs = PartitionSpec(None, "model")  # each device has the logits of its classes
        return jax.shard_map(
            tower,
            mesh=self.mesh,
            in_specs=(jax.tree.map(half, variables), PartitionSpec(), PartitionSpec()),
            out_specs=(outputs, PartitionSpec()) if mutable else outputs,
            axis_names={"model"},  # "data" stays with the compiler
            check_vma=False,  # the loops of models/layers/convolution do not say what varies
        )(variables, x, rngs)
