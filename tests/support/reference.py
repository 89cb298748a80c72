"""The cells as loops over rows and units in float64:
slow, plain NumPy, and independent of the package.
"""

import dataclasses
import functools

import numpy


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def lstm(c_prev, x):
    """(B0, H, ...), (B, 4H, ...) -> c (B0, H, ...), h (B, H, ...); gates interleaved a, i, f, o."""
    c_prev, x = _wide(c_prev, x)
    c, h = c_prev.copy(), numpy.zeros((len(x), *c_prev.shape[1:]))
    for row, unit, *rest in numpy.ndindex(*h.shape):
        at = (row, unit, *rest)
        a, i, f, o = (x[(row, 4 * unit + gate, *rest)] for gate in range(4))
        c[at] = numpy.tanh(a) * sigmoid(i) + c_prev[at] * sigmoid(f)
        h[at] = numpy.tanh(c[at]) * sigmoid(o)
    return c, h


def lstm_step(c_prev, h_prev, x, W, b, U):
    """c_prev (B0, H), h_prev (B, H) or None, x (B, I) -> c, h."""
    return lstm(c_prev, _pre(h_prev, x, W, b, U))


def peephole_step(c_prev, h_prev, x, W, b, U, P_i, P_f, P_o):
    """As ``lstm_step``; i and f also see the old cell, o sees the new one."""
    pre = _pre(h_prev, x, W, b, U)
    c_prev, P_i, P_f, P_o = _wide(c_prev, P_i, P_f, P_o)
    c, h = c_prev.copy(), numpy.zeros((len(x), c_prev.shape[1]))
    for row, unit in numpy.ndindex(*h.shape):
        a, i, f = pre[row, 4 * unit : 4 * unit + 3]
        i += numpy.dot(P_i[unit], c_prev[row])
        f += numpy.dot(P_f[unit], c_prev[row])
        c[row, unit] = numpy.tanh(a) * sigmoid(i) + c_prev[row, unit] * sigmoid(f)
    for row, unit in numpy.ndindex(*h.shape):  # o needs the whole row of the new cell
        o = pre[row, 4 * unit + 3] + numpy.dot(P_o[unit], c[row])
        h[row, unit] = numpy.tanh(c[row, unit]) * sigmoid(o)
    return c, h


def coupled_step(c_prev, h_prev, x, W, b, U):
    """An LSTM with i = 1 - f; three gates a, f, o, interleaved."""
    pre = _pre(h_prev, x, W, b, U)
    (c_prev,) = _wide(c_prev)
    c, h = c_prev.copy(), numpy.zeros((len(x), c_prev.shape[1]))
    for row, unit in numpy.ndindex(*h.shape):
        a, f, o = pre[row, 3 * unit : 3 * unit + 3]
        c[row, unit] = numpy.tanh(a) * (1 - sigmoid(f)) + c_prev[row, unit] * sigmoid(f)
        h[row, unit] = numpy.tanh(c[row, unit]) * sigmoid(o)
    return c, h


def layer_norm_step(c_prev, h_prev, x, W, b, U, gamma_x, gamma_h, gamma_c, beta_c):
    """An LSTM whose products and cell are normalized over each row (Ba et al. 2016)."""
    c_prev, x, W, b, U = _wide(c_prev, x, W, b, U)
    gamma_x, gamma_h, gamma_c, beta_c = _wide(gamma_x, gamma_h, gamma_c, beta_c)
    c, h = c_prev.copy(), numpy.zeros((len(x), c_prev.shape[1]))
    for row in range(len(x)):
        pre = b + gamma_x * _normalized(W @ x[row])
        if h_prev is not None:
            pre += gamma_h * _normalized(U @ h_prev[row].astype('d'))
        for unit in range(h.shape[1]):
            a, i, f, _ = pre[4 * unit : 4 * unit + 4]
            c[row, unit] = numpy.tanh(a) * sigmoid(i) + c_prev[row, unit] * sigmoid(f)
        h[row] = numpy.tanh(gamma_c * _normalized(c[row]) + beta_c) * sigmoid(pre[3::4])
    return c, h


