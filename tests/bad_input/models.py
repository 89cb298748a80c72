"""Models, training, datasets, initializers, files and configuration."""

import pathlib

import chainer
import numpy
from chainer.utils.type_check import InvalidType

from chainer_lstm import datasets, functions, initializers, links, training
from chainer_lstm.datasets import reber
from chainer_lstm.models import CharacterModel, RNNForLM
from tests.bad_input.rows import Row, fresh, nothing, started, zeros
from tests.support.links import INPUT, UNITS

WORDS = numpy.arange(9, dtype='i') % 5
RANDOM = numpy.random.RandomState(0)
NAN = float('nan')


def words(*shape):
    return numpy.zeros(shape, 'i')


def model():
    """One that has read two words."""
    made = RNNForLM(5, 3, dropout=0)
    made(words(2))
    return made


def updater(**changed):
    """A call that makes one, with an argument changed,
    of a model that would be moved to the device.
    """

    def act(classifier):
        optimizer = chainer.optimizers.SGD().setup(classifier)
        return training.BPTTUpdater(
            **{
                'train_iter': training.ParallelSequentialIterator(WORDS, 2),
                'bprop_len': 3,
                'optimizer': optimizer,
                'device': '@numpy',
                **changed,
            }
        )

    return act


def classifier():
    return chainer.links.Classifier(model())


def npz(**arrays):
    """A call that reads a model's file with these arrays."""

    def make():
        numpy.savez('model.npz', **arrays)

    return make


def text(name, content):
    return lambda: pathlib.Path(name).write_bytes(content) and None


def folder(**parts):
    def make():
        for name, content in {'train': b'a b\n', 'valid': b'a\n', 'test': b'b\n', **parts}.items():
            pathlib.Path(f'{name}.txt').write_bytes(content)

    return make


def with_config(name, value):
    def act(link):
        with chainer.using_config(name, value):
            link(zeros(2, INPUT))

    return act


SIZES = (
    (0, ValueError, 'a positive integer, got 0'),
    (-1, ValueError, 'a positive integer, got -1'),
    (1.5, TypeError, 'a positive integer, got 1.5'),
    ('2', TypeError, "a positive integer, got '2'"),
    (None, TypeError, 'a positive integer, got None'),
    (True, TypeError, 'a positive integer, got True'),
)


def of_sizes():
    """Sizes that are none, of everything that takes one."""
    calls = {
        'RNNForLM n_vocab': lambda size: RNNForLM(size, 3),
        'RNNForLM n_units': lambda size: RNNForLM(5, size),
        'RNNForLM n_layers': lambda size: RNNForLM(5, 3, n_layers=size),
        'chunk length': lambda size: training.ParallelSequentialIterator(WORDS, 2).chunk(size),
        'BPTTUpdater bprop_len': lambda size: updater(bprop_len=size)(classifier()),
        'LanguageModelEvaluator batch_size': lambda size: training.LanguageModelEvaluator(
            WORDS, CLASSIFIER, size
        ),
        'LanguageModelEvaluator length': lambda size: training.LanguageModelEvaluator(
            WORDS, CLASSIFIER, 2, size
        ),
        'SequentialChunks batch_size': lambda size: datasets.SequentialChunks(words(50), size, 3),
        'RandomChunks length': lambda size: datasets.RandomChunks(words(50), 2, size),
        'Vocabulary min_count': lambda size: datasets.Vocabulary('a', min_count=size),
        'CharacterModel n_vocab': lambda size: CharacterModel(CLASSIFIER.predictor.l1, size),
        'predict length': lambda size: training.predict(
            CLASSIFIER.predictor, 'a', datasets.Vocabulary('abcd'), size
        ),
    }
    for name, call in calls.items():
        for size, error, message in SIZES:
            yield (
                f'{name} {size!r}',
                nothing,
                lambda _, call=call, size=size: call(size),
                error,
                f'expected {name.split()[-1]} to be {message}',
                name.startswith('BPTT'),
            )
    for size, error, message in SIZES:
        if size is not None:
            yield (
                f'load_time_machine most {size!r}',
                nothing,
                lambda _, size=size: datasets.load_time_machine('x', size),
                error,
                f'expected most to be {message}',
            )


