// The arguments of every kernel: sizes and addresses, one after the other, 8 bytes each.
//
// `visit` of a struct names them in their order. Python packs them and passes the address; a Reader
// visits the struct to fill it. native.cpp visits it too, to write the declarations, which Python
// compares with kernels/boundary.py when it loads the library. So the text that is compared is that
// of the code that reads, and a library whose kernels have other arguments is refused.
#ifndef CHAINER_LSTM_ARGUMENTS_HPP
#define CHAINER_LSTM_ARGUMENTS_HPP

#include "cell.hpp"
#include "registry.hpp"
#include "tile.hpp"

namespace SIMD {

// A name: of its own, or the index-th of a list such as "a, i, f, o", between two other parts.
struct Name {
    const char *before = "", *list = "", *after = "";
    int index = 0;
    bool lower = false;

    constexpr Name(const char* name) : before(name) {}
    constexpr Name(const char* before, const char* list, int index, const char* after = "",
                   bool lower = false)
        : before(before), list(list), after(after), index(index), lower(lower) {}
};

class Reader {
public:
    explicit Reader(const void* arguments) : at_(static_cast<const char*>(arguments)) {}

    INLINE void size(const Name&, isize& n) { take(n); }

    template <typename P>
    INLINE void array(const Name&, P*& p) {
        take(p);
    }

    // a matrix of dense rows, whose stride is the next argument
    template <typename T>
    INLINE void rows(const Name&, Matrix<const T>& m) {
        take(m.data);
        take(m.row);
        m.col = 1;
    }

    template <typename T>
    INLINE void matrix(const Name&, Matrix<const T>& m) {
        take(m.data);
        take(m.row);
        take(m.col);
    }

private:
    const char* at_;

    template <typename X>
    INLINE void take(X& x) {
        static_assert(sizeof(X) == 8, "Python packs words of 8 bytes");
        std::memcpy(&x, at_, sizeof(X));
        at_ += sizeof(X);
    }
};

// out (M, N) = a (M, K) b (K, N) + bias (N,) or null
template <typename T>
struct MatmulArguments {
    isize M, N, K;
    Matrix<const T> a, b;
    const T* bias;
    T* out;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v.size("M", M), v.size("N", N), v.size("K", K);
        v.matrix("a", a), v.matrix("b", b);
        v.array("bias", bias), v.array("out", out);
    }
};

// y (N, V) or null = exp(x - maxima), with the maxima and the sums of exp of the rows (N,) of x
template <typename T>
struct ExponentialsArguments {
    isize rows, classes;
    const T* x;
    T *y, *maxima, *sums;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v.size("rows", rows), v.size("classes", classes);
        v.array("x", x), v.array("y", y), v.array("maxima", maxima), v.array("sums", sums);
    }
};

// A state before the S-th stage: c_prev before the first, c before the second.
template <typename Cell, int S>
constexpr Name before(int state) {
    return {"", Cell::State_names, state, S == 0 ? "_prev" : ""};
}

template <typename Cell>
constexpr Name gradient(int state, const char* after) {
    return {"g", Cell::State_names, state, after};
}

// What a forward stage writes.
template <typename T, typename Cell, int S, typename Visitor>
INLINE void visit_results(Visitor& v, T*& gates, States<Cell, T>& now) {
    v.array("gates", gates);
    each_of<Stage<Cell, S>::writes>([&](auto s) { v.array({"", Cell::State_names, s}, now[s]); });
}

// What a backward stage reads, besides weights.
template <typename T, typename Cell, int S>
struct Activated {
    const T* gates;
    States<Cell, const T> before, now, gradients;  // `gradients` may be null

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        typedef Stage<Cell, S> Stage;
        v.array("gates", gates);
        each_of<Stage::reads>([&](auto s) { v.array(SIMD::before<Cell, S>(s), before[s]); });
        each_of<Stage::needs>([&](auto s) { v.array({"", Cell::State_names, s}, now[s]); });
        each_of<Stage::written>([&](auto s) { v.array(gradient<Cell>(s, ""), gradients[s]); });
    }
};

