"""An LSTM with i = 1 - f (the CIFG of Greff et al. 2017), which the package does not know."""

from chainer_lstm.cells import Cell, Product, sigmoid


class Coupled(Cell):
    """c' = f c + (1 - f) a, h' = o tanh(c')."""

    name = 'coupled'
    gates = ('a', 'f', 'o')
    products = (Product('U', 'h', gates),)
    reads = ('c',)
    needs = ('c',)

    def forward(self, xp, gates, before):
        a, f, o = xp.tanh(gates.a), sigmoid(xp, gates.f), sigmoid(xp, gates.o)
        c = f * before.c + (1 - f) * a
        return (a, f, o), self.State(c, o * xp.tanh(c))

    def backward(self, xp, gates, before, new, gradients):
        a, f, o = gates
        t = xp.tanh(new.c)
        gc = gradients.c + gradients.h * o * (1 - t * t)
        ga = gc * (1 - f) * (1 - a * a)
        gf = gc * (before.c - a) * f * (1 - f)
        return (ga, gf, gradients.h * t * o * (1 - o)), self.State(gc * f)
