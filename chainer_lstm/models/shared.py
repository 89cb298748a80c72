"""Chains whose links share parameters, such as tied embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import chainer

from chainer_lstm.chainer_private import parameter_names


class SharesParameters(chainer.Chain):
    """A chain whose links may share a ``Parameter``.

    Chainer's ``Chain`` yields a shared parameter once for every link, so that an optimizer updates
    it, and a gradient norm counts it, several times; and copies of the chain no longer share it.
    Here it counts once and stays shared.  Files hold the array once for every link.
    """

    def params(self, include_uninit: bool = True) -> Iterator[chainer.Parameter]:
        """Yield each parameter once."""
        for _, param in self.namedparams(include_uninit):
            yield param

    def namedparams(self, include_uninit: bool = True) -> Iterator[tuple[str, chainer.Parameter]]:
        """Yield each parameter once, under the first of its paths."""
        seen = set()
        for path, param in super().namedparams(include_uninit):
            if id(param) not in seen:
                seen.add(id(param))
                yield path, param

    def copy(self, mode: str = 'share') -> SharesParameters:
        """Return a copy, as ``Chain.copy``, with the same parameters shared."""
        copied = super().copy(mode)
        copies: dict[int, chainer.Parameter] = {}
        for link, new in zip(self.links(), copied.links()):
            for name in parameter_names(link):
                own = copies.setdefault(id(getattr(link, name)), getattr(new, name))
                setattr(new, name, own)
        return copied

    def addgrads(self, link: chainer.Link) -> None:
        """Add the gradients of another chain, once for a shared parameter."""
        pairs = set()
        for own, other in zip(self.links(), link.links()):
            for name in parameter_names(own):
                pair = getattr(own, name), getattr(other, name)
                if tuple(map(id, pair)) not in pairs:
                    pairs.add(tuple(map(id, pair)))
                    pair[0].addgrad(pair[1])
