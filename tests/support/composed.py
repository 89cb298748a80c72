"""The cells composed of Chainer's functions: for gradients, and where Chainer has the same."""

import dataclasses
import functools
import types

import chainer.functions as F
import chainer.links as L


def lstm_step(c_prev, h_prev, x, W, b, U):
    pre = F.linear(x, W, b)
    return F.lstm(c_prev, pre if h_prev is None else pre + F.linear(h_prev, U))


def peephole_lstm_step(c_prev, h_prev, x, W, b, U, P_i, P_f, P_o):
    """The forward of Chainer's link, on anything that has its attributes."""
    batch = len(x)
    cell = types.SimpleNamespace(
        upward=lambda x: F.linear(x, W, b),
        lateral=lambda h: F.linear(h, U),
        peep_i=lambda c: F.linear(c, P_i),
        peep_f=lambda c: F.linear(c, P_f),
        peep_o=lambda c: F.linear(c, P_o),
        c=c_prev[:batch],
        h=h_prev,
    )
    h = L.StatefulPeepholeLSTM.forward(cell, x)
    if batch == len(c_prev):
        return cell.c, h  # which h depends on, so a gradient with respect to c has that of h too
    return F.concat((cell.c, c_prev[batch:]), axis=0), h


def coupled_step(c_prev, h_prev, x, W, b, U):
    pre = F.linear(x, W, b)
    pre = pre if h_prev is None else pre + F.linear(h_prev, U)
    a, f, o = F.separate(F.reshape(pre, (*x.shape[:1], c_prev.shape[1], 3)), axis=2)
    rest, c, f = c_prev[len(x) :], c_prev[: len(x)], F.sigmoid(f)
    c = f * c + (1 - f) * F.tanh(a)
    return F.concat((c, rest), axis=0), F.sigmoid(o) * F.tanh(c)


def gru_step(h_prev, x, W, b, U, d):
    of_x, of_h = F.linear(x, W, b), F.linear(h_prev, U, d)
    shape = (*h_prev.shape, 3)
    (r, z, n), (r_h, z_h, m) = (F.separate(F.reshape(y, shape), axis=2) for y in (of_x, of_h))
    z = F.sigmoid(z + z_h)
    return ((1 - z) * F.tanh(n + F.sigmoid(r + r_h) * m) + z * h_prev,)


def layer_norm_step(c_prev, h_prev, x, W, b, U, gamma_x, gamma_h, gamma_c, beta_c):
    def normalized(y, gain, bias):
        return F.layer_normalization(y, gain, bias, eps=1e-5) if y.size else y * 0

    pre = normalized(F.linear(x, W), gamma_x, b)
    if h_prev is not None:
        pre = pre + normalized(F.linear(h_prev, U), gamma_h, b * 0)
    c, _ = F.lstm(c_prev, pre)
    o = F.sigmoid(pre[:, 3::4])
    return c, o * F.tanh(normalized(c[: len(x)], gamma_c, beta_c))


def variant_step(options, c_prev, h_prev, x, W, b, U, *vectors):
    """An LSTM with options of ``cells.LSTMVariant``, without noise."""
    names = 'afo' if options['coupled'] else 'aifo'
    pre = F.linear(x, W, b)
    pre = pre if h_prev is None else pre + F.linear(h_prev, U)
    shape = (*x.shape[:1], c_prev.shape[1], len(names))
    gates = dict(zip(names, F.separate(F.reshape(pre, shape), axis=2)))
    peepholes = dict(zip(names[1:], vectors))
    rest, old = c_prev[len(x) :], c_prev[: len(x)]

    def gate(name, cell):
        y = gates[name]
        if name in peepholes:
            y = y + F.broadcast_to(peepholes[name], cell.shape) * cell
        if options['recurrent_activation'] == 'sigmoid':
            return F.sigmoid(y)
        return F.clip(y * options['hard_sigmoid_slope'] + 0.5, 0.0, 1.0)

    f = gate('f', old)
    c = f * old + (1 - f if options['coupled'] else gate('i', old)) * F.tanh(gates['a'])
    if options['cell_clip'] is not None:
        c = F.clip(c, -options['cell_clip'], options['cell_clip'])
    return F.concat((c, rest), axis=0), gate('o', c) * F.tanh(c)


# (*states, x, *weights) -> states, by the name of the cell without a projection
STEPS = {
    'lstm': lstm_step,
    'peephole': peephole_lstm_step,
    'coupled': coupled_step,
    'gru': gru_step,
    'layer_norm_lstm_variant': layer_norm_step,
}


def projected(step):
    """A step whose h is the product of its own with V, the last weight."""

    def projected_step(*inputs):
        c, m = step(*inputs[:-1])
        return c, F.linear(m, inputs[-1])

    return projected_step


def step_of(cell):
    """Return the step of a cell."""
    if cell.name in STEPS:
        found = STEPS[cell.name]
    else:
        found = functools.partial(variant_step, dataclasses.asdict(cell))
    return found if cell.projection is None else projected(found)
