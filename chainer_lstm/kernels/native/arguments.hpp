// The arguments of every kernel: sizes and addresses, one after the other, 8 bytes each.
//
// `visit` of a struct names them in order. Python packs them and passes the address; a Reader
// visits the struct to fill it, and native.cpp visits it to write the declarations, which Python
// compares with kernels/boundary.py when it loads the library. So a library whose kernels read
// other arguments is refused.
#ifndef CHAINER_LSTM_ARGUMENTS_HPP
#define CHAINER_LSTM_ARGUMENTS_HPP

#include "cell.hpp"
#include "registry.hpp"
#include "tile.hpp"

namespace SIMD {

// A name, or the index-th of a list such as "a, i, f, o" between two other parts.
struct Name {
    const char *before, *list = "", *after = "";
    int index = 0;
    bool lower = false;  // whether it is written in small letters

    constexpr Name(const char* name) : before(name) {}
    constexpr Name(const char* before, const char* list, int index, const char* after, bool lower)
        : before(before), list(list), after(after), index(index), lower(lower) {}
};

// a matrix whose rows are dense
template <typename T>
struct Rows {
    const T* data;
    isize row;

    operator Matrix<const T>() const { return {data, row, 1}; }
};

class Reader {
public:
    explicit Reader(const void* arguments) : at_(static_cast<const char*>(arguments)) {}

    // a size, an address, or an address and the strides after it
    template <typename X>
    INLINE Reader& operator()(const Name&, X& x) {
        static_assert(sizeof(X) % 8 == 0 && std::is_trivially_copyable<X>::value, "words");
        std::memcpy(&x, at_, sizeof(X));
        at_ += sizeof(X);
        return *this;
    }

private:
    const char* at_;
};

// the arguments of a set of states or weights, by their names
template <unsigned set, typename Visitor, typename P>
INLINE void visit_set(Visitor& v, const char* before, const char* names, const char* after,
                      P& arguments, bool lower = false) {
    each_of<set>([&](auto k) { v({before, names, k, after, lower}, arguments[k]); });
}

// out (M, N) = a (M, K) b (K, N) + bias (N,) or null
template <typename T>
struct Matmul {
    isize M, N, K;
    Matrix<const T> a, b;
    const T* bias;
    T* out;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v("M", M)("N", N)("K", K)("a", a)("b", b)("bias", bias)("out", out);
    }
};

// y (N, V) or null = exp(x - maxima), with the maxima and the sums of exp of the rows (N,) of x
template <typename T>
struct Exponentials {
    isize rows, classes;
    const T* x;
    T *y, *maxima, *sums;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v("rows", rows)("classes", classes)("x", x)("y", y)("maxima", maxima)("sums", sums);
    }
};

// what states are called before a stage: c_prev before the first, c before the second
template <int S>
constexpr const char* suffix = S == 0 ? "_prev" : "";

// What a stage writes forward.
template <typename T, typename Cell, int S>
struct Results {
    T* gates;
    States<Cell, T> now;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v("gates", gates);
        visit_set<Stage<Cell, S>::writes>(v, "", Cell::State_names, "", now);
    }
};

// What a stage reads backward, besides weights; the gradients may be null.
template <typename T, typename Cell, int S>
struct Saved {
    const T* gates;
    States<Cell, const T> before, now, gradients;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v("gates", gates);
        visit_set<Stage<Cell, S>::reads>(v, "", Cell::State_names, suffix<S>, before);
        visit_set<Stage<Cell, S>::needs>(v, "", Cell::State_names, "", now);
        visit_set<Stage<Cell, S>::written>(v, "g", Cell::State_names, "", gradients);
    }
};

// A stage, its products made. Only the first has xw, hu and b; hu is the product to all gates, and
// null where it is not given, as b. `products` are those to a single gate.
template <typename T, typename Cell, int S>
struct StageForward {
    isize batch, units;
    const T *xw = nullptr, *hu = nullptr, *b = nullptr;
    Weights<Cell, const T> products;
    States<Cell, const T> before;
    Results<T, Cell, S> results;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v("batch", batch)("units", units);
        if (S == 0) v("xw", xw);
        if (Stage<Cell, S>::to_all) v("hu", hu);
        if (S == 0) v("b", b);
        visit_set<Stage<Cell, S>::to_one>(v, "", Cell::Weight_names, "", products, true);
        visit_set<Stage<Cell, S>::reads>(v, "", Cell::State_names, suffix<S>, before);
        results.visit(v);
    }
};

