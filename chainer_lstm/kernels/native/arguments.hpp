// The arguments of every kernel as a struct, which Python packs and passes by address.
//
// Each member is a size, an address or an array of them, 8 bytes each: there is no padding. Arrays
// by state or weight have null for those that a kernel does not use. The text of the members is
// part of the library. Python compares it with kernels/boundary.py when it loads the library, and
// refuses a library whose kernels read other arguments.
#ifndef CHAINER_LSTM_ARGUMENTS_HPP
#define CHAINER_LSTM_ARGUMENTS_HPP

#include "cell.hpp"
#include "registry.hpp"
#include "tile.hpp"

// the members of a struct, and their text; macros among them are expanded first
#define MEMBERS(...) MEMBERS_AS_THEY_ARE(__VA_ARGS__)
#define MEMBERS_AS_THEY_ARE(...) __VA_ARGS__ static constexpr char text[] = #__VA_ARGS__;

namespace SIMD {

// a matrix whose rows are dense
template <typename T>
struct Rows {
    T* data;
    isize row;

    operator Matrix<T>() const { return {data, row, 1}; }
};

// out (M, N) = a (M, K) b (K, N) + bias (N,) or null
template <typename T>
struct Matmul {
    MEMBERS(isize M, N, K; Matrix<const T> a, b; const T* bias; T* out;)
};

// `to` = `from`, the rows of each of four gates, which may lie in any order of gates
template <typename T>
struct CopyGates {
    MEMBERS(isize units, columns; Rows<const T> from[4]; Rows<T> to[4];)
};

// y (N, V) or null = exp(x - maxima); maxima and sums of exp (N,) of the rows of x
template <typename T>
struct Exponentials {
    MEMBERS(isize rows, classes; const T* x; T *y, *maxima, *sums;)
};

// sums (V, N) of the rows of x (rows, N) of each class; classes beyond 0 to V - 1 are left out
template <typename T>
struct SumsByClass {
    MEMBERS(isize rows, columns, classes; const index64* of; const T* x; T* sums;)
};

struct Epsilon {
    static constexpr int noise = 0, numbers = 1;
};

// x (rows, columns) becomes normalized, y = x * gain + b (columns,) or null, scale (rows,)
template <typename T>
struct Normalize {
    MEMBERS(isize rows, columns; Numbers<Epsilon> numbers; const T *gain, *b; T *x, *y, *scale;)
};

// gx from gy, the gradient with respect to y
template <typename T>
struct NormalizeBackward {
    MEMBERS(isize rows, columns; const T *gy, *gain, *normalized, *scale; T* gx;)
};

// the sums (parts,) of the squares of nearly equal parts of x (size,)
template <typename T>
struct SumsOfSquares {
    MEMBERS(isize size, parts; const T* x; T* sums;)
};

struct SgdRates {
    static constexpr int noise = 0, numbers = 3;
};

struct AdamRates {
    static constexpr int noise = 0, numbers = 9;
};

// Updates x (size,); scales the gradients g in place, and v (or null), the last step, becomes the
// new one.
template <typename T>
struct Sgd {
    MEMBERS(isize size; Numbers<SgdRates> numbers; T *x, *g, *v;)
};

// `most` (or null) is the largest v so far
template <typename T>
struct Adam {
    MEMBERS(isize size; Numbers<AdamRates> numbers; T *x, *g, *m, *v, *most;)
};

// A stage after its products. Only the first stage has xw, hu and b; hu is the product to all
// gates; hu and b may be null. `products` are the products to a single gate, and the weights of
// diagonal products.
template <typename T, typename Cell, int S>
struct StageForward {
    MEMBERS(isize batch, units; Numbers<Cell> numbers; const T *xw, *hu, *b;
            Weights<Cell, const T> products; Noise<Cell, const T> noise;
            States<Cell, const T> before; T* gates; States<Cell, T> now;)
};

// The gradients may be null; `out` are those with respect to the states before.
template <typename T, typename Cell, int S>
struct StageBackward {
    MEMBERS(isize batch, units; Numbers<Cell> numbers; const T* gates;
            Weights<Cell, const T> weights; Noise<Cell, const T> noise;
            States<Cell, const T> before, now, gradients; T* gpre; States<Cell, T> out;)
};

// A weight (N, K) as panels of its rows, see panels.hpp, in `padded` N rows: a multiple of 16.
template <typename T>
struct Pack {
    MEMBERS(isize columns, depth; const T* weight; T* packed;)
};

// A stage with its products; x, W and b belong to the first stage. States that only products read
// are null in a first step, and so are their weights. `packed` are weights packed by Pack, or null.
// The gates of a cell of one stage may be null.
template <typename T, typename Cell, int S>
struct StepForward {
    MEMBERS(isize batch, units, inputs; Numbers<Cell> numbers; Rows<const T> x; const T *W, *b;
            States<Cell, const T> before; Rows<const T> alone[Cell::states];
            Weights<Cell, const T> weights; const T* packed_W; Weights<Cell, const T> packed;
            Noise<Cell, const T> noise; T* gates; States<Cell, T> now;)
};

// A null weight means that the gradient through its product is not needed.
template <typename T, typename Cell, int S>
struct StepBackward {
    MEMBERS(isize batch, units, inputs; Numbers<Cell> numbers; const T* gates;
            States<Cell, const T> before, now, gradients; const T* W;
            Weights<Cell, const T> weights; Noise<Cell, const T> noise; T *gpre, *gx;
            States<Cell, T> out;)
};

// One layer in one direction over all time steps.
//
// Rows are arranged as by packing.Rows: step k has n[k] rows from start[k] on, in the order of
// computation. Buffers of states hold packed rows from row `first` on and the initial states from
// row `initial` on. Masks (B, H) or null multiply the states of products.
//
// With V (outputs, H) the output is projected: the cell computes m (H), and h = m Vᵀ has `outputs`
// columns. V is null for no projection; then `outputs` is H.
#define STEPS                                                         \
    isize steps, batch, units, outputs, inputs, rows, first, initial; \
    Numbers<Cell> numbers;                                            \
    const index64 *start, *n;                                         \
    Weights<Cell, const T> weights, masks;                            \
    const T* V;                                                       \
    Noise<Cell, const T> noise;

// W and U, the weight of the product to all gates, are a matrix for each gate, (H, inputs) and (H,
// outputs); U is not among `weights`. gates (P, G H) or null; m (P, H) or null; states are buffers
// (P + B, H).
template <typename T, typename Cell>
struct SequenceForward {
    MEMBERS(STEPS Rows<const T> x, W[Cell::gates], U[Cell::gates]; const T* b; T *gates, *m;
            States<Cell, T> states;)
};

// gates become gpre; gradients (B, H) with respect to the last states become gradients with respect
// to the initial states. `output` and `cells` (P, H) or null: gradients with respect to the output
// and the first state of every step. `total` (P, outputs) or null: set to the gradient with respect
// to a projected output, including later steps.
template <typename T, typename Cell>
struct SequenceBackward {
    MEMBERS(STEPS States<Cell, const T> states; Rows<const T> output, cells; T *gates, *total;
            States<Cell, T> gradients;)
};

// The numbers of an LSTM whose products and cell are normalized.
struct Normalized {
    static constexpr int noise = 2, numbers = 3, epsilon = 4;
};

#define NORMALIZED                                                    \
    isize steps, batch, units, outputs, inputs, rows, first, initial; \
    Numbers<Normalized> numbers;                                      \
    const index64 *start, *n;                                         \
    const T *U, *gamma_h, *gamma_c, *beta_c;

// All steps of an LSTM with normalized products and cell. The gates (P, 4 H), normalized x Wᵀ + b,
// become activated; `product` (P, 4 H) is set to the normalized h Uᵀ, `scale` (P,) to its factor.
template <typename T>
struct NormalizedForward {
    MEMBERS(NORMALIZED T *gates, *product, *scale, *c, *h;)
    static constexpr const T* V = nullptr;  // there is no projection
};

// gates become gpre; `gradient` (P, 4 H) is set to the gradient with respect to h Uᵀ, of_gamma and
// of_beta (P, H) to rows whose sums are the gradients with respect to gamma_c and beta_c.
template <typename T>
struct NormalizedBackward {
    MEMBERS(NORMALIZED const T *product, *scale, *c; Rows<const T> gh, gc;
            T *gates, *gradient, *of_gamma, *of_beta, *gc_last, *gh_last;)
    static constexpr const T* V = nullptr;
};

// Calls f(name, arguments) for every kernel, with empty arguments of its type.
template <typename T, typename F>
void each_kernel(const F& f) {
    f("matmul", Matmul<T>{});
    f("pack", Pack<T>{});
    f("copy_gates", CopyGates<T>{});
    f("exponentials", Exponentials<T>{});
    f("sums_by_class", SumsByClass<T>{});
    f("normalize", Normalize<T>{});
    f("normalize_backward", NormalizeBackward<T>{});
    f("sums_of_squares", SumsOfSquares<T>{});
    f("sgd", Sgd<T>{});
    f("adam", Adam<T>{});
    f(CHAINER_LSTM_NORMALIZED "_sequence_forward", NormalizedForward<T>{});
    f(CHAINER_LSTM_NORMALIZED "_sequence_backward", NormalizedBackward<T>{});
#define CHAINER_LSTM_STAGE(name, Cell, S)                    \
    f(#name "_forward_" #S, StageForward<T, Cell, S>{});     \
    f(#name "_backward_" #S, StageBackward<T, Cell, S>{});   \
    f(#name "_step_forward_" #S, StepForward<T, Cell, S>{}); \
    f(#name "_step_backward_" #S, StepBackward<T, Cell, S>{});
#define CHAINER_LSTM_CELL(name, Cell)                         \
    CHAINER_LSTM_STAGE(name, Cell, 0)                         \
    if constexpr (stages<Cell> == 2) {                        \
        CHAINER_LSTM_STAGE(name, Cell, 1)                     \
    }                                                         \
    f(#name "_sequence_forward", SequenceForward<T, Cell>{}); \
    f(#name "_sequence_backward", SequenceBackward<T, Cell>{});
    CHAINER_LSTM_CELLS(CHAINER_LSTM_CELL)
#undef CHAINER_LSTM_CELL
#undef CHAINER_LSTM_STAGE
}

}  // namespace SIMD

#endif