template <typename T, typename Cell, int S, typename Visitor>
INLINE void visit_weights(Visitor& v, Weights<Cell, const T>& weights) {
    each_product<Cell, S>([&](auto k, auto, auto) {
        constexpr int weight = first_weight<Cell, S> + k;
        v.array({"", Cell::Weight_names, weight}, weights[weight]);
    });
}

// A stage, its products made. Only the first has xw, hu and b; hu is the product to all gates, and
// null where it is not given, as b.
template <typename T, typename Cell_, int S>
struct StageForward {
    typedef Cell_ Cell;
    isize batch, units;
    const T *xw = nullptr, *hu = nullptr, *b = nullptr;
    Products<Cell, S, const T> products;  // to a single gate
    States<Cell, const T> before;
    T* gates;
    States<Cell, T> now;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v.size("batch", batch), v.size("units", units);
        if (S == 0) v.array("xw", xw);
        each_product<Cell, S>([&](auto, auto, auto gate) {
            if (gate == all_gates) v.array("hu", hu);
        });
        if (S == 0) v.array("b", b);
        each_product<Cell, S>([&](auto k, auto, auto gate) {
            constexpr int weight = first_weight<Cell, S> + k;
            if (gate != all_gates) v.array({"", Cell::Weight_names, weight, "", true}, products[k]);
        });
        each_of<Stage<Cell, S>::reads>(
            [&](auto s) { v.array(SIMD::before<Cell, S>(s), before[s]); });
        visit_results<T, Cell, S>(v, gates, now);
    }
};

template <typename T, typename Cell_, int S>
struct StageBackward {
    typedef Cell_ Cell;
    isize batch, units;
    Activated<T, Cell, S> saved;
    T* gpre;
    States<Cell, T> out;  // gradients with respect to the states before

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        v.size("batch", batch), v.size("units", units);
        saved.visit(v);
        v.array("gpre", gpre);
        each_of<Stage<Cell, S>::reads>(
            [&](auto s) { v.array(gradient<Cell>(s, "_prev"), out[s]); });
    }
};

// A stage with its products; x, W and b are of the first. States that products alone read are null
// in a first step, as are their weights.
template <typename T, typename Cell_, int S>
struct StepForward {
    typedef Cell_ Cell;
    isize batch, units, inputs = 0;
    Matrix<const T> x{};
    const T *W = nullptr, *b = nullptr;
    Matrix<const T> before[Cell::states] = {};
    Weights<Cell, const T> weights;
    T* gates;
    States<Cell, T> now;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        typedef Stage<Cell, S> Stage;
        v.size("batch", batch), v.size("units", units);
        if (S == 0) {
            v.size("inputs", inputs);
            v.rows("x", x), v.array("W", W), v.array("b", b);
        }
        each_of<Stage::reads>([&](auto s) {
            v.array(SIMD::before<Cell, S>(s), before[s].data);
            before[s].row = units;
            before[s].col = 1;
        });
        each_of<Stage::alone>([&](auto s) { v.rows(SIMD::before<Cell, S>(s), before[s]); });
        visit_weights<T, Cell, S>(v, weights);
        visit_results<T, Cell, S>(v, gates, now);
    }
};

// Without a weight, the gradient through its product is not wanted.
template <typename T, typename Cell_, int S>
struct StepBackward {
    typedef Cell_ Cell;
    isize batch, units, inputs = 0;
    Activated<T, Cell, S> saved;
    const T* W = nullptr;
    Weights<Cell, const T> weights;
    T *gpre, *gx = nullptr;
    States<Cell, T> out;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        typedef Stage<Cell, S> Stage;
        v.size("batch", batch), v.size("units", units);
        if (S == 0) v.size("inputs", inputs);
        saved.visit(v);
        if (S == 0) v.array("W", W);
        visit_weights<T, Cell, S>(v, weights);
        v.array("gpre", gpre);
        if (S == 0) v.array("gx", gx);
        const auto state = [&](auto s) { v.array(gradient<Cell>(s, "_prev"), out[s]); };
        each_of<Stage::reads>(state);
        each_of<Stage::alone>(state);
    }
};

