"""Winograd's convolution with 3x3 kernels, arXiv:1509.09308 (Lavin and Gray, 2015), F(2x2, 3x3).

A tile of 2 x 2 outputs takes 16 multiplications for each pair of channels instead of 36 (section 4.1):

  y = A^T [(G g G^T) (B^T d B)] A

with a tile d of 4 x 4 inputs, the kernel g, and for each of the 4 x 4 elements a product of matrices
over the channels. Sums of four terms and factors of one half lose no more than direct convolution does.
The gradient of the kernel is the same sum of products, read backwards.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from models.layers.convolution.geometry import turned, turned_padding
from models.layers.fusion import materialize

B = np.array([[1, 0, 0, 0], [0, 1, -1, 1], [-1, 1, 1, 0], [0, 0, 0, -1]])
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])


def forward(x, w, geometry):
    return convolve(x, w, geometry.padding)


def input_gradient(x, w, dy, geometry):
    return convolve(dy, turned(w), turned_padding(x, w, dy, geometry))


def weight_gradient(x, w, dy, geometry):
    return kernel_gradient(x, dy, geometry.padding)


def convolve(x, w, padding):
    """Convolves images [N, height, width, C] with a kernel [3, 3, C, F], at stride 1.

    Args:
      x: the images.
      w: the kernel.
      padding: zeros on the sides of the images, ((top, bottom), (left, right)); below 0: cut off.
    """
    size = [side + sum(pads) - 2 for side, pads in zip(x.shape[1:3], padding, strict=True)]
    kernels = jnp.asarray(np.kron(G, G), w.dtype) @ w.reshape(9, -1)
    tiles = _tiles(B.T, x, padding, size)
    *shape, channels = tiles.shape
    y = lax.dot_general(
        tiles.reshape(16, -1, channels),
        kernels.reshape(16, channels, -1),
        (((2,), (1,)), ((0,), (0,))),
    )
    y = [_combine(A.T, row) for row in _combine(A.T, y.reshape(*shape, -1))]
    y = jnp.stack([jnp.stack(row, 3) for row in y], 2)
    n, rows, _, columns, _, features = y.shape  # rows and columns of tiles of 2 x 2
    return y.reshape(n, 2 * rows, 2 * columns, features)[:, : size[0], : size[1]]


def kernel_gradient(x, dy, padding):
    """Returns the gradient [3, 3, C, F] of the kernel, given that of the output, dy [N, h, w, F]."""
    size = dy.shape[1:3]
    tiles, gradients = _tiles(B.T, x, padding, size), _tiles(A, dy, ((0, 0), (0, 0)), size)
    tiles, gradients = (a.reshape(16, -1, a.shape[-1]) for a in (tiles, gradients))
    products = lax.dot_general(tiles, gradients, (((1,), (1,)), ((0,), (0,))))
    dw = jnp.asarray(np.kron(G, G).T, dy.dtype) @ products.reshape(16, -1)
    return dw.reshape(3, 3, x.shape[-1], -1)


def _tiles(matrix, x, padding, size):
    """Returns matrix d matrix^T for each tile d of x, [4, 4, N, rows of tiles, columns of tiles, C].

    Tiles begin at every other pixel of x with its padding, as many as `size` outputs need.
    """
    side = matrix.shape[1]
    counts = [-(-n // 2) for n in size]
    pads = [
        (before, 2 * n - 2 + side - before - pixels, 0)
        for n, (before, _), pixels in zip(counts, padding, x.shape[1:3], strict=True)
    ]
    x = materialize(lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *pads, (0, 0, 0))))
    rows, columns = ([slice(k, k + 2 * n - 1, 2) for k in range(side)] for n in counts)
    x = jnp.stack(_combine(matrix, [x[:, :, column] for column in columns]))
    return jnp.stack(_combine(matrix, [x[:, :, row] for row in rows]))


def _combine(matrix, arrays):
    """Returns the products of the rows of `matrix` and the arrays, zeros left out."""
    return [sum(m * a for m, a in zip(row, arrays, strict=True) if m) for row in matrix.tolist()]
