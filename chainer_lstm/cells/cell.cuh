// What the compiled form of every cell shares: plain C++ with __device__, for one unit of one row.
// The CUDA kernels, the vectors of the CPU engine (R is a vector) and the tests on the CPU compile
// the same text. Its results are those of cells/*.py.
#ifndef CHAINER_LSTM_CELL_CUH
#define CHAINER_LSTM_CELL_CUH

constexpr int all_gates = -1;

// A state (before the stage) times a weight, added to one gate before activation or to all gates.
struct Product {
    int weight, state, gate;
};

// enum kind {names}, and the names as text: the library of the CPU engine describes its cells by
// them, and is refused where they are not those of cells/*.py.
#define CELL_NAMES(kind, ...)  \
    enum kind { __VA_ARGS__ }; \
    static constexpr char kind##_names[] = #__VA_ARGS__;

// A set of gates or states: bit k for the k-th.
template <typename... Index>
constexpr unsigned set_of(Index... index) {
    return (0u | ... | (1u << index));
}

// The second stage of a cell of one stage.
struct NoStage {};

template <typename R>
__device__ inline R sigmoid(R x) {
    return tanh(x * R(0.5)) * R(0.5) + R(0.5);
}

// derivatives as functions of the output
template <typename R>
__device__ inline R grad_sigmoid(R y) {
    return y * (R(1) - y);
}

template <typename R>
__device__ inline R grad_tanh(R y) {
    return R(1) - y * y;
}

#endif
