// The base of the compiled form of every cell: plain C++ with __device__, for one unit of one row.
// The CUDA kernels, the CPU engine (where R is a vector) and the tests on the CPU compile the same
// text. Its results are those of cells/*.py.
#ifndef CHAINER_LSTM_CELL_CUH
#define CHAINER_LSTM_CELL_CUH

constexpr int all_gates = -1;

// The kind of a product: with a matrix, or with a weight for each unit (diagonal), of a state
// before the stage or of the new one.
enum Kind { matrix, diagonal, diagonal_of_new };

// A state times a weight, which is added to one gate or to all gates before activation. The product
// of a new state is added by the array code, which gets the weight.
struct Product {
    int weight, state, gate;
    Kind kind = matrix;
};

// The arguments of array code besides gates and states: the weights of diagonal products, or 0;
// noise, or the numbers that replace it; and numbers.
template <typename Cell, typename R, typename Number>
struct More {
    R weights[Cell::weights], noise[Cell::noise + 1];
    const Number* numbers;
};

// A cell whose array code reads only gates and states.
struct PlainCell {
    static constexpr int noise = 0, numbers = 0;
    static constexpr char Noise_names[] = "", Number_names[] = "";
};

// Used instead of More for a PlainCell.
struct Nothing {};

// Declares enum kind {names}, and the names as text. The library of the CPU engine describes its
// cells by them; Python refuses it if they differ from those of cells/*.py.
#define CELL_NAMES(kind, ...)  \
    enum kind { __VA_ARGS__ }; \
    static constexpr char kind##_names[] = #__VA_ARGS__;

// A set of gates or states: bit k for the k-th.
template <typename... Index>
constexpr unsigned set_of(Index... index) {
    return (0u | ... | (1u << index));
}

// Stands for the second stage in a cell with one stage.
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

// x, limited to [low, high]
template <typename R>
__device__ inline R bounded(R x, R low, R high) {
    return x < low ? low : x > high ? high : x;
}

// y, or 0 where x > limit
template <typename R>
__device__ inline R unless_above(R x, R limit, R y) {
    return x > limit ? R(0) : y;
}

#endif
