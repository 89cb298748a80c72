import hashlib
import http.client
import io
import threading
import urllib.error
import urllib.request

import chainer
import pytest

from chainer_lstm.datasets import cached_download

CONTENT = b'some words\n' * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
URL = 'https://example.org/data/words.txt'


class Web:
    """Stands for the web: counts the requests, and answers with content or an error."""

    def __init__(self, answer=CONTENT):
        self.answer = answer
        self.requests = 0

    def __call__(self, url, timeout):
        self.requests += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if hasattr(self.answer, 'read') else io.BytesIO(self.answer)


class CutResponse(io.BytesIO):
    def read(self, *args):
        raise http.client.IncompleteRead(b'half')


@pytest.fixture
def web(tmp_path, monkeypatch):
    root = chainer.dataset.get_dataset_root()
    chainer.dataset.set_dataset_root(str(tmp_path))
    web = Web()
    monkeypatch.setattr(urllib.request, 'urlopen', web)
    yield web
    chainer.dataset.set_dataset_root(root)


def files(tmp_path):
    return sorted(path.name for path in tmp_path.rglob('*') if path.is_file() and path.suffix != '.lock')


def test_downloaded_once(web, tmp_path):
    path = cached_download(URL, SHA256)
    assert path.read_bytes() == CONTENT
    assert cached_download(URL, SHA256) == path
    assert web.requests == 1
    assert files(tmp_path) == ['words.txt']


def test_damaged_file_in_the_cache_is_fetched_again(web):
    path = cached_download(URL, SHA256)
    path.write_bytes(CONTENT[:-1])
    assert cached_download(URL, SHA256).read_bytes() == CONTENT
    assert web.requests == 2


@pytest.mark.parametrize(('answer', 'message'), [
    (CONTENT[:500], f'expected sha256 {SHA256}, got .* \\(a cut or altered file\\)'),
    (CutResponse(), 'IncompleteRead'),
    (urllib.error.HTTPError(URL, 404, 'Not Found', None, None), 'HTTP Error 404: Not Found'),
    (urllib.error.URLError('Name or service not known'), 'Name or service not known'),
    (TimeoutError('timed out'), 'timed out'),
])
def test_failed_download_is_reported_and_leaves_nothing(web, tmp_path, answer, message):
    web.answer = answer
    with pytest.raises(OSError, match=f'cannot download {URL}: .*{message}'):
        cached_download(URL, SHA256)
    assert files(tmp_path) == []
    web.answer = CONTENT
    assert cached_download(URL, SHA256).read_bytes() == CONTENT


def test_eight_at_once_download_once(web):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(cached_download(URL, SHA256))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 8
    assert len(set(paths)) == 1
    assert web.requests == 1


def test_plain_http_is_refused(web):
    with pytest.raises(ValueError, match='expected an https address of a file, got http:'):
        cached_download('http://example.org/words.txt', SHA256)
    assert web.requests == 0
