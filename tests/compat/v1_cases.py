"""What programs of Chainer v1 do: run by genuine Chainer 1.24 to record numbers,
and by the tests to compare them.

    python tests/compat/v1_cases.py tests/compat/v1_numbers.json
    # Chainer 1.24.0, NumPy 1.16, Python 3.6

So it is written as such a program, and in the Python of that time.
"""

import json
import os
import shutil
import sys
import tempfile
import warnings
import zlib

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np
from chainer import Variable, optimizers, training
from chainer.training import extensions

CASES = {}
_draws = np.random.RandomState(3)
X = _draws.randn(4, 3).astype('f')
H = _draws.randn(4, 5).astype('f')
IMAGES = _draws.randn(2, 2, 5, 5).astype('f')
W = _draws.randn(3, 2, 3, 3).astype('f')
T = np.array([0, 1, 2, -1], 'i')
ONES, ZEROS = np.ones(3, 'f'), np.zeros(3, 'f')

LINKS = {
    'bias': lambda: L.Bias(0, (3,)),
    'batch normalization': lambda: L.BatchNormalization(
        3, 0.9, 2e-5, np.float32, True, True, None, None, False
    ),
    'bilinear': lambda: L.Bilinear(3, 4, 2),
    'convolution': lambda: L.Convolution2D(2, 3, 3, 1, 1, 2.0, 0.5),
    'convolution, all arguments': lambda: L.Convolution2D(
        2, 3, 3, 1, 1, 1, 0, False, True, None, None, True
    ),
    'convolution ND': lambda: L.ConvolutionND(1, 2, 3, 3, 1, 1, None, None, True, False),
    'deconvolution': lambda: L.Deconvolution2D(2, 3, 3, 1, 1, 1, 0.5, False, None, True),
    'deconvolution ND': lambda: L.DeconvolutionND(1, 2, 3, 3, 1, 1, None, None, 0, True),
    'dilated convolution': lambda: L.DilatedConvolution2D(2, 3, 3, 1, 1, 2, 1, 0.5, False, True),
    'embedding': lambda: L.EmbedID(6, 3),
    'GRU': lambda: L.GRU(5, 3),
    'GRU, one size': lambda: L.GRU(5),
    'highway': lambda: L.Highway(3),
    'inception': lambda: L.Inception(3, 2, 2, 2, 2, 2, 2),
    'linear': lambda: L.Linear(3, 5),
    'linear, scaled': lambda: L.Linear(3, 5, 2.0, 0.5),
    'linear, scaled by name': lambda: L.Linear(3, 5, wscale=0.1, bias=1),
    'linear, without bias': lambda: L.Linear(3, 5, 1, 0, True),
    'linear, of arrays': lambda: L.Linear(
        3, 2, 4.0, 0, False, np.ones((2, 3), 'f'), np.arange(2).astype('f')
    ),
    'linear, of a number': lambda: L.Linear(3, 2, 4.0, 0, False, 0.25, 0.5),
    'LSTM': lambda: L.LSTM(3, 5),
    'maxout': lambda: L.Maxout(3, 4, 2, 2.0, None, 1.0),
    'n-step LSTM': lambda: L.NStepLSTM(2, 3, 5, 0.5, True),
    'n-step BiLSTM': lambda: L.NStepBiLSTM(2, 3, 5, 0.5, False),
    'n-step GRU': lambda: L.NStepGRU(2, 3, 5, 0.5, True),
    'n-step BiGRU': lambda: L.NStepBiGRU(2, 3, 5, 0.5, use_cudnn=False),
    'n-step RNN': lambda: L.NStepRNNTanh(2, 3, 5, 0.5, True),
    'n-step BiRNN': lambda: L.NStepBiRNNReLU(2, 3, 5, 0.5, True),
    'parameter': lambda: L.Parameter(np.arange(3).astype('f')),
    'peephole': lambda: L.StatefulPeepholeLSTM(3, 5),
    'PReLU': lambda: L.PReLU(),
    'stateful GRU': lambda: L.StatefulGRU(3, 5),
    'stateless LSTM': lambda: L.StatelessLSTM(3, 5),
    'zoneout': lambda: L.StatefulZoneoutLSTM(3, 5, 0.5, 0.5, False),
}


def case(function):
    CASES[function.__name__] = function
    return function


def x(array=X, *flag):
    return Variable(array, *flag)


def link(name):
    np.random.seed(7)
    return LINKS[name]()


