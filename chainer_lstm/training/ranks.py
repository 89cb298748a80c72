"""Training in several processes, the ranks of an MPI job: the parts that ChainerMN leaves to a
script.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import chainer
from chainer.training import extension

from chainer_lstm.training import script
from chainer_lstm.training.extensions import RandomState

# environment variables with the number of processes, of MPICH and of Open MPI
_SIZES = ('PMI_SIZE', 'OMPI_COMM_WORLD_SIZE')
_FORWARDING = 0.2  # seconds for mpiexec to forward a rank's output; an abort discards the rest


class SingleProcess:
    """The communicator of a single process, with the methods of ChainerMN's that are used here."""

    rank = 0
    size = 1
    intra_rank = 0

    def bcast_obj(self, value: Any) -> Any:
        return value

    def gather_obj(self, value: Any) -> list:
        return [value]

    def allreduce_obj(self, value: Any) -> Any:
        return value


def communicator(mpi: bool, gpu: bool) -> Any:
    """Return ChainerMN's communicator of this job, ``pure_nccl`` for GPUs and ``naive`` for CPUs;
    ``SingleProcess`` without MPI.

    Raises:
        RuntimeError: mpi4py or an MPI library is missing, or for GPUs NCCL.
        ValueError: there are several processes, but mpi is False.
    """
    if not mpi:
        ranks = max(int(os.environ.get(name, 1)) for name in _SIZES)
        if ranks > 1:
            raise ValueError(
                f'expected --mpi in a job of {ranks} processes, '
                'or each would train and write the same'
            )
        return SingleProcess()
    try:
        import chainermn
        import mpi4py.MPI  # noqa: F401
    except (ImportError, RuntimeError) as error:  # no mpi4py; no MPI library
        raise RuntimeError(
            f"--mpi needs mpi4py and MPI, pip install 'chainer-lstm[mpi]': {error}"
        ) from error
    return chainermn.create_communicator('pure_nccl' if gpu else 'naive')


class FailedTogether(RuntimeError):
    """All ranks know that one of them failed."""


@contextlib.contextmanager
def fail_together(communicator: Any) -> Iterator[None]:
    """Run a block without communication in all ranks; an error in one of them ends all ranks at the
    end of the block.

    Raises:
        FailedTogether: with the first rank's error.
    """
    error = None
    try:
        yield
    except script.ERRORS as caught:
        error = caught
    failed = communicator.allreduce_obj([error and script.message(error)])
    for rank, text in enumerate(failed):
        if text:
            raise FailedTogether(f'rank {rank}: {text}' if rank else text) from error


@contextlib.contextmanager
def abort_all_on_error(communicator: Any) -> Iterator[None]:
    """Run a whole script; an error in one rank ends all ranks, which would otherwise wait for it.

    Raises:
        SystemExit: in every rank but 0, in place of an error that all ranks have.
    """
    try:
        yield
    except (FailedTogether, script.Stopped) as error:
        if communicator.rank:
            raise SystemExit(
                128 + error.number if isinstance(error, script.Stopped) else 2
            ) from None
        raise
    except BaseException as error:
        if communicator.size == 1:
            raise
        interrupted = isinstance(error, KeyboardInterrupt)
        if interrupted or isinstance(error, script.ERRORS):
            text = 'interrupted' if interrupted else f'error: {script.message(error)}'
            print(f'rank {communicator.rank}: {text}', file=sys.stderr, flush=True)
        else:
            print(traceback.format_exc(), end='', file=sys.stderr, flush=True)
        time.sleep(_FORWARDING)
        communicator.mpi_comm.Abort(130 if interrupted else 2)


def broadcast(communicator: Any, value: Any) -> Any:
    """Return the value of rank 0."""
    return communicator.bcast_obj([value] if communicator.rank == 0 else None)[0]


class RankStates(extension.Extension):
    """Save the states of links and of NumPy's generator, which differ between ranks, in the
    snapshot of rank 0.

    The extension runs in every rank, before rank 0 takes the snapshot.

    Args:
        communicator: ChainerMN's.
        links: the links with a state.
    """

    trigger = (1, 'epoch')

    def __init__(self, communicator: Any, links: Sequence[chainer.Link]) -> None:
        self._communicator = communicator
        self._links = links
        self._gathered: list[dict[str, Any]] = []

    def __call__(self, trainer: chainer.training.Trainer) -> None:
        own = chainer.serializers.DictionarySerializer()
        RandomState().serialize(own['random'])
        for k, link in enumerate(self._links):
            for name, state in link.save_state().items():
                own[str(k)](name, state)
        self._gathered = self._communicator.gather_obj(own.target) or []

    def serialize(self, serializer: Any) -> None:
        if isinstance(serializer, chainer.Deserializer):
            own = serializer[str(self._communicator.rank)]
            RandomState().serialize(own['random'])
            for k, link in enumerate(self._links):
                link.load_state({name: own[str(k)](name, None) for name in ('c', 'h')})
        for rank, states in enumerate(self._gathered):
            for key, state in states.items():
                serializer[str(rank)](key, state)


class StopOnSignal(extension.Extension):
    """End the training of all ranks after an update in which rank 0 received a signal.

    Args:
        signals: records signals while the trainer runs.
        save: extensions that are called first and take a snapshot.
        communicator: ChainerMN's, or ``SingleProcess``.
    """

    priority = -200  # after snapshots

    def __init__(
        self, signals: script.Signals, save: Sequence[extension.Extension], communicator: Any
    ) -> None:
        self._signals = signals
        self._save = save
        self._communicator = communicator

    def __call__(self, trainer: chainer.training.Trainer) -> None:
        self._signals.number = broadcast(self._communicator, self._signals.number)
        if self._signals.number:
            for save in self._save:
                save(trainer)
        self._signals.raise_noted()
