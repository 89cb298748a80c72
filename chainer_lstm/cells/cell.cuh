// What the compiled form of every cell shares: plain C++ with __device__, for one unit of one row.
// The CUDA kernels, the vectors of the CPU engine (R is a vector) and the tests on the CPU compile
// the same text. Its results are those of cells/*.py.
#ifndef CHAINER_LSTM_CELL_CUH
#define CHAINER_LSTM_CELL_CUH

constexpr int all_gates = -1;

// Of a state before the stage, or of the new one; a diagonal product has a weight for each unit.
enum Kind { matrix, diagonal, diagonal_of_new };

// A state times a weight, added to one gate before activation or to all gates. That of a new state
// is added by the array code, which has the weight.
struct Product {
    int weight, state, gate;
    Kind kind = matrix;
};

// What the array code of a cell reads besides gates and states: the weights of diagonal products, 0
// where there are none; noise, or the numbers that stand for it where there is none; and numbers.
template <typename Cell, typename R, typename Number>
struct More {
    R weights[Cell::weights], noise[Cell::noise + 1];
    const Number* numbers;
};

// A cell whose array code reads gates and states alone.
struct PlainCell {
    static constexpr int noise = 0, numbers = 0;
    static constexpr char Noise_names[] = "", Number_names[] = "";
};

// In the place of More, for such a cell.
struct Nothing {};

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

// x, or the bound that it is beyond
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
