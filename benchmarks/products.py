"""Large products by the native engine, by MKL through torch and by OpenBLAS through NumPy."""

from __future__ import annotations

import peers  # isort: skip  (lets Chainer be imported in a clone that is not installed)
from typing import Any, NamedTuple

import contestants
import numpy

from chainer_lstm import kernels


class Product(NamedTuple):
    """One of the three products of a linear layer: x (N, I) by W (O, I), in training.

    Attributes:
        rows: N.
        inputs: I.
        outputs: O.
        operation: 'x Wᵀ', or for the gradients with respect to x and W 'g W' and 'gᵀ x'.
    """

    rows: int
    inputs: int
    outputs: int
    operation: str

    def __str__(self) -> str:
        return f'{self.operation} {self.rows}/{self.inputs}/{self.outputs}'

    def factors(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        random = numpy.random.RandomState(0)
        x, W, g = (
            random.uniform(-1, 1, size).astype('f')
            for size in (
                (self.rows, self.inputs),
                (self.outputs, self.inputs),
                (self.rows, self.outputs),
            )
        )
        return {'x Wᵀ': (x, W.T), 'g W': (g, W), 'gᵀ x': (g.T, x)}[self.operation]

    def tiny(self) -> Product:
        return Product(3, 4, 5, self.operation)


def products_of(rows: int, inputs: int, outputs: int) -> tuple[Product, ...]:
    return tuple(Product(rows, inputs, outputs, name) for name in ('x Wᵀ', 'g W', 'gᵀ x'))


class NumpyProduct:
    """NumPy's product into an existing array: new pages would cost as much as a small product."""

    name = 'OpenBLAS'
    family = 'numpy'

    def __init__(self, product: Product) -> None:
        self.a, self.b = product.factors()
        self.out = numpy.empty((self.a.shape[0], self.b.shape[1]), 'f')

    @staticmethod
    def versions() -> dict[str, Any]:
        return {}

    def multiply(self) -> None:
        numpy.matmul(self.a, self.b, out=self.out)

    def results(self, mode: str) -> dict[str, numpy.ndarray]:
        getattr(self, mode)()
        return {'product': self.out}


class OurProduct(NumpyProduct):
    name = 'chainer_lstm'
    family = 'chainer_lstm'
    versions = staticmethod(contestants.Links.versions)

    def multiply(self) -> None:
        kernels.engine_of(self.out, 'native').matmul(self.a, self.b, self.out)


class TorchProduct(NumpyProduct):
    name = 'MKL'
    family = 'torch'
    versions = staticmethod(peers.Torch.versions)

    def __init__(self, product: Product) -> None:
        super().__init__(product)
        import torch

        self._multiply = torch.mm
        self._operands = [torch.from_numpy(x) for x in (self.a, self.b, self.out)]

    def multiply(self) -> None:
        a, b, out = self._operands
        self._multiply(a, b, out=out)
