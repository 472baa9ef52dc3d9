"""Winograd's convolution with 3x3 kernels, arXiv:1509.09308 (Lavin and Gray, 2015), F(2x2, 3x3).

A tile of 2 x 2 outputs takes 16 multiplications for each pair of channels instead of 36 (section 4.1):

  y = A^T [(G g G^T) (B^T d B)] A

with a tile d of 4 x 4 inputs, the kernel g, and for each of the 4 x 4 elements a product of matrices
over the channels. Sums of four terms and factors of one half lose no more than direct convolution does.
The gradient of the kernel is the same sum of products, read backwards.
"""

import jax.numpy as jnp
from jax import lax

B = ((1, 0, 0, 0), (0, 1, -1, 1), (-1, 1, 1, 0), (0, 0, 0, -1))
G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
A = ((1, 0), (1, 1), (1, -1), (0, -1))


def convolve(x, w, padding):
    """Convolves images [N, height, width, C] with a kernel [3, 3, C, F], at stride 1.

    Args:
      x: the images.
      w: the kernel.
      padding: zeros on the sides of the images, ((top, bottom), (left, right)).
    """
    size = output_size(x, padding)
    kernels = _transform(G, [[w[i, j] for j in range(3)] for i in range(3)])
    tiles = _input_tiles(x, padding, size)
    products = [
        [jnp.tensordot(d, g, 1) for d, g in zip(*rows, strict=True)]
        for rows in zip(tiles, kernels, strict=True)
    ]
    return _join(_transform(_transposed(A), products), size)


def kernel_gradient(x, dy, padding):
    """Returns the gradient [3, 3, C, F] of the kernel, given that of the output, dy [N, h, w, F]."""
    tiles = _input_tiles(x, padding, dy.shape[1:3])
    gradients = _transform(A, _split(dy, 2, dy.shape[1:3]))
    products = [
        [lax.dot_general(_flat(d), _flat(g), (((0,), (0,)), ((), ()))) for d, g in zip(*rows, strict=True)]
        for rows in zip(tiles, gradients, strict=True)
    ]
    return jnp.stack([jnp.stack(row) for row in _transform(_transposed(G), products)])


def output_size(x, padding):
    return [side + sum(pads) - 2 for side, pads in zip(x.shape[1:3], padding, strict=True)]


def _input_tiles(x, padding, size):
    """Returns B^T d B of all tiles, as a 4 x 4 list of [N, rows of tiles, columns of tiles, C]."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return _transform(_transposed(B), _split(x, 4, size))


def _split(x, side, size):
    """Returns a `side` x `side` list: of each tile the element there. Tiles start at every other pixel."""
    ends = [2 * (-(-n // 2)) - 2 + side for n in size]
    x = jnp.pad(x, ((0, 0), *((0, end - n) for end, n in zip(ends, x.shape[1:3], strict=True)), (0, 0)))
    rows, columns = ([slice(i, end - side + i + 1, 2) for i in range(side)] for end in ends)
    return [[x[:, row, column] for column in columns] for row in rows]


def _join(tiles, size):
    """Puts a 2 x 2 list of outputs together to [N, *size, F]."""
    y = jnp.stack([jnp.stack(row, 3) for row in tiles], 2)
    n, rows, _, columns, _, features = y.shape
    return y.reshape(n, 2 * rows, 2 * columns, features)[:, : size[0], : size[1]]


def _transform(matrix, tile):
    """Returns matrix tile matrix^T, of a list of lists of arrays."""
    tile = [_combine(matrix, column) for column in _transposed(tile)]
    return [_combine(matrix, row) for row in _transposed(tile)]


def _combine(matrix, arrays):
    return [
        sum(factor * a for factor, a in zip(row, arrays, strict=True) if factor) for row in matrix
    ]


def _transposed(rows):
    return list(zip(*rows, strict=True))


def _flat(x):
    return x.reshape(-1, x.shape[-1])
