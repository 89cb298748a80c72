#!/usr/bin/env python3
"""Write text with a model trained by train_ptb.py.

    gentxt.py -m result/model.npz                              begins a new sentence
    gentxt.py -m result/model.npz -p 'the company' --length 50
    gentxt.py -m result/model.npz --temperature 0.7 --sample 3

It reads the model files of Chainer's own example too.  Their vocabulary is the
Penn Treebank's, which is downloaded once.
"""

from __future__ import annotations

import itertools
import pathlib

import numpy

from chainer_lstm.command_line import Parser
from chainer_lstm.datasets import load_corpus
from chainer_lstm.models import RNNForLM
from chainer_lstm.training import generate, script

EOS = '<eos>'


def parser():
    p = Parser(__doc__)
    p.add_argument(
        '--model', '-m', type=pathlib.Path, required=True, help='model.npz, saved by train_ptb.py'
    )
    p.add_argument(
        '--vocab',
        type=pathlib.Path,
        help='its words, one a line '
        "(default: the .vocab.txt beside it, or else the Penn Treebank's)",
    )
    p.add_argument(
        '--primetext', '-p', default='', help='words to go on from (default: a new sentence)'
    )
    p.add_argument(
        '--length', type=script.number(int, 0), default=20, help='number of words (default: 20)'
    )
    p.add_argument(
        '--sample',
        type=int,
        default=1,
        help='number of texts; 0 or less: one text of the likeliest words, nothing drawn '
        '(default: 1)',
    )
    p.add_argument(
        '--temperature',
        type=float,
        default=1.0,
        help='below 1: likelier words, above: more surprising ones (default: 1)',
    )
    p.add_argument(
        '--seed',
        '-s',
        type=script.number(int, 0, 2**32),
        default=123,
        help='of the draws (default: 123)',
    )
    p.add_argument(
        '--unit', '-u', type=int, help='units, as for Chainer; read from the model file anyway'
    )
    script.add_device(p)
    return p


def read_words(args) -> list[str]:
    path = args.vocab or args.model.with_suffix('.vocab.txt')
    if args.vocab or path.exists():
        return path.read_text(encoding='utf-8').split('\n')[:-1]
    with script.alternatives('--vocab FILE with the words of the model, one a line'):
        return list(load_corpus('ptb').vocabulary)


def run(args) -> None:
    device = script.get_device(args.device)
    device.use()
    model = RNNForLM.from_npz(args.model)
    n_vocab, n_units = model.embed.W.shape
    if args.unit not in (None, n_units):
        raise ValueError(f'expected --unit {n_units}, as in the model, got {args.unit}')
    words = read_words(args)
    if len(words) != n_vocab:
        raise ValueError(
            f'expected a vocabulary of {n_vocab} words, as in the model, got {len(words)}; '
            'see --vocab'
        )
    model.to_device(device)

    ids = {word: k for k, word in enumerate(words)}
    prime = args.primetext.split()
    if not prime and EOS not in ids:
        raise ValueError(f'--primetext: expected words, as the vocabulary has no {EOS}, got none')
    unknown = [word for word in prime if word not in ids]
    if unknown:
        raise ValueError(f'expected words of the vocabulary in --primetext, got {unknown}')
    random = numpy.random.RandomState(args.seed)
    for _ in range(max(args.sample, 1)):
        stream = generate(
            model,
            [ids[word] for word in prime or [EOS]],
            temperature=args.temperature,
            sample=args.sample > 0,
            random=random,
        )
        text = ' '.join([*prime, *(words[k] for k in itertools.islice(stream, args.length))])
        print(text.replace(f' {EOS}', '.').strip())


def main() -> None:
    script.main(parser(), run)


if __name__ == '__main__':
    main()
