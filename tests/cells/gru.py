"""A GRU as torch and cuDNN compute it (Cho et al. 2014), which the package does not know."""

from chainer_lstm.cells import Cell, Product, sigmoid


class GRU(Cell):
    """h' = n + z (h - n), n = tanh(x Wnᵀ + bn + r m), with m = h Umᵀ + dm apart from x."""

    name = 'gru'
    gates = ('r', 'z', 'n', 'm')
    inputs = ('r', 'z', 'n')
    states = ('h',)
    products = (Product('U', 'h', ('r', 'z', 'm'), bias='d'),)

    def forward(self, xp, gates, before):
        r, z = sigmoid(xp, gates.r), sigmoid(xp, gates.z)
        n = xp.tanh(gates.n + r * gates.m)
        return (r, z, n, gates.m), self.State(n + z * (before.h - n))

    def backward(self, xp, gates, before, new, gradients):
        r, z, n, m = gates
        gn = gradients.h * (1 - z) * (1 - n * n)
        gr = gn * m * r * (1 - r)
        gz = gradients.h * (before.h - n) * z * (1 - z)
        return (gr, gz, gn, gn * r), self.State(gradients.h * z)