def _normalized(values):
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return numpy.array([(value - mean) / (variance + 1e-5) ** 0.5 for value in values])


def gru_step(h_prev, x, W, b, U, d):
    """r, z, n of x and r, z, m of h, interleaved -> (h,)."""
    x, h_prev, W, b, U, d = _wide(x, h_prev, W, b, U, d)
    of_x, of_h, h = x @ W.T + b, h_prev @ U.T + d, h_prev.copy()
    for row, unit in numpy.ndindex(*h.shape):
        (r, z, n), (r_h, z_h, m) = (y[row, 3 * unit : 3 * unit + 3] for y in (of_x, of_h))
        n, z = numpy.tanh(n + sigmoid(r + r_h) * m), sigmoid(z + z_h)
        h[row, unit] = (1 - z) * n + z * h_prev[row, unit]
    return (h,)


def variant_step(options, c_prev, h_prev, x, W, b, U, *vectors, noise=None):
    """An LSTM with the options of ``cells.LSTMVariant``; noise by name."""
    noise = noise or {}
    coupled, clip = options.get('coupled', False), options.get('cell_clip')
    if h_prev is None:
        h_prev = numpy.zeros((len(x), c_prev.shape[1]))
    c_prev, h_prev = _wide(c_prev, h_prev)
    pre = _pre(h_prev * noise.get('mask_h', 1), x, W, b, U)
    peepholes = dict(zip('fo' if coupled else 'ifo', _wide(*vectors)))
    c, h = c_prev.copy(), numpy.zeros((len(x), c_prev.shape[1]))

    def kept(name, index, row, unit):
        if name in noise:
            return noise[name][row, unit]
        expected = options.get('zoneout_expectation', False)
        return options['zoneout'][index] if expected else 0

    def activation(y):
        if options.get('recurrent_activation') == 'hard_sigmoid':
            return min(max(options['hard_sigmoid_slope'] * y + 0.5, 0), 1)
        return sigmoid(y)

    for row, unit in numpy.ndindex(*h.shape):
        names = 'afo' if coupled else 'aifo'
        sums = dict(zip(names, pre[row, len(names) * unit : len(names) * (unit + 1)]))
        old, p = c_prev[row, unit], {gate: v[unit] for gate, v in peepholes.items()}
        f = activation(sums['f'] + p.get('f', 0) * old)
        i = 1 - f if coupled else activation(sums['i'] + p.get('i', 0) * old)
        s = f * old + i * numpy.tanh(sums['a'])
        if clip is not None:
            s = min(max(s, -clip), clip)
        keep = kept('kept_c', 0, row, unit)
        c[row, unit] = keep * old + (1 - keep) * s
        o = activation(sums['o'] + p.get('o', 0) * c[row, unit])
        keep = kept('kept_h', 1, row, unit)
        h[row, unit] = (1 - keep) * o * numpy.tanh(s)
        if keep:  # a projected h has another width
            h[row, unit] += keep * h_prev[row, unit]
    return c, h


def projected(step, at):
    """A step whose h = V m of the m (B, H) that another one computes; V (P, H) is an input."""

    def projected_step(*inputs, **more):
        c, m = step(*inputs[:at], *inputs[at + 1 :], **more)
        (V,) = _wide(inputs[at])
        h = numpy.zeros((len(m), len(V)))
        for row, output in numpy.ndindex(*h.shape):
            h[row, output] = sum(V[output, unit] * m[row, unit] for unit in range(m.shape[1]))
        return c, h

    return projected_step


# (*states, x, *weights) -> states, by the name of the cell without a projection
STEPS = {
    'lstm': lstm_step,
    'peephole': peephole_step,
    'coupled': coupled_step,
    'gru': gru_step,
    'layer_norm_lstm_variant': layer_norm_step,
}


def step_of(cell, name=None):
    """The step of a cell, of another name in ``STEPS`` if given; that of one with options takes
    noise too, by name.
    """
    if (name or cell.name) in STEPS:
        found = STEPS[name or cell.name]
    else:
        found = functools.partial(variant_step, dataclasses.asdict(cell))
    if cell.projection is None:
        return found
    return projected(found, len(cell.states) + 1 + cell.weights.index(cell.projection))


