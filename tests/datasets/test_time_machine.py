import numpy
import pytest

from chainer_lstm.datasets import load_time_machine


def test_letters_in_order_of_frequency(tmp_path):
    path = tmp_path / 'text.txt'
    path.write_text('Ab, b\n\n  b--a\nB2c\n')
    text, vocabulary = load_time_machine(path)
    assert vocabulary.tokens == ['<unk>', 'b', ' ', 'a', 'c']
    assert ''.join(vocabulary.to_tokens(text)) == 'ab bb ab c'
    assert text.dtype == numpy.int32
    assert len(load_time_machine(path, 3)[0]) == 3
    assert load_time_machine(path, 3)[1].tokens == vocabulary.tokens  # of the whole text


def test_blanks_at_the_ends_of_lines(tmp_path):
    """A blank for a run of other characters, but not for the white space around a line."""
    path = tmp_path / 'text.txt'
    path.write_text("  said Filby.\n\n'What reason?'\n -- \n(he) said\t\n")
    text, vocabulary = load_time_machine(path, edge_blanks=True)
    assert ''.join(vocabulary.to_tokens(text)) == 'said filby  what reason   he said'
    text, vocabulary = load_time_machine(path)
    assert ''.join(vocabulary.to_tokens(text)) == 'said filbywhat reasonhe said'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'12\n', 'expected letters in'),
        (b'\xff', 'expected text in UTF-8'),
    ],
)
def test_no_text(tmp_path, content, message):
    path = tmp_path / 'text.txt'
    path.write_bytes(content)
    for edge_blanks in (False, True):
        with pytest.raises(ValueError, match=message):
            load_time_machine(path, edge_blanks=edge_blanks)