@case
def weights():
    """The names, their order, and all bits."""
    return [
        [
            name,
            path,
            parameter.data.shape,
            zlib.crc32(np.ascontiguousarray(parameter.data).tobytes()),
        ]
        for name in sorted(LINKS)
        for path, parameter in link(name).namedparams()
    ]


@case
def weights_drawn_in_order_of_registration():
    model = chainer.Chain(embed=L.EmbedID(6, 3), l1=L.LSTM(3, 5), b=L.GRU(5), a=L.Linear(5, 2))
    for parameter in model.params():
        parameter.data[...] = np.random.uniform(-0.1, 0.1, parameter.data.shape)
    return [[path, zlib.crc32(parameter.data.tobytes())] for path, parameter in model.namedparams()]


@case
def dropout():
    return [
        F.dropout(x()),
        F.dropout(x(), 0.3, True),
        F.dropout(x(), 0.3, False),
        F.dropout(x(), train=False),
        F.dropout(x(), ratio=0.2, train=1),
        F.dropout(X, 0.4),
        F.zoneout(x(), x(2 * X), 0.5, True),
        F.zoneout(x(), x(2 * X), 0.5, train=False),
        F.simplified_dropconnect(x(), np.ones((2, 3), 'f'), None, 0.5, False),
        F.gaussian(x(), x()),
    ]


@case
def activations():
    return [
        F.relu(x(), False),
        F.relu(x(), use_cudnn=True),
        F.sigmoid(x(), False),
        F.tanh(x(), False),
        F.softmax(x(), False),
        F.softmax(x(), True, 0),
        F.log_softmax(x(), False),
    ]


@case
def losses():
    t = x(T)
    return [
        F.softmax_cross_entropy(x(), t, False),
        F.softmax_cross_entropy(x(), t, True, False),
        F.softmax_cross_entropy(x(), t, True, False, False, np.array([1, 2, 3], 'f')),
        F.softmax_cross_entropy(x(), t, use_cudnn=False, normalize=False),
        F.sigmoid_cross_entropy(x(), x((X > 0).astype('i')), False, False),
    ]


@case
def convolutions():
    return [
        F.convolution_2d(IMAGES, W, None, 1, 1, False, False, True),
        F.convolution_2d(IMAGES, W, None, 2, 0, False, True),
        F.convolution_nd(IMAGES, W, None, 1, 1, False, True),
        F.dilated_convolution_2d(IMAGES, W, None, 1, 1, 2, False),
        F.deconvolution_2d(IMAGES, W.transpose(1, 0, 2, 3).copy(), None, 1, 1, None, False, True),
        F.deconvolution_nd(IMAGES, W.transpose(1, 0, 2, 3).copy(), None, 1, 1, None, False),
        F.max_pooling_2d(IMAGES, 2, 2, 0, False, False),
        F.max_pooling_nd(IMAGES, 2, 2, 0, False, False),
        F.average_pooling_2d(IMAGES, 2, 2, 0, False),
        F.average_pooling_nd(IMAGES, 2, 2, 0, False),
    ]


@case
def split_axis():
    return [F.split_axis(x(), 1, 1), F.split_axis(x(), 1, 1, True)[0], F.split_axis(x(), 3, 1)[1]]


@case
def batch_normalization():
    bn = L.BatchNormalization(3)
    fine = L.BatchNormalization(3)
    return [
        bn(x()),
        bn(x(3 * X + 1), test=False),
        bn(x(), True),
        bn(x(), test=True),
        bn.avg_mean,
        bn.avg_var,
        fine(x(), False, True),
        fine(x(2 * X), finetune=True),
        fine.N,
        fine.avg_mean,
        fine(x(), test=True),
        F.batch_normalization(X, ONES, ZEROS, 1e-3, np.zeros(3, 'f'), np.zeros(3, 'f'), 0.9, False),
        F.fixed_batch_normalization(X, ONES, ZEROS, ZEROS, ONES, 1e-3, False),
    ]


@case
def recurrent_links():
    found = []
    for name in ('LSTM', 'peephole', 'stateful GRU', 'zoneout'):
        rnn = link(name)
        found += [rnn(x()), rnn(x(2 * X))]
        rnn.reset_state()
        found.append(rnn(x()))
    return found + [link('GRU')(x(H), x()), link('stateless LSTM')(x(H), x(H), x())]


@case
def n_step_links():
    xs = [x(X[:2]), x(X), x(X[:3])]
    found = []
    for name in ('LSTM', 'BiLSTM', 'GRU', 'BiGRU', 'RNN', 'BiRNN'):
        rnn = link('n-step ' + name)
        states = (None, None) if 'LSTM' in name else (None,)
        arguments = states + (xs,)
        found += [rnn(*(arguments + (False,))), rnn(*arguments, train=False)]
        if 'Bi' not in name:  # its masks are drawn in another order
            found.append(rnn(*arguments))
    return found


