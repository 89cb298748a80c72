"""Scripts of examples as modules, and files that they may find."""

import importlib.util
import io
import pathlib
import zipfile

from tests.support import ROOT

EXAMPLES = ROOT / 'examples'


def load(path):
    """The module of a script, by its path among the examples."""
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, EXAMPLES / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flipped(content):
    """An npz file of which one byte of the compressed data of the largest array is wrong."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        member = max(file.infolist(), key=lambda member: member.compress_size)
    where = member.header_offset + 30 + len(member.filename) + member.compress_size // 2
    return content[:where] + bytes([content[where] ^ 0xFF]) + content[where + 1 :]
