#!/usr/bin/env python3
"""Train a recurrent language model: Zaremba et al. 2014, Recurrent Neural Network Regularization.

The options of Chainer's own example work as there, and start from its
configuration: two layers of 650 units, 39 epochs.  --preset takes one of the
paper's instead, and any option beside it overrides it.

    train_ptb.py                               Penn Treebank (downloaded), on the CPU
    train_ptb.py --preset medium --gpu 0       the paper's medium model, on the first GPU
    train_ptb.py --data FOLDER                 train.txt, valid.txt, test.txt: one sentence a line
    train_ptb.py --data stdlib --unit 100 -e 4 the documentation inside Python: small, always there
    mpiexec -n 2 train_ptb.py --mpi -b 10      two processes with ten places each:
                                               the losses of -b 20

The folder --out gets the log, a plot of the perplexities, a snapshot after each
epoch and on Ctrl-C (go on from it with --resume) and the model with its
vocabulary, from which gentxt.py writes text.
"""

from __future__ import annotations

import functools
import io
import itertools
import pathlib
import shutil
import sys
import zipfile
import zlib

import chainer
import chainer.links as L
import numpy
from chainer import training
from chainer.training import extensions

from chainer_lstm import functions
from chainer_lstm.datasets import Corpus, load_corpus
from chainer_lstm.models import RNNForLM
from chainer_lstm.training import (
    BPTTUpdater,
    ExponentialDecay,
    LanguageModelEvaluator,
    ParallelSequentialIterator,
    PerplexityLog,
    PrintReport,
    RandomState,
    generate,
    perplexity,
    ranks,
    script,
)

PRESETS = {
    name: dict(zip(
        ('layer', 'unit', 'bproplen', 'epoch', 'dropout', 'init', 'gradclip', 'decay',
         'decay_after'), values))
    for name, values in {
        'chainer': (2, 650, 35, 39, 0.5, 0.1, 5, 1, 39),
        'small': (2, 200, 20, 13, 0, 0.1, 5, 1 / 2, 4),
        'medium': (2, 650, 35, 39, 0.5, 0.05, 5, 1 / 1.2, 6),
        'large': (2, 1500, 35, 55, 0.65, 0.04, 10, 1 / 1.15, 14),
    }.items()
}  # fmt: skip

SNAPSHOT = 'snapshot_iter_'  # and the number of updates: the names that Chainer gives


def parser():
    p = script.parser(__doc__)
    size, number = script.number(int, 1), script.number
    p.add_argument('--data', default='ptb', help="'ptb', 'stdlib' or a folder (default: ptb)")
    p.add_argument(
        '--preset',
        choices=PRESETS,
        default='chainer',
        help='what the options below are if not given (default: chainer)',
    )
    p.add_argument('--layer', type=size, help='LSTM layers')
    p.add_argument('--unit', '-u', type=size, help='units of each layer')
    p.add_argument(
        '--bproplen', '-l', type=size, help='words between updates: the length of truncated BPTT'
    )
    p.add_argument('--epoch', '-e', type=size, help='sweeps over the training text')
    p.add_argument('--dropout', type=number(float, 0, 1), help='dropout ratio')
    p.add_argument('--init', type=number(float, 0), help='weights are drawn between -INIT and INIT')
    p.add_argument(
        '--gradclip', '-c', type=script.positive, help='norm to which gradients are clipped'
    )
    p.add_argument(
        '--decay', type=number(float, 0), help='factor of the learning rate, after each epoch'
    )
    p.add_argument('--decay-after', type=size, help='epochs before the first decay')
    p.add_argument(
        '--batchsize',
        '-b',
        type=size,
        default=20,
        help='places read at once, by each process (default: 20)',
    )
    p.add_argument(
        '--lr', type=number(float, 0), default=1.0, help='learning rate of SGD (default: 1)'
    )
    p.add_argument(
        '--model',
        '-m',
        type=pathlib.Path,
        help='file for the trained model (default: OUT/model.npz)',
    )
    p.add_argument(
        '--resume',
        '-r',
        nargs='?',
        const='',
        metavar='SNAPSHOT',
        help='go on from a snapshot; without a name, from the newest in OUT',
    )
    p.add_argument(
        '--stepwise',
        action='store_true',
        help="feed one word at a time, as Chainer's example does: the same losses, slower",
    )
    p.add_argument(
        '--graph',
        action='store_true',
        help='with --gpu, replay updates as CUDA graphs: the same losses, faster',
    )
    p.add_argument(
        '--mpi',
        action='store_true',
        help='one of the processes of mpiexec, which train one model; '
        'with --gpu N, on GPU N, N + 1, …',
    )
    return p