@case
def volatile():
    found = []
    for flag in ('on', 'off', 'auto', True, False, None, chainer.ON, chainer.OFF, chainer.AUTO):
        a = x(X, flag)
        y, z = F.relu(a), L.Linear(3, 2)(a)
        found += [str(v.volatile) for v in (a, y, z)] + [y.creator is None, z.creator is None]
    for flags in (('on', 'auto'), ('off', 'auto'), ('auto', 'auto')):
        y = x(X, flags[0]) + Variable(X, volatile=flags[1])
        found += [str(y.volatile), y.creator is None]
    found += [
        str((x(X, 'on') + X).volatile),
        str((x() + X).volatile),
        str(L.Linear(3, 2).W.volatile),
    ]
    with chainer.no_backprop_mode():
        found.append(F.relu(x(X, 'auto')).creator is None)
    a = x()
    a.volatile = 'on'
    return found + [
        str(F.relu(a).volatile),
        str(chainer.Flag('ON')),
        chainer.flag.ON == 'on',
        chainer.ON == True,  # noqa: E712
        chainer.AUTO == None,  # noqa: E711
        bool(chainer.ON),
        bool(chainer.OFF),
    ]


@case
def volatile_through_links():
    rnn = L.LSTM(3, 2)
    rnn(x(X, 'on'))
    found = [str(rnn.h.volatile), str(rnn.c.volatile), rnn.h.creator is None]
    for name in ('n-step LSTM', 'n-step BiLSTM'):
        hy, cy, ys = link(name)(None, None, [x(X, 'on')], False)
        found += [str(y.volatile) for y in (hy, cy, ys[0])]
    return found + [
        str(L.BatchNormalization(3, use_gamma=False)(x(X, 'on')).volatile),
        str(L.GRU(5, 3)(np.zeros((4, 5), 'f'), x(X, 'on')).volatile),
        str(F.dropout(x(X, 'on'), train=False).volatile),
        str(F.concat([x(X, 'on'), X]).volatile),
    ]


@case
def mixed_flags():
    rnn = L.LSTM(3, 2)
    rnn(x(X, 'on'))
    found = []
    for call in (
        lambda: x(X, 'on') + x(),
        lambda: rnn(x()),
        lambda: chainer.AUTO and 1,
        lambda: F.concat([x(), x(X, True)]),
    ):
        try:
            found.append(str(call()))
        except ValueError:
            found.append('ValueError')
    return found


@case
def lengths_and_sets():
    a, b = x(), L.Linear(3, 2).W
    return [len(a), len(x(X[0])), len({a, b, a, x()}), {a: 1, b: 2}[b]]


class Model(chainer.Chain):
    def __init__(self):
        super().__init__(l2=L.LSTM(3, 5), l1=L.Linear(5, 3))

    def __call__(self, x, t):
        self.l2.reset_state()
        self.l2(x)
        h = self.l2(F.dropout(x))
        return F.softmax_cross_entropy(self.l1(F.dropout(h, train=True)), t)


@case
def optimizers_by_hand():
    found = []
    for name in (
        'SGD',
        'Adam',
        'MomentumSGD',
        'RMSprop',
        'AdaGrad',
        'AdaDelta',
        'NesterovAG',
        'RMSpropGraves',
        'SMORMS3',
    ):
        np.random.seed(7)
        model, optimizer = Model(), getattr(optimizers, name)()
        optimizer.setup(model)
        for _ in range(2):
            optimizer.zero_grads()
            loss = model(x(), x(T))
            loss.backward()
            found += [loss, optimizer.compute_grads_norm()]
            optimizer.weight_decay(0.01)
            optimizer.clip_grads(0.5)
            found.append(optimizer.compute_grads_norm())
            optimizer.accumulate_grads([np.ones_like(p.data) for p in model.params()])
            optimizer.update()
        optimizer.update(model, x(), x(T))
        found += [p.data for p in model.params()]
    return found


class Momentum(chainer.optimizer.GradientMethod):
    def __init__(self, lr):
        self.lr = lr

    def init_state(self, param, state):
        state['v'] = np.zeros_like(param.data)

    def update_one(self, param, state):
        state['v'] += self.lr / self.t * param.grad
        param.data -= state['v']


class MomentumOfDevices(Momentum):
    init_state = chainer.optimizer.GradientMethod.init_state
    init_state_cpu = Momentum.init_state
    update_one = chainer.optimizer.GradientMethod.update_one
    update_one_cpu = Momentum.update_one


