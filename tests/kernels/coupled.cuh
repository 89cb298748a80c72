// The compiled form of tests/cells/coupled.py: three gates, which no cell of the package has.
#ifndef CHAINER_LSTM_COUPLED_CUH
#define CHAINER_LSTM_COUPLED_CUH
#include "cell.cuh"

struct CoupledCell : PlainCell {
    CELL_NAMES(Gate, a, f, o)
    CELL_NAMES(State, c, h)
    CELL_NAMES(Weight, U)
    static constexpr int gates = 3, states = 2, weights = 1;

    struct First {
        static constexpr Product products[] = {{U, h, all_gates}};
        static constexpr unsigned owns = set_of(a, f, o), reads = set_of(c), writes = set_of(c, h),
                                  needs = set_of(c);

        template <typename R, typename More>
        __device__ static void forward(R* g, const R* before, R* now, const More&) {
            g[a] = tanh(g[a]);
            g[f] = sigmoid(g[f]);
            g[o] = sigmoid(g[o]);
            now[c] = g[f] * before[c] + (R(1) - g[f]) * g[a];
            now[h] = g[o] * tanh(now[c]);
        }

        template <typename R, typename More>
        __device__ static void backward(const R* g, const R* before, const R* now, R* gradients,
                                        R* gpre, const More&) {
            const R t = tanh(now[c]), gc = gradients[c] + gradients[h] * g[o] * grad_tanh(t);
            gpre[a] = gc * (R(1) - g[f]) * grad_tanh(g[a]);
            gpre[f] = gc * (before[c] - g[a]) * grad_sigmoid(g[f]);
            gpre[o] = gradients[h] * t * grad_sigmoid(g[o]);
            gradients[c] = gc * g[f];
        }
    };

    typedef NoStage Second;
};

#endif
