"""The two names of ``pkg_resources`` that ``chainer.testing`` uses, on ``importlib.metadata``."""

from __future__ import annotations

import importlib.metadata


class ResolutionError(Exception):
    """A requirement is not met."""


class WorkingSet:
    """The installed distributions."""

    def require(self, *requirements: str) -> None:
        """Check requirements such as ``'scipy>=1.0'``.

        Raises:
            ResolutionError: one is not installed, or in another version.
        """
        # pytest brings packaging along; nothing outside chainer.testing needs it
        from packaging.requirements import Requirement

        for text in requirements:
            requirement = Requirement(text)
            try:
                version = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                raise ResolutionError(f'{text}: not installed') from None
            if not requirement.specifier.contains(version, prereleases=True):
                raise ResolutionError(f'{text}: version {version} is installed')
