"""Computes what the gallery's page about other frameworks shows beside this package:
``python docs/gallery/peers.py``, where torch and Keras are installed.
"""

import numpy


def numbers(start, *shape):
    """The same numbers everywhere, without a random generator."""
    return numpy.sin(numpy.arange(numpy.prod(shape)) * 1.7 + start).reshape(shape).astype('f')


def torch_state():
    """The state_dict of ``nn.LSTM(3, 2)``."""
    shapes = {
        'weight_ih_l0': (8, 3),
        'weight_hh_l0': (8, 2),
        'bias_ih_l0': (8,),
        'bias_hh_l0': (8,),
    }
    return {name: numbers(k, *shape) for k, (name, shape) in enumerate(shapes.items(), 1)}


def keras_weights():
    """What ``get_weights()`` of ``LSTM(2)`` gives."""
    return [numbers(1, 3, 8), numbers(2, 2, 8), numbers(3, 8)]


def main():
    import keras
    import torch

    numpy.set_printoptions(precision=6, suppress=True, floatmode='fixed')
    x = numbers(0, 1, 6, 3)
    lstm = torch.nn.LSTM(3, 2, batch_first=True)
    lstm.load_state_dict({name: torch.tensor(w) for name, w in torch_state().items()})
    print(f'torch {torch.__version__}:\n{lstm(torch.tensor(x))[0].detach().numpy()[0]}')
    layer = keras.layers.LSTM(2, return_sequences=True)
    layer.build((None, None, 3))
    layer.set_weights(keras_weights())
    y = keras.ops.convert_to_numpy(layer(x))
    print(f'Keras {keras.__version__}, backend {keras.backend.backend()}:\n{y[0]}')


if __name__ == '__main__':
    main()
