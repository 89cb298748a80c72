"""The names of the CUDA kernels: one for each stage of a cell and direction."""

from chainer_lstm.cells import COMPILED

KERNELS = [
    f'{cell.name}_{direction}_{number}'
    for cell in COMPILED.values()
    for number in range(len(cell.stages))
    for direction in ('forward', 'backward')
]
