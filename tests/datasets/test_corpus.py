import hashlib

import numpy
import pytest

from chainer_lstm.datasets import corpus, load_corpus

TRAIN = " no it was n't <unk> \n no it was \n"
VALID = 'it was\n'
TEST = 'it was no monday\n'


def write(folder, names='{}.txt', train=TRAIN, valid=VALID, test=TEST):
    for part, text in (('train', train), ('valid', valid), ('test', test)):
        (folder / names.format(part)).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def words(ids, vocabulary):
    names = list(vocabulary)
    return ' '.join(names[k] for k in ids)


@pytest.mark.parametrize('names', ['{}.txt', 'ptb.{}.txt'])
def test_folder(tmp_path, names):
    train, valid, test, vocabulary = load_corpus(write(tmp_path, names))
    # numbered by first appearance, as chainer.datasets.get_ptb_words does
    assert vocabulary == {'no': 0, 'it': 1, 'was': 2, "n't": 3, '<unk>': 4, '<eos>': 5}
    assert train.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 5]
    assert train.dtype == numpy.int32
    assert words(valid, vocabulary) == 'it was <eos>'
    assert words(test, vocabulary) == 'it was no <unk> <eos>'


def test_unknown_word_is_added_where_the_text_has_none(tmp_path):
    corpus = load_corpus(write(tmp_path, train='a b\n', valid='a\n', test='c\n'))
    assert corpus.vocabulary == {'a': 0, 'b': 1, '<eos>': 2, '<unk>': 3}
    assert corpus.test.tolist() == [3, 2]


def test_missing_file_is_named(tmp_path):
    (write(tmp_path) / 'valid.txt').unlink()
    with pytest.raises(
        FileNotFoundError, match='expected ptb.valid.txt or valid.txt in the folder'
    ):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', "expected text in 'test.txt', got an empty file"),
        (b'\xff\xfe\x00', "expected text in UTF-8 in 'test.txt'"),
    ],
)
def test_unreadable_text(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(write(tmp_path, test=text))


def test_stdlib_is_english_and_the_same_every_time():
    train, valid, test, vocabulary = load_corpus('stdlib')
    assert len(train) > 20_000
    assert min(len(valid), len(test)) > 1_000
    assert 1_000 < len(vocabulary) < 5_000
    assert {'the', 'is', '.', '<eos>', '<unk>'} <= set(vocabulary)
    assert max(map(max, (train, valid, test))) == len(vocabulary) - 1
    numpy.testing.assert_array_equal(load_corpus('stdlib').train, train)


def test_ptb_is_fetched_from_its_addresses_with_its_hashes(tmp_path, monkeypatch):
    write(tmp_path, 'ptb.{}.txt')
    asked = {}

    def download(url, sha256):
        name = url.rsplit('/', 1)[1]
        asked[name] = sha256
        return tmp_path / name

    monkeypatch.setattr(corpus, 'cached_download', download)
    assert load_corpus('ptb').train.tolist() == load_corpus(tmp_path).train.tolist()
    assert list(asked) == ['ptb.train.txt', 'ptb.valid.txt', 'ptb.test.txt']
    assert all(
        len(bytes.fromhex(sha256)) == hashlib.sha256().digest_size for sha256 in asked.values()
    )