def n_step(hx, cx, ws, bs, xs, directions=1):
    """Stacked layers, one sequence after the other.

    hx, cx (S * directions, B, H), xs[k] (L_k, I) -> hy, cy, ys with ys[k]
    (L_k, H * directions).  ws, bs: the matrices and biases of a layer and
    direction in the order i, f, a, o for the input, then for h; a ninth matrix
    is a projection.
    """
    hy, cy = _wide(hx.copy(), cx.copy())
    ys = []
    for k, x in enumerate(xs):
        (y,) = _wide(x)
        for first in range(0, len(hy), directions):
            outputs = []
            for layer in range(first, first + directions):
                backward = layer > first
                hy[layer, k], cy[layer, k], hs = _sequence(
                    hy[layer, k],
                    cy[layer, k],
                    _wide(*ws[layer]),
                    _wide(*bs[layer]),
                    y[::-1] if backward else y,
                )
                outputs.append(hs[::-1] if backward else hs)
            y = numpy.concatenate(outputs, axis=1)
        ys.append(y)
    return hy, cy, ys


def _sequence(h, c, w, b, x):
    """h, c (H,), x (L, I) -> h, c after the last step, all h (L, H)."""
    hs = numpy.zeros((len(x), len(h)))
    V = w[8] if len(w) > 8 else numpy.eye(len(h))
    for t in range(len(x)):
        i, f, a, o = (w[g] @ x[t] + w[4 + g] @ h + b[g] + b[4 + g] for g in range(4))
        c = numpy.tanh(a) * sigmoid(i) + c * sigmoid(f)
        h = hs[t] = V @ (numpy.tanh(c) * sigmoid(o))
    return h, c, hs


def _pre(h_prev, x, W, b, U):
    x, W, b, U = _wide(x, W, b, U)
    pre = x @ W.T + b
    return pre if h_prev is None else pre + _wide(h_prev)[0] @ U.T


def _wide(*arrays):
    return [numpy.asarray(x).astype(numpy.float64) for x in arrays]


def tree_node(cs, aio, fs):
    """c, h of a node of a tree: cs and fs of the children (H,), aio (3H,), before activation."""
    a, i, o = numpy.split(aio, 3)
    c = sigmoid(i) * numpy.tanh(a) + sum(sigmoid(f) * c for f, c in zip(fs, cs))
    return c, sigmoid(o) * numpy.tanh(c)


def child_sum_trees(children, x, W, b, U_aio, U_f):
    """c, h (N, H) of all nodes of trees by recursion, child-sum."""

    def node(n, c, h):
        width = len(U_aio)
        pre = W @ x[n] + b
        hs = [h[k] for k in children[n]]
        aio = pre[:width] + U_aio @ sum(hs, numpy.zeros(len(U_f)))
        return tree_node([c[k] for k in children[n]], aio, [pre[width:] + U_f @ y for y in hs])

    return _trees(children, node)


def n_ary_trees(children, x, W, b, *Us):
    """The same, N-ary; a child that is missing is None."""

    def node(n, c, h):
        units = Us[0].shape[1]
        kids = [*children[n], *[None] * (len(Us) - len(children[n]))] if children[n] else []
        pre = W @ x[n] + b + sum(U @ h[k] for U, k in zip(Us, kids) if k is not None)
        fs = numpy.split(pre[3 * units :], len(Us))
        known = [(c[k], f) for k, f in zip(kids, fs) if k is not None]
        return tree_node([c for c, _ in known], pre[: 3 * units], [f for _, f in known])

    return _trees(children, node)


def _trees(children, node):
    c, h = {}, {}

    def visit(n):
        if n not in c:
            for k in children[n]:
                if k is not None:
                    visit(k)
            c[n], h[n] = node(n, c, h)

    for n in range(len(children)):
        visit(n)
    return [numpy.stack([state[n] for n in range(len(children))]) for state in (c, h)]
