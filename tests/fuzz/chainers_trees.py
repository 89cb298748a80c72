"""LSTMs over trees, composed of Chainer's functions."""

from __future__ import annotations

import chainer.functions as F
import chainer.links as L
import numpy


def tree_lstm(*inputs):
    """Chainer's own has no second gradients."""
    *cs, x = inputs
    a, i, o, *fs = F.split_axis(x, 3 + len(cs), axis=1)
    c = F.sigmoid(i) * F.tanh(a)
    for f, child in zip(fs, cs):
        c = c + F.sigmoid(f) * child
    return c, F.sigmoid(o) * F.tanh(c)


def slstm(c_prev1, c_prev2, x1, x2):
    """Chainer's own fails where second gradients with respect to x1 or x2 are not needed."""
    shape = (c_prev1.shape[0], c_prev1.shape[1], 4, *c_prev1.shape[2:])
    (a1, i1, f1, o1), (a2, i2, f2, o2) = (F.separate(F.reshape(x, shape), axis=2) for x in (x1, x2))
    c = F.sigmoid(i1) * F.tanh(a1) + F.sigmoid(i2) * F.tanh(a2)
    c = c + F.sigmoid(f1) * c_prev1 + F.sigmoid(f2) * c_prev2
    return c, F.sigmoid(o1 + o2) * F.tanh(c)


class _Trees:
    """Node by node; a leaf has no children, not some of zeros."""

    def forward_trees(self, children, x):
        c, h = {}, {}
        while len(c) < len(children):
            for n, kids in enumerate(children):
                if n not in c and {*kids} <= {*c}:
                    c[n], h[n] = self._node(
                        [c[k] for k in kids], [h[k] for k in kids], x[n : n + 1]
                    )
        return [F.concat([state[n] for n in range(len(children))], axis=0) for state in (c, h)]


class ChildSumTreeLSTM(_Trees, L.ChildSumTreeLSTM):
    def _node(self, cs, hs, x):
        x = self.W_x(x)
        aio, f = x[:, : 3 * self.state_size], x[:, 3 * self.state_size :]
        if hs:
            aio = aio + self.W_h_aio(sum(hs[1:], hs[0]))
        return tree_lstm(*cs, F.concat([aio, *(f + self.W_h_f(h) for h in hs)], axis=1))


class NaryTreeLSTM(_Trees, L.NaryTreeLSTM):
    def _node(self, cs, hs, x):
        x = self.W_x(x)
        for k, h in enumerate(hs):
            x = x + self[f'W_h{k + 1}'](h)
        zeros = [numpy.zeros((1, self.state_size))] * (self.n_ary - len(cs))
        return tree_lstm(*cs, *zeros, x)