def become_rank(args, comm) -> None:
    """Set what differs between ranks: dropout and GPU; only rank 0 writes results."""
    if len(set(comm.allreduce_obj([repr(vars(args))]))) > 1:
        raise ValueError('expected the same options in all ranks')
    if comm.rank > 0:
        args.out = pathlib.Path()
        args.seed = (args.seed + comm.rank) % 2**32  # all get the weights of rank 0
    device = script.get_device(args.device)
    if device.xp is not numpy:
        args.device = f'@cupy:{device.device.id + comm.intra_rank}'


def make_model(args, n_vocab: int) -> chainer.Link:
    rnn = RNNForLM(n_vocab, args.unit, n_layers=args.layer, dropout=args.dropout, init=args.init)
    for lstm in rnn.lstms:
        lstm.persistent_state = True  # a resumed run goes on where the snapshot was taken
    model = L.Classifier(rnn, functions.softmax_cross_entropy)
    model.compute_accuracy = False
    return model


def make_trainer(args, corpus: Corpus, comm, signals: script.Signals) -> training.Trainer:
    """Return a trainer with model, optimizer and all extensions."""
    device = script.start(args)
    model = make_model(args, len(corpus.vocabulary))
    model.to_device(device)

    optimizer = chainer.optimizers.SGD(lr=args.lr)
    if args.mpi:
        import chainermn  # it needs mpi4py

        optimizer = chainermn.create_multi_node_optimizer(optimizer, comm)
    optimizer.setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.GradientClipping(args.gradclip))

    words = ParallelSequentialIterator(corpus.train, args.batchsize, communicator=comm)
    updater = BPTTUpdater(words, optimizer, args.bproplen, device, args.stepwise, args.graph)
    trainer = training.Trainer(updater, (args.epoch, 'epoch'), out=str(args.out))
    trainer.extend(
        LanguageModelEvaluator(corpus.valid, model.copy(), args.batchsize, communicator=comm),
        name='validation',
    )
    trainer.extend(ExponentialDecay(args.decay, args.decay_after))
    trainer.extend(RandomState())
    save = []
    if args.mpi:
        trainer.extend(chainermn.extensions.ObservationAggregator(comm, 'main/loss'))
        save.append(ranks.RankStates(comm, model.predictor.lstms))
    if comm.rank == 0:
        report(trainer, args.test)
        # weights hardly get smaller, and take seconds to compress
        save_npz = functools.partial(chainer.serializers.save_npz, compression=False)
        save.append(extensions.snapshot(save_npz, n_retains=2))
    for extension in save:
        trainer.extend(extension, trigger=(1, 'epoch'))
    trainer.extend(ranks.StopOnSignal(signals, save, comm))
    return trainer


def report(trainer: training.Trainer, often: bool) -> None:
    """Add the extensions that report the progress of the training."""
    log = (10, 'iteration') if often else (0.25, 'epoch')
    trainer.extend(extensions.LogReport(postprocess=PerplexityLog(trainer.updater), trigger=log))
    trainer.extend(
        PrintReport(
            ['epoch', 'iteration', 'perplexity', 'val_perplexity', 'words/sec', 'elapsed_time']
        ),
        trigger=log,
    )
    if sys.stdout.isatty():
        trainer.extend(extensions.ProgressBar(update_interval=1 if often else 10))
    if extensions.PlotReport.available():
        trainer.extend(draw_perplexity, trigger=training.triggers.TimeTrigger(10))


def draw_perplexity(trainer: training.Trainer) -> None:
    """Draw the log over fractions of epochs."""
    log = trainer.get_extension('LogReport').log
    epoch = trainer.updater.iteration / trainer.updater.epoch_detail
    values, steps = {}, {}
    for name, key in (('training', 'perplexity'), ('validation', 'val_perplexity')):
        entries = [entry for entry in log if key in entry]
        values[name] = [entry[key] for entry in entries]
        steps[name] = [entry['iteration'] / epoch for entry in entries]
    path = pathlib.Path(trainer.out) / 'perplexity.png'
    script.save_plot(path, values, 'epoch', 'perplexity', log=True, steps=steps)


def snapshot_to_resume(args) -> pathlib.Path | None:
    """Return the snapshot of the arguments, or the newest whole one in the folder of results.

    It is None for a run without snapshots.
    """
    if args.resume:
        return pathlib.Path(args.resume)
    if not args.out.is_dir():
        raise FileNotFoundError(
            f'expected the folder of a run to resume in {str(args.out)!r}, found none'
        )
    for folder in args.out.glob(f'tmp{SNAPSHOT}*'):  # of a run killed while it wrote a snapshot
        shutil.rmtree(folder)
    snapshots = {
        int(path.name.removeprefix(SNAPSHOT)): path
        for path in args.out.glob(f'{SNAPSHOT}*')
        if path.name.removeprefix(SNAPSHOT).isdigit()
    }
    return next(
        (snapshots[k] for k in sorted(snapshots, reverse=True) if is_whole(snapshots[k])), None
    )


