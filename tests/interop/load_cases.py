"""What ``interop.load`` reads: arrays and layers as other frameworks have them."""

import numpy

from tests.interop import frameworks
from tests.interop.frameworks import CASES


def outputs(link, dtype='d'):
    link.batch_first = False
    return link(frameworks.x(dtype)).array


def arrays_of(name='torch.nn.LSTM', dtype='f'):
    return CASES[name].arrays(dtype)


def nested(arrays, separator='/'):
    found = {}
    for key, value in arrays.items():
        *path, last = key.split(separator)
        inside = found
        for name in path:
            inside = inside.setdefault(name, {})
        inside[last] = value
    return found


def keras_layer(**settings):
    """A layer as Keras has it, without Keras."""

    class LSTM:
        __module__ = 'keras.layers'
        activation, recurrent_activation = numpy.tanh, frameworks.sigmoid
        go_backwards, return_sequences, dropout = False, False, 0.5

        def get_weights(self):
            return list(arrays_of('Keras LSTM').values())

    for name, value in settings.items():
        setattr(LSTM, name, value)
    return LSTM()


def bidirectional(merge_mode='concat', **settings):
    class Bidirectional:
        __module__ = 'keras.layers'
        forward_layer = keras_layer(return_sequences=True)
        backward_layer = keras_layer(go_backwards=True, return_sequences=True, **settings)

    Bidirectional.merge_mode = merge_mode
    return Bidirectional()
