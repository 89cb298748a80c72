// The compiled form of lstm.py.
#ifndef CHAINER_LSTM_LSTM_CUH
#define CHAINER_LSTM_LSTM_CUH
#include "cell.cuh"

struct LstmCell : PlainCell {
    CELL_NAMES(Gate, a, i, f, o)
    CELL_NAMES(State, c, h)
    CELL_NAMES(Weight, U)
    static constexpr int gates = 4, states = 2, weights = 1;

    struct First {
        static constexpr Product products[] = {{U, h, all_gates}};
        static constexpr unsigned owns = set_of(a, i, f, o), reads = set_of(c),
                                  writes = set_of(c, h), needs = set_of(c);

        // g: sums before activation, which become activated gates; before and now: states
        template <typename R, typename More>
        __device__ static void forward(R* g, const R* before, R* now, const More&) {
            new_cell(g, before, now);
            output(g, now, now);
        }

        // gradients: with respect to `now`, which become gradients with respect to `before`
        template <typename R, typename More>
        __device__ static void backward(const R* g, const R* before, const R* now, R* gradients,
                                        R* gpre, const More&) {
            output_gradients(g, now, gradients, gpre);
            new_cell_gradients(g, before, gradients, gpre);
        }
    };

    typedef NoStage Second;

    template <typename R>
    __device__ static void new_cell(R* g, const R* before, R* now) {
        g[a] = tanh(g[a]);
        g[i] = sigmoid(g[i]);
        g[f] = sigmoid(g[f]);
        now[c] = g[a] * g[i] + g[f] * before[c];
    }

    template <typename R>
    __device__ static void output(R* g, const R* state, R* now) {
        g[o] = sigmoid(g[o]);
        now[h] = g[o] * tanh(state[c]);
    }

    template <typename R>
    __device__ static void output_gradients(const R* g, const R* state, R* gradients, R* gpre) {
        const R t = tanh(state[c]);
        gpre[o] = gradients[h] * t * grad_sigmoid(g[o]);
        gradients[c] += gradients[h] * g[o] * grad_tanh(t);
    }

    template <typename R>
    __device__ static void new_cell_gradients(const R* g, const R* before, R* gradients, R* gpre) {
        const R gc = gradients[c];
        gpre[a] = gc * g[i] * grad_tanh(g[a]);
        gpre[i] = gc * g[a] * grad_sigmoid(g[i]);
        gpre[f] = gc * before[c] * grad_sigmoid(g[f]);
        gradients[c] = gc * g[f];
    }
};

#endif
