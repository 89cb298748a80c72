"""``python -m chainer_lstm``: see ``chainer_lstm.script.command``."""

import sys

from chainer_lstm.script.command import main

if __name__ == '__main__':
    main(sys.argv[1:])