class Descent(chainer.optimizer.GradientMethod):
    def update_one_cpu(self, param, state):
        param.data -= param.grad


class AdamByName(optimizers.Adam):
    update_one_cpu = Descent.update_one_cpu


@case
def own_optimizers():
    found = []
    for optimizer in Momentum(0.1), MomentumOfDevices(0.1), Descent(), AdamByName():
        np.random.seed(7)
        model = Model()
        optimizer.setup(model)
        optimizer.add_hook(chainer.optimizer.GradientClipping(0.3))
        for _ in range(3):
            optimizer.update(model, x(), x(T))
        found += [p.data for p in model.params()]
    return found


@case
def optimizer_hooks():
    model, optimizer = Model(), optimizers.SGD(lr=1.0)
    optimizer.setup(model)
    for hook in (
        chainer.optimizer.WeightDecay(0.1),
        chainer.optimizer.GradientClipping(0.3),
        chainer.optimizer.Lasso(0.01),
    ):
        optimizer.add_hook(hook)
    for use in (False, True):
        optimizer.use_cleargrads(use)
        optimizer.update(model, x(), x(T))
    model.zerograds()
    return [p.data for p in model.params()] + [p.grad for p in model.params()]


@case
def function_set():
    model = chainer.FunctionSet(l2=F.Linear(3, 4, 2.0, 0.1), l1=F.Linear(4, 2))
    model.emb = F.EmbedID(5, 3)
    model.l2 = F.Linear(3, 4)
    other = chainer.FunctionSet(l2=F.Linear(3, 4), l1=F.Linear(4, 2), emb=F.EmbedID(5, 3))
    other.copy_parameters_from(model.parameters)
    optimizer = optimizers.SGD()
    optimizer.setup(model.collect_parameters())
    optimizer.zero_grads()
    loss = F.sum(model.l1(F.relu(model['l2'](model.emb(x(np.array([0, 1, 4], 'i')))))))
    loss.backward()
    optimizer.update()
    other.gradients = model.gradients
    model.parameters = [2 * array for array in model.parameters]
    return [
        [path for path, _ in model.namedparams()],
        loss,
        list(model.parameters),
        list(other.parameters),
        list(other.gradients),
    ]


@case
def links_with_parameters_of_their_own():
    class Late(chainer.Link):
        def __init__(self):
            super().__init__(b=2)
            self.add_uninitialized_param('W')
            chainer.initializers.init_weight(self.b.data, 0.5, 2.0)

        def __call__(self, x):
            if self.has_uninitialized_params:
                self.add_param(
                    'W', (2, x.data.shape[1]), initializer=chainer.initializers.Normal(0.1)
                )
            return F.linear(x, self.W, self.b)

    model, optimizer = Late(), optimizers.SGD()
    found = [model.has_uninitialized_params]
    optimizer.setup(model)
    optimizer.update(lambda: F.sum(model(x()) ** 2))
    weight = np.zeros((3, 4), 'f')
    chainer.init_weight(weight, None, 2.0)
    return found + [model.has_uninitialized_params, model.W.data, model.b.data, weight]


@case
def links_added_after_setup():
    model, optimizer = chainer.Chain(a=L.Linear(3, 2)), optimizers.MomentumSGD()
    optimizer.setup(model)

    def loss():
        if len(list(model.children())) == 1:
            model.add_link('b', L.Linear(3, 2))
        return F.sum((model.a(x()) - model.b(x())) ** 2)

    for _ in range(3):
        optimizer.update(loss)
    return [p.data for p in model.params()]


class LanguageModel(chainer.Chain):
    """The example of Chainer v1, with the train flag that it had."""

    def __init__(self, n_vocab, n_units, train=True):
        super().__init__(
            embed=L.EmbedID(n_vocab, n_units),
            l1=L.LSTM(n_units, n_units),
            l2=L.LSTM(n_units, n_units),
            l3=L.Linear(n_units, n_vocab),
        )
        self.draw()
        self.train = train

    def draw(self):
        for param in self.params():
            param.data[...] = np.random.uniform(-0.1, 0.1, param.data.shape)

    def reset_state(self):
        for lstm in (self.l1, self.l2):
            lstm.reset_state()

    def __call__(self, x):
        x = self.embed(x)
        for layer in (self.l1, self.l2, self.l3):
            x = layer(F.dropout(x, train=self.train))
        return x