// One layer in one direction over all time steps.
//
// Where rows lie is packing.Rows: step k has n[k] rows from start[k] on, in the order of
// computation; buffers of states begin with `first` rows before the packed ones and hold the
// initial states from row `initial` on.
template <typename T, typename Cell_>
struct Sequence {
    typedef Cell_ Cell;
    isize steps, batch, units, inputs = 0, rows, first, initial;
    const index64 *start, *n;
    Weights<Cell, const T> weights;

protected:
    template <typename Visitor>
    INLINE void visit_steps(Visitor& v, bool has_inputs) {
        v.size("steps", steps), v.size("batch", batch), v.size("units", units);
        if (has_inputs) v.size("inputs", inputs);
        v.size("rows", rows), v.size("first", first), v.size("initial", initial);
        v.array("start", start), v.array("n", n);
        visit_weights<T, Cell, 0>(v, weights);
        if constexpr (stages<Cell> == 2) visit_weights<T, Cell, 1>(v, weights);
    }
};

// gates (P, G H) or null; states are buffers (P + B, H)
template <typename T, typename Cell>
struct SequenceForward : Sequence<T, Cell> {
    Matrix<const T> x;
    const T *W, *b;
    T* gates;
    States<Cell, T> states;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        this->visit_steps(v, true);
        v.rows("x", x), v.array("W", W), v.array("b", b), v.array("gates", gates);
        each_of<all_states<Cell>>([&](auto s) { v.array({"", Cell::State_names, s}, states[s]); });
    }
};

// gates become gpre; gradients (B, H) with respect to the last states become those with respect to
// the first; `output` (P, H) or null: with respect to the output of every step
template <typename T, typename Cell>
struct SequenceBackward : Sequence<T, Cell> {
    States<Cell, const T> states;
    Matrix<const T> output;
    T* gates;
    States<Cell, T> gradients;

    template <typename Visitor>
    INLINE void visit(Visitor& v) {
        this->visit_steps(v, false);
        each_of<all_states<Cell>>([&](auto s) { v.array({"", Cell::State_names, s}, states[s]); });
        v.rows(gradient<Cell>(output_state<Cell>, ""), output);
        v.array("gates", gates);
        each_of<all_states<Cell>>(
            [&](auto s) { v.array(gradient<Cell>(s, "_last"), gradients[s]); });
    }
};

template <typename Arguments>
struct Type {
    typedef Arguments type;
};

// f(name, Type<Arguments>) for every kernel
template <typename T, typename F>
void each_kernel(const F& f) {
    f("matmul", Type<MatmulArguments<T>>{});
    f("exponentials", Type<ExponentialsArguments<T>>{});
#define CHAINER_LSTM_STAGE(name, Cell, S)                          \
    f(#name "_forward_" #S, Type<StageForward<T, Cell, S>>{});     \
    f(#name "_backward_" #S, Type<StageBackward<T, Cell, S>>{});   \
    f(#name "_step_forward_" #S, Type<StepForward<T, Cell, S>>{}); \
    f(#name "_step_backward_" #S, Type<StepBackward<T, Cell, S>>{});
#define CHAINER_LSTM_CELL(name, Cell)                               \
    CHAINER_LSTM_STAGE(name, Cell, 0)                               \
    if constexpr (stages<Cell> == 2) {                              \
        CHAINER_LSTM_STAGE(name, Cell, 1)                           \
    }                                                               \
    f(#name "_sequence_forward", Type<SequenceForward<T, Cell>>{}); \
    f(#name "_sequence_backward", Type<SequenceBackward<T, Cell>>{});
    CHAINER_LSTM_CELLS(CHAINER_LSTM_CELL)
#undef CHAINER_LSTM_CELL
#undef CHAINER_LSTM_STAGE
}

}  // namespace SIMD

#endif
