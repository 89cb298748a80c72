"""Scripts in processes of their own that are forked from a warm one:
they start in milliseconds, and may be killed.
"""

import multiprocessing
import os
import resource
import sys
import time

from tests.support.examples import load

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
    ['tests.examples.warm', 'chainer_lstm.training', 'chainer_lstm.models']
)


def _signal_after(update, number):
    """The process sends itself a signal after an update."""
    from chainer_lstm.training import BPTTUpdater

    original = BPTTUpdater.update

    def update_and_signal(self):
        original(self)
        if self.iteration == update:
            os.kill(os.getpid(), number)

    BPTTUpdater.update = update_and_signal


def _run(path, args, printed, complained, file_size, signal_after):
    from chainer.training import extensions

    extensions.PlotReport.available = staticmethod(lambda: False)  # most of the time would go there
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if signal_after is not None:
        _signal_after(*signal_after)
    for stream, file in ((sys.stdout, printed), (sys.stderr, complained)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
        stream.reconfigure(line_buffering=True)
    sys.argv = [path, *map(str, args)]
    load(path).main()


class Script:
    """A script that runs.

    Args:
        folder: for what it prints.
        path: of the script, among the examples.
        args: its options.
        file_size: bytes that a file may have, None for no limit.
        signal_after: an update of a language model, and the signal that comes after it; or None.
    """

    def __init__(self, folder, path, *args, file_size=None, signal_after=None):
        self._printed, self._complained = folder / 'stdout', folder / 'stderr'
        self.process = CONTEXT.Process(
            target=_run,
            args=(path, args, self._printed, self._complained, file_size, signal_after),
            daemon=True,
        )
        self.process.start()

    @property
    def printed(self):
        return self._printed.read_text() if self._printed.exists() else ''

    @property
    def complained(self):
        return self._complained.read_text() if self._complained.exists() else ''

    def wait_for(self, condition):
        """Until it holds or the script has ended; -> whether it held first."""
        end = time.monotonic() + 60
        while not condition():
            if not self.process.is_alive():
                return False
            assert time.monotonic() < end, self.printed + self.complained
            time.sleep(0.0005)
        return True

    def finish(self):
        """-> the exit status, negative for a signal that it did not catch."""
        self.process.join(60)
        assert self.process.exitcode is not None, self.printed + self.complained
        return self.process.exitcode