def is_whole(path: pathlib.Path) -> bool:
    """Return whether every array in a snapshot can be read."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return False


def load(snapshot: pathlib.Path, trainer: training.Trainer, comm) -> None:
    """Resume from a snapshot, which only rank 0 needs to have."""
    content = None
    with ranks.fail_together(comm):
        if comm.rank == 0:
            content = snapshot.read_bytes()
    content = ranks.broadcast(comm, content)
    with ranks.fail_together(comm):
        try:
            chainer.serializers.load_npz(io.BytesIO(content), trainer)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'expected a snapshot of a run with these options in {snapshot}: '
                f'{script.message(error)}'
            ) from error


def save(model: chainer.Link, corpus: Corpus, path: pathlib.Path) -> None:
    """Save the model, and its words in a second file, one a line, in the order of their ids."""
    content = io.BytesIO()
    chainer.serializers.save_npz(content, model)
    with script.written(path) as whole:
        whole.write_bytes(content.getvalue())
    with script.written(path.with_suffix('.vocab.txt')) as whole:
        whole.write_text('\n'.join(corpus.vocabulary) + '\n', encoding='utf-8')


def sentences(
    model: RNNForLM, corpus: Corpus, seed: int, count: int = 3, longest: int = 30
) -> list[str]:
    """Return a few generated sentences."""
    words, eos = list(corpus.vocabulary), corpus.vocabulary['<eos>']
    stream = generate(model, [eos], random=numpy.random.RandomState(seed))
    return [
        ' '.join(
            words[k]
            for k in itertools.takewhile(lambda k: k != eos, itertools.islice(stream, longest))
        )
        for _ in range(count)
    ]


def train(args, comm) -> None:
    signals, snapshot = script.Signals(), None
    with ranks.fail_together(comm):
        become_rank(args, comm)
        model_path = args.model or args.out / 'model.npz'
        if comm.rank == 0:
            snapshot = None if args.resume is None else snapshot_to_resume(args)
            if model_path.is_dir():
                raise ValueError(f'expected a file for --model, got the folder {str(model_path)!r}')
            model_path.parent.mkdir(parents=True, exist_ok=True)
        without = '--data FOLDER with train.txt, valid.txt, test.txt; or --data stdlib'
        with script.alternatives(without):
            corpus = load_corpus(args.data)
        if args.test:
            corpus = Corpus(*(part[:100] for part in corpus[:3]), corpus.vocabulary)
        trainer = make_trainer(args, corpus, comm, signals)
    snapshot = ranks.broadcast(comm, snapshot)
    if snapshot is not None:
        load(snapshot, trainer, comm)
    optimizer = trainer.updater.get_optimizer('main')
    model = optimizer.target
    if args.mpi:
        optimizer.update()  # the first one only sends the weights of rank 0
    if comm.rank == 0:
        tell_beginning(args, snapshot, corpus, model, comm.size)
    with signals:
        trainer.run(show_loop_exception_msg=False)
    if comm.rank == 0 and extensions.PlotReport.available():
        draw_perplexity(trainer)

    result = LanguageModelEvaluator(corpus.test, model.copy(), args.batchsize, communicator=comm)()
    if comm.rank == 0:
        print(f'test perplexity: {perplexity(result["main/loss"]):.2f}')
        save(model, corpus, model_path)
        for sentence in sentences(model.predictor, corpus, args.seed):
            print(f'  {sentence}')
        print(f'saved {model_path}; log and plot are in {args.out}')


def tell_beginning(
    args, snapshot: pathlib.Path | None, corpus: Corpus, model: chainer.Link, size: int
) -> None:
    if args.resume is not None:
        print(
            f'resumed from {snapshot}'
            if snapshot
            else f'no snapshot in {args.out} yet: from the beginning'
        )
    print(
        f'words: {len(corpus.train)} train, {len(corpus.valid)} validation, '
        f'{len(corpus.test)} test; vocabulary: {len(corpus.vocabulary)}'
    )
    print(
        f'{args.layer} layers of {args.unit} units, {model.count_params()} parameters, '
        f'on {model.device}' + (f', {size} processes' if size > 1 else '')
    )


def run(args) -> None:
    for name, value in PRESETS[args.preset].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    on_gpu = script.get_device(args.device).xp is not numpy
    if args.graph and not on_gpu:
        raise ValueError(f'expected --gpu beside --graph, got the device {args.device!r}')
    comm = ranks.communicator(args.mpi, on_gpu)
    with ranks.abort_all_on_error(comm):
        train(args, comm)


def main() -> None:
    script.main(parser(), run, 'go on with --resume and the same options (snapshots are in {out})')


if __name__ == '__main__':
    main()