@case
def language_model(cls=LanguageModel):
    """Truncated backpropagation through time by hand;
    perplexities of training and of evaluation.
    """
    words = (np.arange(600) * 7 % 11 + np.arange(600) // 3 % 5).astype('i')
    model = L.Classifier(cls(16, 12))
    model.compute_accuracy = False
    optimizer = optimizers.SGD(lr=1.0)
    optimizer.setup(model)
    optimizer.add_hook(chainer.optimizer.GradientClipping(5))
    found = []
    for _ in range(2):
        loss, total = 0, 0
        for k in range(59):
            batch = words.reshape(10, 60)
            loss += model(Variable(batch[:, k].copy()), Variable(batch[:, k + 1].copy()))
            if k % 10 == 9:
                total += float(loss.data)
                model.cleargrads()
                loss.backward()
                loss.unchain_backward()
                loss = 0
                optimizer.update()
        evaluator = model.copy()
        evaluator.predictor = model.predictor.copy()
        evaluator.predictor.train = False
        evaluator.predictor.reset_state()
        losses = [
            float(
                evaluator(
                    Variable(words[k : k + 1], volatile='on'),
                    Variable(words[k + 1 : k + 2], volatile='on'),
                ).data
            )
            for k in range(50)
        ]
        found += [np.exp(total / 50), np.exp(np.mean(losses))]
    return found


class Images(chainer.Chain):
    """Looks at ``.data`` and ``.volatile``, as variables have them,
    and drops whether or not it is evaluated.
    """

    def __init__(self):
        super().__init__(l1=L.Linear(3, 4), l2=L.Linear(4, 3))
        self.seen = set()

    def __call__(self, x):
        assert x.data.shape[1] == 3
        self.seen.add((type(x).__name__, str(x.volatile)))
        return self.l2(F.dropout(F.relu(self.l1(x))))


@case
def trainer():
    calls = []

    @training.make_extension((1, 'epoch'), None, None, True)
    def early(trainer):
        calls.append(trainer.updater.iteration)

    class Late(training.Extension):
        trigger = (3, 'iteration')

        def __call__(self, trainer):
            calls.append(-trainer.updater.iteration)

    out = tempfile.mkdtemp()
    try:
        draws = np.random.RandomState(0)
        dataset = chainer.datasets.TupleDataset(
            draws.randn(12, 3).astype('f'), draws.randint(0, 3, 12).astype('i')
        )
        model = L.Classifier(Images())
        optimizer = optimizers.Adam()
        optimizer.setup(model)
        updater = training.StandardUpdater(
            chainer.iterators.SerialIterator(dataset, 4), optimizer, device=-1
        )
        run = training.Trainer(updater, (3, 'epoch'), out)
        run.extend(
            extensions.Evaluator(
                chainer.iterators.SerialIterator(dataset, 4, False, False), model, device=-1
            )
        )
        run.extend(
            extensions.snapshot(filename='all_{.updater.iteration}', trigger=(6, 'iteration'))
        )
        run.extend(
            extensions.snapshot_object(model, 'model_{.updater.iteration}', trigger=(2, 'epoch'))
        )
        run.extend(extensions.LogReport())
        run.extend(early)
        run.extend(Late(), invoke_before_training=True)
        run.extend(
            extensions.ExponentialShift('alpha', 0.5),
            trigger=(1, 'epoch'),
            invoke_before_training=True,
        )
        run.run()
        with open(os.path.join(out, 'log')) as file:
            log = json.load(file)
        return [
            [
                entry[key]
                for key in ('main/loss', 'validation/main/loss', 'validation/main/accuracy')
            ]
            for entry in log
        ] + [
            sorted(os.listdir(out)),
            calls,
            optimizer.alpha,
            sorted(' '.join(each) for each in model.predictor.seen),
        ]
    finally:
        shutil.rmtree(out)


def summary(value):
    """A JSON of strings, integers and lists;
    of arrays the shape, the first elements and the sum.
    """
    if isinstance(value, Variable):
        value = value.data
    if isinstance(value, (list, tuple)):
        return [summary(each) for each in value]
    if isinstance(value, np.ndarray):
        return {
            'shape': list(value.shape),
            'values': [float(each) for each in value.ravel()[:4]],
            'sum': float(value.astype('d').sum()),
        }
    return float(value) if isinstance(value, (float, np.floating)) else value


def run(name):
    np.random.seed(7)
    return json.loads(json.dumps(summary(CASES[name]())))


if __name__ == '__main__':
    warnings.simplefilter('ignore')
    with open(sys.argv[1], 'w') as file:
        lines = [f'{json.dumps(name)}: {json.dumps(run(name))}' for name in CASES]
        file.write('{' + ',\n'.join(lines) + '}\n')
