"""The verdicts of trials, cached in a file for later processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional

from chainer_lstm.files import written

_LOCK_SECONDS = 2.0
_LASTING = ('faster', 'slower', 'wrong')


class Verdict(NamedTuple):
    """The result of a trial.

    Attributes:
        kind: 'faster' (the results agree, and the candidate is chosen), 'slower' (they agree),
            'wrong', 'refused' (it could not run this time) or 'undecided' (results that cannot be
            compared).
        why: the reason in words.
    """

    kind: str
    why: str

    @property
    def lasting(self) -> bool:
        """Whether it is valid in other processes too."""
        return self.kind in _LASTING

    def __str__(self) -> str:
        return f'{self.kind}: {self.why}'


class VerdictFile:
    """A file of lasting verdicts by key, for one combination of hardware and software.

    A file that cannot be read or parsed counts as empty; if it cannot be written, nothing is saved.
    Processes may share it.

    Args:
        identity: everything besides the key on which a verdict depends.
        folder: the folder of the file; None to save nothing.
    """

    def __init__(self, identity: Mapping[str, str], folder: Optional[pathlib.Path]) -> None:
        self.identity = dict(identity)
        text = json.dumps(self.identity, sort_keys=True)
        name = f'verdicts-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json'
        self.path = None if folder is None else folder / name

    def read(self) -> dict[str, Verdict]:
        """Return the verdicts by key."""
        if self.path is None:
            return {}
        try:
            content = json.loads(self.path.read_text(encoding='utf-8'))
            if content['identity'] != self.identity:
                return {}
            found = {key: Verdict(*map(str, given)) for key, given in content['verdicts'].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}
        return {key: verdict for key, verdict in found.items() if verdict.lasting}

    def add(self, verdicts: Mapping[str, Verdict]) -> None:
        """Add verdicts to the file; entries that other processes have written are kept."""
        if self.path is None:
            return
        with contextlib.suppress(OSError, NotImplementedError), self._locked(self.path):
            content = {'identity': self.identity, 'verdicts': {**self.read(), **verdicts}}
            with written(self.path) as path:
                path.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')

    @contextlib.contextmanager
    def _locked(self, path: pathlib.Path) -> Iterator[None]:
        import filelock

        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f'{path}.lock', timeout=_LOCK_SECONDS):
            yield


def cache_folder() -> Optional[pathlib.Path]:
    """Return CHAINER_LSTM_CACHE_DIR or a folder in the user's home; None if there is neither."""
    given = os.environ.get('CHAINER_LSTM_CACHE_DIR')
    if given:
        return pathlib.Path(given)
    try:
        return pathlib.Path.home() / '.cache' / 'chainer_lstm'
    except RuntimeError:
        return None
