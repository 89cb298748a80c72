// The kernels of one instruction set, by name.  Each takes the address of its arguments
// (arguments.hpp) and returns 0, or 1 if there was no memory.

#include "simd.hpp"

#include "tiles.hpp"

#include "product.hpp"

#include "cells.hpp"

#include "recurrence.hpp"

namespace SIMD {

// out (M, N) = a (M, K) b (K, N) + bias (N,) or null
template <typename T>
void matmul(const matmul_arguments<T>& k) {
    product<T>(k.M, k.N, k.K, {k.a, k.a_row, k.a_col}, {k.b, k.b_row, k.b_col}, k.bias, false,
               k.out);
}

template <typename T, typename Arguments>
Sequence<T> sequence(const Arguments& k) {
    const isize H = k.units;
    return {k.steps,     k.start,       k.n,           k.batch,      H, k.rows, k.first, k.initial,
            {k.U, H, 1}, {k.P_i, H, 1}, {k.P_f, H, 1}, {k.P_o, H, 1}};
}

template <typename T>
void sequence_forward(const sequence_forward_arguments<T>& k) {
    forward(sequence<T>(k), Inputs<T>{k.inputs, {k.x, k.x_row, 1}, {k.W, k.inputs, 1}, k.b},
            k.gates, k.h, k.c);
}

template <typename T>
void recur_backward(const recur_backward_arguments<T>& k) {
    backward(sequence<T>(k), k.gates, k.c, k.gh, k.gh_row, k.gh_last, k.gc_last);
}

// The stages of a step.

constexpr double work_of_a_unit = 100, work_of_an_exponential = 20;

// f(first unit of the row) for each row
template <typename F>
void each_row(isize batch, isize units, const F& f) {
    Team::run(work_of_a_unit * batch * units, [&](Worker& worker) {
        const isize end = batch * (worker.id + 1) / worker.count;
        for (isize r = batch * worker.id / worker.count; r < end; r++) f(r * units);
    });
}

// f(first, last) for all n units as if they were of one row
template <typename T, typename F>
void each_part(isize n, const F& f) {
    Team::run(work_of_a_unit * n, [&](Worker& worker) {
        const Share mine(n, lanes<T>, worker);
        f(mine.first, mine.last);
    });
}

template <typename T>
void lstm_fwd(const lstm_fwd_arguments<T>& k) {
    each_row(k.batch, k.units, [&](isize u) {
        lstm_fwd_row<T>(0, k.units, k.xw + 4 * u, k.hu ? k.hu + 4 * u : k.hu, k.b, k.c_prev + u,
                        k.gates + 4 * u, k.c + u, k.h + u);
    });
}

template <typename T>
void lstm_bwd(const lstm_bwd_arguments<T>& k) {
    each_part<T>(k.batch * k.units, [&](isize first, isize last) {
        lstm_bwd_row<T>(first, last, k.gates, k.c_prev, k.c, k.gc, k.gh, nullptr, k.gpre,
                        k.gc_prev);
    });
}

template <typename T>
void peephole_cell_fwd(const peephole_cell_fwd_arguments<T>& k) {
    each_row(k.batch, k.units, [&](isize u) {
        peephole_cell_fwd_row<T>(0, k.units, k.xw + 4 * u, k.hu ? k.hu + 4 * u : k.hu, k.b,
                                 k.pi + u, k.pf + u, k.c_prev + u, k.gates + 4 * u, k.c + u);
    });
}

template <typename T>
void peephole_out_fwd(const peephole_out_fwd_arguments<T>& k) {
    each_part<T>(k.batch * k.units, [&](isize first, isize last) {
        peephole_out_fwd_row<T>(first, last, k.gates, k.po, k.c, k.h);
    });
}

template <typename T>
void peephole_out_bwd(const peephole_out_bwd_arguments<T>& k) {
    each_part<T>(k.batch * k.units, [&](isize first, isize last) {
        // the gates are written only where there is no array for go
        peephole_out_bwd_row<T>(first, last, const_cast<T*>(k.gates), k.c, k.gc, k.gh, nullptr,
                                k.go, k.gc_sum);
    });
}

template <typename T>
void peephole_cell_bwd(const peephole_cell_bwd_arguments<T>& k) {
    each_part<T>(k.batch * k.units, [&](isize first, isize last) {
        peephole_cell_bwd_row<T>(first, last, k.gates, k.c_prev, k.gc, k.go, k.gpre, k.gc_prev);
    });
}

// lstm_fwd of x Wᵀ + b + h Uᵀ, the rows of x and h anywhere
template <typename T>
void lstm_step_fwd(const lstm_step_fwd_arguments<T>& k) {
    const isize batch = k.batch, units = k.units, inputs = k.inputs, N = 4 * units;
    T* const gates = k.gates;
    const Matrix<const T> X{k.x, k.x_row, 1}, H{k.h, k.h_row, 1}, to_W{k.W, 1, inputs},
        to_U{k.U, 1, units};
    if (!of_few(batch, inputs, X, to_W) || !of_few(batch, units, H, to_U)) {
        product(batch, N, inputs, X, to_W, k.b, false, gates);
        if (k.h) product<T>(batch, N, units, H, to_U, nullptr, true, gates);
        return lstm_fwd<T>({batch, units, gates, nullptr, nullptr, k.c_prev, gates, k.c, k.h_new});
    }
    Team::run(2.0 * batch * N * (inputs + units), [&](Worker& worker) {
        const Share mine(units, lanes<T> / 4, worker);  // of whole vectors of gates
        const isize first = 4 * mine.first, last = 4 * mine.last;
        for (isize r = 0; r < batch; r++)
            std::memcpy(gates + r * N + first, k.b + first, (last - first) * sizeof(T));
        columns_of_few(batch, N, inputs, X, to_W, true, gates, first, last);
        if (k.h) columns_of_few(batch, N, units, H, to_U, true, gates, first, last);
        for (isize r = 0; r < batch; r++)
            lstm_fwd_row<T>(mine.first, mine.last, gates + r * N, nullptr, nullptr,
                            k.c_prev + r * units, gates + r * N, k.c + r * units,
                            k.h_new + r * units);
    });
}

// lstm_bwd and gx = gpre W, gh_prev = gpre U; W or U is null if its gradient is not needed
template <typename T>
void lstm_step_bwd(const lstm_step_bwd_arguments<T>& k) {
    const isize batch = k.batch, units = k.units, inputs = k.inputs, N = 4 * units;
    const Matrix<const T> G{k.gpre, N, 1}, by_W{k.W, inputs, 1}, by_U{k.U, units, 1};
    if (!of_few(batch, N, G, by_W)) {
        lstm_bwd<T>({batch, units, k.gates, k.c_prev, k.c, k.gc, k.gh, k.gpre, k.gc_prev});
        if (k.W) product<T>(batch, inputs, N, G, by_W, nullptr, false, k.gx);
        if (k.U) product<T>(batch, units, N, G, by_U, nullptr, false, k.gh_prev);
        return;
    }
    Team::run(2.0 * batch * N * ((k.W ? inputs : 0) + (k.U ? units : 0)), [&](Worker& worker) {
        const Share mine(units, lanes<T>, worker);
        for (isize u = 0; u < batch * units; u += units)
            lstm_bwd_row<T>(mine.first, mine.last, k.gates + 4 * u, k.c_prev + u, k.c + u,
                            k.gc ? k.gc + u : k.gc, k.gh ? k.gh + u : k.gh, nullptr, k.gpre + 4 * u,
                            k.gc_prev + u);
        worker.wait_for_all();
        if (k.W) part_of_few(worker, batch, inputs, N, G, by_W, false, k.gx);
        if (k.U) part_of_few(worker, batch, units, N, G, by_U, false, k.gh_prev);
    });
}

// The halves of a step with peepholes, products included: up to c, and h from c.

template <typename T>
void peephole_step_fwd(const peephole_step_fwd_arguments<T>& k) {
    const isize batch = k.batch, H = k.units, N = 4 * H;
    const Matrix<const T> C{k.c_prev, H, 1};
    Room<T> room(2 * batch * H);
    T *const pi = room.take(batch * H), *const pf = room.take(batch * H);
    product<T>(batch, N, k.inputs, {k.x, k.x_row, 1}, {k.W, 1, k.inputs}, k.b, false, k.gates);
    if (k.h) product<T>(batch, N, H, {k.h, k.h_row, 1}, {k.U, 1, H}, nullptr, true, k.gates);
    product<T>(batch, H, H, C, {k.P_i, 1, H}, nullptr, false, pi);
    product<T>(batch, H, H, C, {k.P_f, 1, H}, nullptr, false, pf);
    peephole_cell_fwd<T>({batch, H, k.gates, nullptr, nullptr, pi, pf, k.c_prev, k.gates, k.c});
}

// gc_prev with the parts through P_i and P_f if these are given; gx and gh_prev if W and U are
template <typename T>
void peephole_step_bwd(const peephole_step_bwd_arguments<T>& k) {
    const isize batch = k.batch, H = k.units, N = 4 * H;
    const Matrix<const T> G{k.gpre, N, 1};
    peephole_cell_bwd<T>({batch, H, k.gates, k.c_prev, k.gc, k.go, k.gpre, k.gc_prev});
    if (k.W) product<T>(batch, k.inputs, N, G, {k.W, k.inputs, 1}, nullptr, false, k.gx);
    if (k.U) product<T>(batch, H, N, G, {k.U, H, 1}, nullptr, false, k.gh_prev);
    if (k.P_i) product<T>(batch, H, H, {k.gpre + 1, N, 4}, {k.P_i, H, 1}, nullptr, true, k.gc_prev);
    if (k.P_f) product<T>(batch, H, H, {k.gpre + 2, N, 4}, {k.P_f, H, 1}, nullptr, true, k.gc_prev);
}

template <typename T>
void peephole_output_fwd(const peephole_output_fwd_arguments<T>& k) {
    const isize batch = k.batch, H = k.units;
    Room<T> room(batch * H);
    T* const po = room.take(batch * H);
    product<T>(batch, H, H, {k.c, H, 1}, {k.P_o, 1, H}, nullptr, false, po);
    peephole_out_fwd<T>({batch, H, k.gates, po, k.c, k.h});
}

template <typename T>
void peephole_output_bwd(const peephole_output_bwd_arguments<T>& k) {
    const isize batch = k.batch, H = k.units;
    peephole_out_bwd<T>({batch, H, k.gates, k.c, nullptr, k.gh, k.go, k.gc});
    product<T>(batch, H, H, {k.go, H, 1}, {k.P_o, H, 1}, nullptr, true, k.gc);
}

// y (N, V) or null = exp(x - maxima), with the maxima and the sums of exp of the rows (N,) of x (N,
// V)
template <typename T>
void exponentials(const exponentials_arguments<T>& k) {
    const isize V = k.classes;
    Team::run(work_of_an_exponential * k.rows * V, [&](Worker& worker) {
        const isize end = k.rows * (worker.id + 1) / worker.count;
        for (isize r = k.rows * worker.id / worker.count; r < end; r++)
            exponentials_row(V, k.x + r * V, k.y ? k.y + r * V : k.y, k.maxima[r], k.sums[r]);
    });
}

template <typename Arguments, void (*kernel)(const Arguments&)>
int entry(const void* arguments) {
    const FlushDenormals flush;
    try {
        kernel(*static_cast<const Arguments*>(arguments));
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

#define CHAINER_LSTM_FIND(name, ...)                                        \
    if (!std::strcmp(wanted, #name))                                        \
        return dtype == 'd' ? entry<name##_arguments<double>, name<double>> \
                            : entry<name##_arguments<float>, name<float>>;

Kernel* find(const char* wanted, char dtype) {
    CHAINER_LSTM_KERNELS(CHAINER_LSTM_FIND)
    return nullptr;
}

#undef CHAINER_LSTM_FIND

}  // namespace SIMD
