// The compiled form of peephole.py.
#ifndef CHAINER_LSTM_PEEPHOLE_CUH
#define CHAINER_LSTM_PEEPHOLE_CUH
#include "lstm.cuh"

struct PeepholeCell : PlainCell {
    CELL_NAMES(Gate, a, i, f, o)
    CELL_NAMES(State, c, h)
    CELL_NAMES(Weight, U, P_i, P_f, P_o)
    static constexpr int gates = 4, states = 2, weights = 4;

    struct First {
        static constexpr Product products[] = {{U, h, all_gates}, {P_i, c, i}, {P_f, c, f}};
        static constexpr unsigned owns = set_of(a, i, f), reads = set_of(c), writes = set_of(c),
                                  needs = 0;

        template <typename R, typename More>
        __device__ static void forward(R* g, const R* before, R* now, const More&) {
            LstmCell::new_cell(g, before, now);
        }

        template <typename R, typename More>
        __device__ static void backward(const R* g, const R* before, const R*, R* gradients,
                                        R* gpre, const More&) {
            LstmCell::new_cell_gradients(g, before, gradients, gpre);
        }
    };

    // the output gate, which reads the new c
    struct Second {
        static constexpr Product products[] = {{P_o, c, o}};
        static constexpr unsigned owns = set_of(o), reads = set_of(c), writes = set_of(h),
                                  needs = 0;

        template <typename R, typename More>
        __device__ static void forward(R* g, const R* before, R* now, const More&) {
            LstmCell::output(g, before, now);
        }

        template <typename R, typename More>
        __device__ static void backward(const R* g, const R* before, const R*, R* gradients,
                                        R* gpre, const More&) {
            LstmCell::output_gradients(g, before, gradients, gpre);
        }
    };
};

#endif
