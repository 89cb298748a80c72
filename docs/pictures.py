"""Draws the picture of a call, from the table below: ``python docs/pictures.py``.

The build of the pages runs it.  A name in a box is one of the package, or one of its files, which
``tests/test_documentation.py`` looks up.
"""

import html
import pathlib
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).parent
WIDTH, LEFT, ROW, BOX = 780, 106, 94, 62


class Box(NamedTuple):
    """A box: its row and place in it, both from 0, a name, and what happens there."""

    row: int
    x: int
    width: int
    name: str
    text: tuple[str, ...]

    @property
    def title(self) -> str:
        """The last parts of a name or path."""
        if '/' in self.name:
            return self.name.rpartition('/')[2]
        return '.'.join(self.name.split('.')[-2:])

    @property
    def top(self) -> int:
        return 16 + self.row * ROW


ROWS = ('program', 'links', 'functions', 'engines', 'kernels', 'cells')
BOXES = {
    'call': Box(0, 0, 290, '', ('y = layer(x, lengths=lengths)',)),
    'loss': Box(0, 370, 290, '', ('loss.backward()',)),
    'link': Box(1, 0, 290, 'links.SequenceLSTM.forward',
                ('parameters, kept state;', 'lengths or a mask become a Packing')),
    'forward': Box(2, 0, 290, 'functions.sequence_node.SequenceNode.forward',
                   ('type checks; packs rows;', 'layer after layer, with dropout')),
    'backward': Box(2, 370, 290, 'functions.sequence_node.SequenceNode.backward',
                    ('layers in reverse; for each weight', 'one product over all steps')),
    'run': Box(3, 0, 290, 'kernels.engines.engine.Engine.sequence_forward',
               ('one layer, or both its directions;', 'the engine is chosen by engine_of')),
    'back': Box(3, 370, 290, 'kernels.engines.engine.Engine.sequence_backward',
                ('gradients before activation,', 'and of the initial states')),
    'loop': Box(4, 0, 210, 'kernels/sequence.py',
                ('numpy, cupy: a loop over', 'steps, stage by stage')),
    'native': Box(4, 225, 210, 'kernels/native/recurrence.hpp',
                  ('native: all steps', 'in one job of the threads')),
    'cuda': Box(4, 450, 210, 'kernels/cuda/persistent.cuh',
                ('persistent: all steps', 'in one launch')),
    'array': Box(5, 0, 210, 'cells.LSTM.forward',
                 ('equations for arrays:', 'numpy, and second gradients')),
    'unit': Box(5, 225, 435, 'cells/lstm.cuh',
                ('equations for one unit of one row:', 'cupy, native, persistent')),
}  # fmt: skip
ARROWS = (
    ('call', 'link'),
    ('link', 'forward'),
    ('forward', 'run'),
    ('loss', 'backward'),
    ('backward', 'back'),
    *((method, kernel) for method in ('run', 'back') for kernel in ('loop', 'native', 'cuda')),
    ('loop', 'array'),
    ('loop', 'unit'),
    ('native', 'unit'),
    ('cuda', 'unit'),
)
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #222; text-anchor: middle; }
.row { font-size: 12px; fill: #666; text-anchor: start; }
.name { font: bold 13px ui-monospace, Menlo, monospace; fill: #08519c; }
.code { font: 13px ui-monospace, Menlo, monospace; }
.box { fill: #fff; stroke: #6b9bc7; stroke-width: 1.3; }
.band { fill: #f2f5f9; }
path { stroke: #888; stroke-width: 1.3; fill: none; marker-end: url(#tip); }
.kept { stroke: #c05a00; stroke-dasharray: 5 4; }
.note { font-size: 11px; fill: #a04a00; }
"""


def middle(box: Box) -> int:
    return LEFT + box.x + box.width // 2


def drawn(box: Box) -> str:
    found = [f'<rect class="box" x="{LEFT + box.x}" y="{box.top}" width="{box.width}" '
             f'height="{BOX}" rx="6"/>']  # fmt: skip
    lines = [('name', box.title)] if box.name else []
    lines += [('' if box.name else 'code', text) for text in box.text]
    first = box.top + BOX // 2 + 5 - 9 * (len(lines) - 1)
    for k, (kind, text) in enumerate(lines):
        found.append(f'<text class="{kind}" x="{middle(box)}" y="{first + 18 * k}">'
                     f'{html.escape(text)}</text>')  # fmt: skip
    return '\n'.join(found)


def arrow(begin: Box, end: Box) -> str:
    """From the bottom of a box to the top of another, straight down where their middles allow."""
    low, high = LEFT + end.x + 16, LEFT + end.x + end.width - 16
    x, y = middle(begin), begin.top + BOX
    to = min(max(x, low), high)
    return f'<path d="M{x} {y} C{x} {y + 20} {to} {end.top - 22} {to} {end.top - 2}"/>'


def kept(begin: Box, end: Box) -> str:
    """From a box to the one beside it: what forward keeps for backward."""
    x, y, to = LEFT + begin.x + begin.width, begin.top + BOX // 2, LEFT + end.x
    note = f'<text class="note" x="{(x + to) // 2}" y="{y - 6}">gates, states</text>'
    return f'{note}<path class="kept" d="M{x} {y} H{to - 2}"/>'


def picture() -> str:
    height = 16 + len(ROWS) * ROW - (ROW - BOX) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">',
        '<title>The functions that a call of SequenceLSTM goes through, by layers</title>',
        f'<style>{STYLE}</style>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" '
        'style="fill:#888;stroke:none;marker-end:none"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for k, name in enumerate(ROWS):
        top = 16 + k * ROW
        parts.append(f'<rect class="band" x="4" y="{top - 8}" width="{WIDTH - 8}" '
                     f'height="{BOX + 16}" rx="8"/>')  # fmt: skip
        parts.append(f'<text class="row" x="12" y="{top + BOX // 2 + 4}">{name}</text>')
    parts += [arrow(BOXES[begin], BOXES[end]) for begin, end in ARROWS]
    parts.append(kept(BOXES['forward'], BOXES['backward']))
    parts += [drawn(box) for box in BOXES.values()]
    return '\n'.join([*parts, '</svg>', ''])


def write() -> None:
    """Write the picture, where it has changed."""
    path, content = FOLDER / 'design' / 'call.svg', picture()
    if not path.exists() or path.read_text('utf-8') != content:
        path.write_text(content, 'utf-8')


if __name__ == '__main__':
    write()
