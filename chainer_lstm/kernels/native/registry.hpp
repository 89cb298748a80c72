// The compiled cells: CELL(name, type) for each.
#ifndef CHAINER_LSTM_REGISTRY_HPP
#define CHAINER_LSTM_REGISTRY_HPP

#include "common.hpp"

#include "../../cells/lstm.cuh"
#include "../../cells/lstm_variant.cuh"
#include "../../cells/peephole.cuh"

#define CHAINER_LSTM_CELLS(CELL)        \
    CELL(lstm, LstmCell)                \
    CELL(peephole, PeepholeCell)        \
    CELL(lstm_variant, LstmVariantCell) \
    CELL(coupled_lstm_variant, CoupledLstmVariantCell)

// The cell whose steps normalized_lstm.hpp computes.
#define CHAINER_LSTM_NORMALIZED "layer_norm_lstm_variant"

#endif