CLASSIFIER = classifier()
MODELS = [
    *(
        (
            f'RNNForLM {name} {value!r}',
            nothing,
            lambda _, given={name: value}: RNNForLM(5, 3, **given),
            error,
            message,
        )
        for name, value, error, message in (
            ('dropout', 1, ValueError, 'expected dropout to be at least 0 and less than 1, got 1'),
            ('dropout', NAN, ValueError, 'got nan'),
            ('dropout', 'x', TypeError, "expected dropout to be a number, got 'x'"),
            ('dropout', None, TypeError, 'got None'),
            ('init', -1, ValueError, 'expected init .* got -1'),
            ('init', NAN, ValueError, 'got nan'),
            ('init', float('inf'), ValueError, 'got inf'),
            ('init', 'x', TypeError, "expected init to be a number, got 'x'"),
            ('tie_embeddings', 'x', TypeError, "tie_embeddings: expected True or False, got 'x'"),
            ('tie_embeddings', None, TypeError, 'got None'),
            ('tie_embeddings', 1, TypeError, 'got 1'),
        )
    ),
    *(
        (f'RNNForLM of {name}', model, lambda m, x=x: m(x), error, message)
        for name, x, error, message in (
            ('None', None, TypeError, 'expected x to be an array or a variable, got NoneType'),
            ('a list', [0, 1], TypeError, 'got list'),
            ('a string', 'ab', TypeError, 'got str'),
            ('no data', chainer.Variable(), TypeError, 'got a variable without data'),
            ('floats', zeros(2), InvalidType, r'dtype\.kind == i\nActual: f != i'),
            (
                'a word that is not there',
                words(2) + 5,
                ValueError,
                'x: expected word ids from 0 to 4, got 5; an EmbedID',
            ),
            (
                'a negative word',
                words(2) - 1,
                ValueError,
                'word ids from 0 to 4, got -1; an EmbedID',
            ),
            (
                'one wrong word in a chunk',
                numpy.array([[4, 0], [0, -3]]),
                ValueError,
                '0 to 4, got -3',
            ),
            (
                'no axis',
                words(),
                ValueError,
                r'word ids of shape \(batch,\) or \(time, batch\), got \(\)',
            ),
            ('three axes', words(1, 1, 1), ValueError, r'got \(1, 1, 1\)'),
            ('a larger batch', words(3), TypeError, 'Expected at most 2, got 3'),
            ('a chunk of a larger batch', words(2, 3), TypeError, 'Expected at most 2, got 3'),
        )
    ),
    *(
        (
            f'RNNForLM.from_npz of {name}',
            make,
            lambda _, path=path: RNNForLM.from_npz(path),
            error,
            message,
            *draws,
        )
        for name, make, path, error, message, *draws in (
            ('None', nothing, None, TypeError, 'NoneType'),
            ('no file', nothing, 'none', FileNotFoundError, 'none'),
            ('a folder', nothing, '.', IsADirectoryError, 'directory'),
            (
                'text',
                text('model.npz', b'weights'),
                'model.npz',
                ValueError,
                'expected an npz file of a model in',
            ),
            (
                'other arrays',
                npz(W=zeros(3)),
                'model.npz',
                ValueError,
                r"weights of an RNNForLM in .*, got \['W'\]",
            ),
            (
                'a vector to embed',
                npz(**{'embed/W': zeros(3)}),
                'model.npz',
                ValueError,
                'the weights of an RNNForLM',
            ),
            (
                'None to embed',
                npz(**{'embed/W': numpy.asarray(None)}),
                'model.npz',
                ValueError,
                'the weights of an',
            ),
            (
                'no layers',
                npz(**{'embed/W': zeros(3, 4)}),
                'model.npz',
                ValueError,
                'expected n_layers .* got 0',
            ),
            (
                'half a layer',
                npz(**{'embed/W': zeros(3, 4), 'l1/lateral/W': zeros(16, 4)}),
                'model.npz',
                ValueError,
                'l1/upward',
                True,
            ),
        )
    ),
]
TRAINING = [
    *(
        (
            f'generate {name} {value!r}',
            model,
            lambda m, given={name: value}: next(
                training.generate(**{'model': m, 'prime': [1], **given})
            ),
            error,
            message,
        )
        for name, value, error, message in (
            ('prime', [], ValueError, 'expected at least one word to begin after, got none'),
            ('prime', None, TypeError, None),
            (
                'prime',
                [1, 5],
                ValueError,
                'prime: expected word ids from 0 to 4, got 5; an EmbedID',
            ),
            ('prime', [-1], ValueError, 'prime: expected word ids from 0 to 4, got -1'),
            ('prime', [2**70], ValueError, 'got 1180591620717411303424'),
            ('prime', [1.5], TypeError, 'float'),
            ('prime', ['a'], TypeError, 'str'),
            ('temperature', 0, ValueError, 'expected a positive temperature, got 0'),
            ('temperature', -1, ValueError, 'got -1'),
            ('temperature', NAN, ValueError, 'got nan'),
            ('temperature', 'x', TypeError, None),
            ('model', None, TypeError, 'expected a model with reset_state, got NoneType'),
            (
                'model',
                chainer.links.Linear(2, 3),
                TypeError,
                'expected a model with reset_state, got Linear',
            ),
        )
    ),
    *(
        (
            f'ParallelSequentialIterator {name}',
            nothing,
            lambda _, args=args: training.ParallelSequentialIterator(*args),
            error,
            message,
        )
        for name, args, error, message in (
            (
                'batch 0',
                (WORDS, 0),
                ValueError,
                'expected a batch size between 1 and the 9 words, got 0',
            ),
            ('larger batch', (WORDS, 10), ValueError, 'between 1 and the 9 words, got 10'),
            ('batch 2.5', (WORDS, 2.5), TypeError, 'float'),
            ('batch None', (WORDS, None), TypeError, 'NoneType'),
            ('no words', ([], 1), ValueError, 'the 0 words, got 1'),
            ('None', (None, 1), ValueError, r'\(n,\), got \(\)'),
            ('a number', (5, 1), ValueError, r'got \(\)'),
            ('two axes', (words(5, 2), 1), ValueError, r'got \(5, 2\)'),
        )
    ),
    *(
        (f'BPTTUpdater {name}', classifier, updater(**changed), error, message)
        for name, changed, error, message in (
            (
                'another iterator',
                {'train_iter': chainer.iterators.SerialIterator(WORDS, 2)},
                TypeError,
                'expected a ParallelSequentialIterator, got SerialIterator',
            ),
            ('no iterator', {'train_iter': None}, TypeError, 'got NoneType'),
            ('no optimizer', {'optimizer': None}, TypeError, 'expected an optimizer, got NoneType'),
            (
                'bare optimizer',
                {'optimizer': chainer.optimizers.SGD()},
                ValueError,
                'set up with a model, got a bare SGD',
            ),
            ('unknown device', {'device': '@gpu:0'}, ValueError, 'gpu'),
            ('a device of no kind', {'device': 'abacus'}, RuntimeError, 'abacus'),
        )
    ),
    *(
        (
            f'LanguageModelEvaluator {name}',
            nothing,
            lambda _, args=args: training.LanguageModelEvaluator(*args),
            error,
            message,
        )
        for name, args, error, message in (
            (
                'one word',
                (words(1), CLASSIFIER),
                ValueError,
                r'at least 2 words to evaluate on, \(n,\), got \(1,\)',
            ),
            ('None', (None, CLASSIFIER), ValueError, r'got \(\)'),
            ('two axes', (words(3, 3), CLASSIFIER), ValueError, 'got'),
            (
                'no model',
                (WORDS, None),
                TypeError,
                'a predictor that has reset_state, got NoneType',
            ),
            (
                'a bare model',
                (WORDS, RNNForLM(5, 3)),
                TypeError,
                'a predictor that has reset_state, got RNNForLM',
            ),
        )
    ),
    *(
        (
            f'ExponentialDecay {args}',
            nothing,
            lambda _, args=args: training.ExponentialDecay(*args),
            error,
            message,
        )
        for args, error, message in (
            ((-1, 1), ValueError, 'expected decay to be at least 0 .* got -1'),
            ((NAN, 1), ValueError, 'got nan'),
            (('x', 1), TypeError, "expected decay to be a number, got 'x'"),
            ((None, 1), TypeError, 'got None'),
            ((0.5, -1), ValueError, 'expected first to be at least 0 .* got -1'),
            ((0.5, 1.5), TypeError, 'float'),
            ((0.5, 1, 5), TypeError, "attr: expected a name such as 'lr' or None, got 5"),
            ((0.5, 1, None, 'SGD'), TypeError, 'optimizer: expected an optimizer or None, got str'),
        )
    ),
    (
        'ExponentialDecay of AdaDelta',
        chainer.optimizers.AdaDelta,
        lambda optimizer: training.ExponentialDecay(0.5, 1, optimizer=optimizer),
        ValueError,
        "attr: expected 'eps' or 'rho' for AdaDelta, got None",
    ),
]
DATASETS = [
    *(
        (
            f'load_corpus of {name}',
            make,
            lambda _, source=source: datasets.load_corpus(source),
            error,
            message,
        )
        for name, make, source, error, message in (
            ('None', nothing, None, TypeError, 'NoneType'),
            ('a number', nothing, 5, TypeError, 'int'),
            (
                'no folder',
                nothing,
                'none',
                FileNotFoundError,
                "train.txt or train.txt in the folder 'none', found neither",
            ),
            (
                'an empty folder',
                nothing,
                '.',
                FileNotFoundError,
                "in the folder '.', found neither",
            ),
            ('a file', text('words', b'a b'), 'words', FileNotFoundError, "in the folder 'words'"),
            (
                'Latin letters',
                folder(valid=b'\xff\xfe'),
                '.',
                ValueError,
                "expected text in UTF-8 in 'valid.txt'",
            ),
            (
                'an empty part',
                folder(test=b''),
                '.',
                ValueError,
                "expected text in 'test.txt', got an empty file",
            ),
        )
    ),
    *(
        (
            f'load_time_machine of {name}',
            make,
            lambda _: datasets.load_time_machine('text'),
            error,
            message,
        )
        for name, make, error, message in (
            ('no file', nothing, FileNotFoundError, 'text'),
            ('a folder', lambda: pathlib.Path('text').mkdir(), IsADirectoryError, 'text'),
            (
                'Latin letters',
                text('text', b'\xff'),
                ValueError,
                "expected text in UTF-8 in 'text'",
            ),
            ('digits', text('text', b'1 2'), ValueError, "expected letters in 'text', got none"),
        )
    ),
    (
        'SequentialChunks of a short text',
        nothing,
        lambda _: datasets.SequentialChunks(words(5), 2, 3),
        ValueError,
        'at least 9 tokens .* got 5',
    ),
    (
        'embedded_reber -1',
        nothing,
        lambda _: datasets.embedded_reber(-1, RANDOM),
        ValueError,
        'from 0 on, got -1',
    ),
    (
        'embedded_reber 1.5',
        nothing,
        lambda _: datasets.embedded_reber(1.5, RANDOM),
        TypeError,
        'float',
    ),
    (
        'encode a symbol that is none',
        nothing,
        lambda _: reber.encode('BAD'),
        ValueError,
        r"got \['A', 'D'\]",
    ),
    *(
        (
            f'cached_download of {url!r}',
            nothing,
            lambda _, url=url: datasets.cached_download(url, '0' * 64),
            error,
            message,
        )
        for url, error, message in (
            ('http://x/y', ValueError, 'expected an https address of a file, got http://x/y'),
            ('file:///etc/passwd', ValueError, 'got file:///etc/passwd'),
            ('https://', ValueError, 'got https://'),
            ('https://x', ValueError, 'got https://x'),
            ('https://x/', ValueError, 'got https://x/'),
            ('https://x/..', ValueError, r'got https://x/\.\.'),
            ('', ValueError, 'expected an https address'),
            (None, TypeError, None),
        )
    ),
    *(
        (
            f'cached_download with sha256 {sha256!r}',
            nothing,
            lambda _, sha256=sha256: datasets.cached_download('https://x/y', sha256),
            error,
            message,
        )
        for sha256, error, message in (
            ('', ValueError, "64 hexadecimal digits of sha256, got ''"),
            ('z' * 64, ValueError, 'got .zzz'),
            (None, TypeError, None),
        )
    ),
]
OTHERS = [
    *(
        (
            f'PerGate of {value!r}',
            nothing,
            lambda _, value=value: initializers.PerGate(value),
            TypeError,
            'expected a callable initializer, got ',
        )
        for value in (None, 5, 'LeCunNormal', [1])
    ),
    *(
        (
            f'PerGate on {shape}',
            nothing,
            lambda _, shape=shape: initializers.PerGate(chainer.initializers.LeCunNormal())(
                zeros(*shape)
            ),
            ValueError,
            r'expected an array of 2 axes, the first that of 4 gates \(4H\), got \(',
        )
        for shape in ((), (4,), (5, 2))
    ),
    *(
        (
            f'GateBias of {value!r}',
            nothing,
            lambda _, value=value: initializers.GateBias(0, value),
            TypeError,
            'expected forget_bias_init to be None, a number, an array or a callable',
        )
        for value in ('1', [1], {})
    ),
    *(
        (
            f'GateBias on {shape}',
            nothing,
            lambda _, shape=shape: initializers.GateBias(1)(zeros(*shape)),
            ValueError,
            'expected an array of 1 axes',
        )
        for shape in ((), (5,))
    ),
    (
        'GateBias of another length',
        nothing,
        lambda _: initializers.GateBias(zeros(3))(zeros(16)),
        ValueError,
        'broadcast',
    ),
    *(
        (
            f'{name} with {entry} {value!r}',
            started(name),
            with_config(entry, value),
            ValueError,
            f'expected chainer.config.{entry} to be one of .*, got {value!r}{why}',
        )
        for name in ('LSTM', 'StatefulPeepholeLSTM')
        for entry, value, why in (
            ('lstm_engine', 'abacus', ': there is no such engine'),
            ('lstm_engine', None, ': there is no such engine'),
            ('lstm_engine', 'cupy', ': it cannot compute numpy arrays'),
            ('lstm_engine', 'persistent', ': it cannot'),
            ('lstm_matmul_precision', 'low', ''),
            ('lstm_matmul_precision', None, ''),
        )
    ),
    (
        'lstm_sequence with lstm_engine cupy',
        nothing,
        lambda _: with_config('lstm_engine', 'cupy')(
            lambda x: functions.lstm_sequence(
                zeros(1, 2, 4),
                zeros(1, 2, 4),
                x[None],
                [(zeros(16, INPUT), zeros(16), zeros(16, 4))],
            )
        ),
        ValueError,
        'it cannot compute numpy arrays',
    ),
    *(
        (
            f'lstm_forget_bias {value!r}',
            nothing,
            lambda _, value=value: with_config('lstm_forget_bias', value)(
                lambda x: links.LSTM(2, 3)
            ),
            TypeError,
            'expected forget_bias_init to be None, a number, an array or a callable',
        )
        for value in ('1', [1])
    ),
    (
        'load_npz of another link',
        fresh('LSTM'),
        lambda link: load(link, links.LSTM(INPUT, UNITS + 1)),
        ValueError,
        r'lateral/W: expected shape \(16, 4\), got \(20, 5\)',
        True,
    ),
    (
        'load_npz of two arrays for one parameter',
        lambda: RNNForLM(5, 3, tie_embeddings=True),
        lambda model: load(model, RNNForLM(5, 3)),
        ValueError,
        'l3/W: expected the values of embed/W, the same parameter here, got others; load',
        True,
    ),
    (
        'load_npz of a link with less',
        fresh('StatefulPeepholeLSTM'),
        lambda link: load(link, links.LSTM(INPUT, UNITS)),
        KeyError,
        'peep_f/W is not in the npz file',
        True,
    ),
]


def load(link, other):
    """The file is written where it may be: it is none of those that have to stay."""
    path = pathlib.Path('other.npz')
    chainer.serializers.save_npz(str(path), other)
    try:
        chainer.serializers.load_npz(str(path), link)
    finally:
        path.unlink()


ROWS = [Row(*row) for row in (*of_sizes(), *MODELS, *TRAINING, *DATASETS, *OTHERS)]