template <typename T, typename Cell, int S>
struct StageBackward {
    isize batch, units;
    Saved<T, Cell, S> saved;
    T* gpre;
    States<Cell, T> out;  // gradients with respect to the states before

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v("batch", batch)("units", units);
        saved.visit(v);
        v("gpre", gpre);
        visit_set<Stage<Cell, S>::reads>(v, "g", Cell::State_names, "_prev", out);
    }
};

// A stage with its products; x, W and b are of the first. States that products alone read are null
// in a first step, as their weights.
template <typename T, typename Cell, int S>
struct StepForward {
    isize batch, units, inputs = 0;
    Rows<T> x{};
    const T *W = nullptr, *b = nullptr;
    States<Cell, const T> before;
    Rows<T> alone[Cell::states] = {};
    Weights<Cell, const T> weights;
    Results<T, Cell, S> results;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v("batch", batch)("units", units);
        if (S == 0) v("inputs", inputs)("x", x)("W", W)("b", b);
        visit_set<Stage<Cell, S>::reads>(v, "", Cell::State_names, suffix<S>, before);
        visit_set<Stage<Cell, S>::alone>(v, "", Cell::State_names, suffix<S>, alone);
        visit_set<Stage<Cell, S>::weights>(v, "", Cell::Weight_names, "", weights);
        results.visit(v);
    }
};

// Without a weight, the gradient through its product is not wanted.
template <typename T, typename Cell, int S>
struct StepBackward {
    isize batch, units, inputs = 0;
    Saved<T, Cell, S> saved;
    const T* W = nullptr;
    Weights<Cell, const T> weights;
    T *gpre, *gx = nullptr;
    States<Cell, T> out;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v("batch", batch)("units", units);
        if (S == 0) v("inputs", inputs);
        saved.visit(v);
        if (S == 0) v("W", W);
        visit_set<Stage<Cell, S>::weights>(v, "", Cell::Weight_names, "", weights);
        v("gpre", gpre);
        if (S == 0) v("gx", gx);
        visit_set<Stage<Cell, S>::reads>(v, "g", Cell::State_names, "_prev", out);
        visit_set<Stage<Cell, S>::alone>(v, "g", Cell::State_names, "_prev", out);
    }
};

// One layer in one direction over all time steps.
//
// Where rows lie is packing.Rows: step k has n[k] rows from start[k] on, in the order of
// computation; buffers of states begin with `first` rows before the packed ones and hold the
// initial states from row `initial` on.
template <typename T, typename Cell>
struct Sequence {
    isize steps, batch, units, inputs = 0, rows, first, initial;
    const index64 *start, *n;
    Weights<Cell, const T> weights;

protected:
    template <typename Visitor>
    INLINE void visit_steps(Visitor& v, bool has_inputs) {
        v("steps", steps)("batch", batch)("units", units);
        if (has_inputs) v("inputs", inputs);
        v("rows", rows)("first", first)("initial", initial)("start", start)("n", n);
        visit_set<all_of(Cell::weights)>(v, "", Cell::Weight_names, "", weights);
    }
};

// gates (P, G H) or null; states are buffers (P + B, H)
template <typename T, typename Cell>
struct SequenceForward : Sequence<T, Cell> {
    Rows<T> x;
    const T *W, *b;
    T* gates;
    States<Cell, T> states;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        this->visit_steps(v, true);
        v("x", x)("W", W)("b", b)("gates", gates);
        visit_set<all_of(Cell::states)>(v, "", Cell::State_names, "", states);
    }
};

// gates become gpre; gradients (B, H) with respect to the last states become those with respect to
// the first; `output` (P, H) or null: with respect to the output of every step
template <typename T, typename Cell>
struct SequenceBackward : Sequence<T, Cell> {
    States<Cell, const T> states;
    Rows<T> output[Cell::states];
    T* gates;
    States<Cell, T> gradients;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        this->visit_steps(v, false);
        visit_set<all_of(Cell::states)>(v, "", Cell::State_names, "", states);
        visit_set<1u << output_state<Cell>>(v, "g", Cell::State_names, "", output);
        v("gates", gates);
        visit_set<all_of(Cell::states)>(v, "g", Cell::State_names, "_last", gradients);
    }
};

// f(name, arguments) for every kernel, with empty arguments of its type
template <typename T, typename F>
void each_kernel(const F& f) {
    f("matmul", Matmul<T>{});
    f("exponentials", Exponentials<T>{});
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
