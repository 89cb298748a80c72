import errno
import hashlib
import http.client
import http.server
import io
import multiprocessing
import pathlib
import threading
import urllib.error
import urllib.request

import chainer
import pytest

from chainer_lstm.datasets import cached_download
from chainer_lstm.datasets.download import DownloadError

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
    return sorted(
        path.name for path in tmp_path.rglob('*') if path.is_file() and path.suffix != '.lock'
    )


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


@pytest.mark.parametrize(
    ('answer', 'message'),
    [
        (CONTENT[:500], f'expected sha256 {SHA256}, got .* \\(a cut or altered file\\)'),
        (CutResponse(), 'IncompleteRead'),
        (urllib.error.HTTPError(URL, 404, 'Not Found', None, None), 'HTTP Error 404: Not Found'),
        (urllib.error.URLError('Name or service not known'), 'Name or service not known'),
        (TimeoutError('timed out'), 'timed out'),
        (
            urllib.error.URLError(ConnectionRefusedError(errno.ECONNREFUSED, 'Connection refused')),
            'Connection refused',
        ),
    ],
)
def test_failed_download_is_reported_and_leaves_nothing(web, tmp_path, answer, message):
    web.answer = answer
    with pytest.raises(DownloadError, match=f'cannot download {URL}: .*{message}'):
        cached_download(URL, SHA256)
    assert files(tmp_path) == []
    web.answer = CONTENT
    assert cached_download(URL, SHA256).read_bytes() == CONTENT


def test_eight_at_once_download_once(web):
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(cached_download(URL, SHA256)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 8
    assert len(set(paths)) == 1
    assert web.requests == 1


class Server(http.server.BaseHTTPRequestHandler):
    """Sends the content, slowly; /cut sends half of it."""

    def do_GET(self):
        self.server.requests.append(self.path)
        self.send_response(200)
        self.send_header('Content-Length', str(len(CONTENT)))
        self.end_headers()
        end = len(CONTENT) // 2 if self.path == '/cut' else len(CONTENT)
        for start in range(0, end, 1000):
            self.wfile.write(CONTENT[start : min(start + 1000, end)])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def plain(address):
    """For a process of its own: https addresses lead to a local server."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def urlopen(url, timeout):
        return opener.open(url.replace('https://example.org', address), timeout=timeout)

    urllib.request.urlopen = urlopen


def fill(root, address, begin, queue):
    plain(address)
    chainer.dataset.set_dataset_root(root)
    begin.wait()
    queue.put(pathlib.Path(cached_download('https://example.org/words.txt', SHA256)).read_bytes())


@pytest.mark.slow
def test_eight_processes_fill_a_cold_cache_with_one_download(server, tmp_path):
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['chainer_lstm.datasets'])
    begin, queue = context.Barrier(8), context.Queue()
    address = f'http://127.0.0.1:{server.server_port}'
    processes = [
        context.Process(target=fill, args=(str(tmp_path / 'cold'), address, begin, queue))
        for _ in range(8)
    ]
    for process in processes:
        process.start()
    contents = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert contents == [CONTENT] * 8
    assert server.requests == ['/words.txt']
    assert files(tmp_path) == ['words.txt']


def test_connection_cut_in_the_middle(server, tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, 'urlopen', urllib.request.urlopen)  # is put back
    plain(f'http://127.0.0.1:{server.server_port}')
    root = chainer.dataset.get_dataset_root()
    chainer.dataset.set_dataset_root(str(tmp_path))
    try:
        with pytest.raises(OSError, match='cannot download https://example.org/cut: '):
            cached_download('https://example.org/cut', SHA256)
        assert files(tmp_path) == []
        server.shutdown()
        server.server_close()
        with pytest.raises(
            OSError, match='cannot download https://example.org/words.txt: .*refused'
        ):
            cached_download('https://example.org/words.txt', SHA256)
        assert files(tmp_path) == []
    finally:
        chainer.dataset.set_dataset_root(root)


def test_what_a_killed_download_left_is_overwritten(web, tmp_path):
    cached_download(URL, SHA256)
    (tmp_path / 'chainer_lstm' / 'words.txt').rename(tmp_path / 'chainer_lstm' / 'words.txt.part')
    (tmp_path / 'chainer_lstm' / 'words.txt.part').write_bytes(CONTENT * 2)
    assert cached_download(URL, SHA256).read_bytes() == CONTENT
    assert files(tmp_path) == ['words.txt']


def test_plain_http_is_refused(web):
    with pytest.raises(ValueError, match='expected an https address of a file, got http:'):
        cached_download('http://example.org/words.txt', SHA256)
    assert web.requests == 0
