// The compiled forms of lstm_variant.py, with four gates and with three.
#ifndef CHAINER_LSTM_LSTM_VARIANT_CUH
#define CHAINER_LSTM_LSTM_VARIANT_CUH
#include "cell.cuh"

// The array code of both. All options are numbers: infinity for no clipping, a kept part of 0 for
// no zoneout, a slope of 0 for the sigmoid instead of the hard sigmoid.
template <typename Cell>
struct LstmVariantStage {
    static constexpr bool coupled = Cell::gates == 3;

    template <typename R, typename More>
    __device__ static void forward(R* g, const R* before, R* now, const More& more) {
        const R kept_c = more.noise[Cell::kept_c], kept_h = more.noise[Cell::kept_h];
        g[Cell::a] = tanh(g[Cell::a]);
        g[Cell::f] = activated(g[Cell::f], more);
        if constexpr (!coupled) g[Cell::i] = activated(g[Cell::i], more);
        const R s = clipped(cell(g, before), more);
        now[Cell::c] = kept_c * before[Cell::c] + (R(1) - kept_c) * s;
        g[Cell::o] = activated(g[Cell::o] + more.weights[Cell::P_o] * now[Cell::c], more);
        now[Cell::h] = kept_h * before[Cell::h] + (R(1) - kept_h) * g[Cell::o] * tanh(s);
    }

    template <typename R, typename More>
    __device__ static void backward(const R* g, const R* before, const R*, R* gradients, R* gpre,
                                    const More& more) {
        const R kept_c = more.noise[Cell::kept_c], kept_h = more.noise[Cell::kept_h],
                clip(more.numbers[Cell::clip]), unclipped = cell(g, before),
                t = tanh(clipped(unclipped, more)), gh = gradients[Cell::h] * (R(1) - kept_h);
        gpre[Cell::o] = before_activation(g[Cell::o], gh * t, more);
        const R gc = gradients[Cell::c] + gpre[Cell::o] * more.weights[Cell::P_o];
        const R gs = unless_above(unclipped * unclipped, clip * clip,
                                  gc * (R(1) - kept_c) + gh * g[Cell::o] * grad_tanh(t));
        gpre[Cell::a] = gs * input(g) * grad_tanh(g[Cell::a]);
        R gf = gs * before[Cell::c];
        if constexpr (coupled)
            gf = gs * (before[Cell::c] - g[Cell::a]);
        else
            gpre[Cell::i] = before_activation(g[Cell::i], gs * g[Cell::a], more);
        gpre[Cell::f] = before_activation(g[Cell::f], gf, more);
        gradients[Cell::c] = gc * kept_c + gs * g[Cell::f];
        gradients[Cell::h] = gradients[Cell::h] * kept_h;
    }

private:
    template <typename R>
    __device__ static R input(const R* g) {
        if constexpr (coupled)
            return R(1) - g[Cell::f];
        else
            return g[Cell::i];
    }

    template <typename R>
    __device__ static R cell(const R* g, const R* before) {
        return g[Cell::f] * before[Cell::c] + input(g) * g[Cell::a];
    }

    template <typename R, typename More>
    __device__ static R clipped(R s, const More& more) {
        const R clip(more.numbers[Cell::clip]);
        return bounded(s, R(0) - clip, clip);
    }

    template <typename R, typename More>
    __device__ static R activated(R x, const More& more) {
        const auto slope = more.numbers[Cell::slope];
        if (slope == 0) return sigmoid(x);
        return bounded(x * R(slope) + R(0.5), R(0), R(1));
    }

    // The gradient with respect to the argument of the activation, from the gradient with respect
    // to y.
    template <typename R, typename More>
    __device__ static R before_activation(R y, R gradient, const More& more) {
        const auto slope = more.numbers[Cell::slope];
        if (slope == 0) return gradient * grad_sigmoid(y);
        return unless_above(R(1e-30), grad_sigmoid(y), gradient * R(slope));  // 0 or 1: 0
    }
};

struct LstmVariantCell {
    CELL_NAMES(Gate, a, i, f, o)
    CELL_NAMES(State, c, h)
    CELL_NAMES(Weight, U, P_i, P_f, P_o)
    CELL_NAMES(Noise, kept_c, kept_h)
    CELL_NAMES(Number, clip, slope)
    static constexpr int gates = 4, states = 2, weights = 4, noise = 2, numbers = 2;

    struct First : LstmVariantStage<LstmVariantCell> {
        static constexpr Product products[] = {{U, h, all_gates},
                                               {P_i, c, i, diagonal},
                                               {P_f, c, f, diagonal},
                                               {P_o, c, o, diagonal_of_new}};
        static constexpr unsigned owns = set_of(a, i, f, o), reads = set_of(c, h),
                                  writes = set_of(c, h), needs = 0;
    };

    typedef NoStage Second;
};

struct CoupledLstmVariantCell {
    CELL_NAMES(Gate, a, f, o)
    CELL_NAMES(State, c, h)
    CELL_NAMES(Weight, U, P_f, P_o)
    CELL_NAMES(Noise, kept_c, kept_h)
    CELL_NAMES(Number, clip, slope)
    static constexpr int gates = 3, states = 2, weights = 3, noise = 2, numbers = 2;

    struct First : LstmVariantStage<CoupledLstmVariantCell> {
        static constexpr Product products[] = {
            {U, h, all_gates}, {P_f, c, f, diagonal}, {P_o, c, o, diagonal_of_new}};
        static constexpr unsigned owns = set_of(a, f, o), reads = set_of(c, h),
                                  writes = set_of(c, h), needs = 0;
    };

    typedef NoStage Second;
};

#endif
