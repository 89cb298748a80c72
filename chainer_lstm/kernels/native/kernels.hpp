// The kernels of one instruction set, by name.  They return 0, or 1 where there was no memory.

#include "simd.hpp"

#include "tiles.hpp"

#include "product.hpp"

#include "cells.hpp"

#include "recurrence.hpp"

namespace SIMD {

template <typename F>
int guarded(const F& f) {
    try {
        f();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// c (M, N), rows dense = a (M, K) b (K, N) + bias (N,) or null
template <typename T>
int matmul(isize M, isize N, isize K, const T* a, isize a_row, isize a_col, const T* b, isize b_row, isize b_col,
           const T* bias, T* c) {
    return guarded([&] { product<T>(M, N, K, {a, a_row, a_col}, {b, b_row, b_col}, bias, false, c); });
}

template <typename T>
Sequence<T> sequence(isize steps, const std::int64_t* start, const std::int64_t* n, isize batch, isize units,
                     isize first, isize initial, const T* U, const T* P_i, const T* P_f, const T* P_o) {
    return {steps, start, n, batch, units, first, initial,
            {U, units, 1}, {P_i, units, 1}, {P_f, units, 1}, {P_o, units, 1}};
}

template <typename T>
int sequence_forward(isize steps, const std::int64_t* start, const std::int64_t* n, isize batch, isize units, isize first,
            isize initial, const T* U, const T* P_i, const T* P_f, const T* P_o, isize inputs, const T* x, isize x_row,
            const T* W, const T* b, T* gates /*or null*/, T* h, T* c) {
    return guarded([&] {
        forward(sequence(steps, start, n, batch, units, first, initial, U, P_i, P_f, P_o),
                Inputs<T>{inputs, {x, x_row, 1}, {W, inputs, 1}, b}, gates, h, c);
    });
}

template <typename T>
int recur_backward(isize steps, const std::int64_t* start, const std::int64_t* n, isize batch, isize units, isize first,
                   isize initial, const T* U, const T* P_i, const T* P_f, const T* P_o, T* gates, const T* c,
                   const T* gh /*or null*/, isize gh_row, T* gh_now, T* gc) {
    return guarded([&] {
        backward(sequence(steps, start, n, batch, units, first, initial, U, P_i, P_f, P_o), gates, c, gh, gh_row,
                 gh_now, gc);
    });
}

// the stages of a step, with the arguments of the CUDA kernels of the same names; n = B * H

constexpr double work_of_a_unit = 100, work_of_an_exponential = 20;

// f(row) for rows of units
template <typename F>
int each_row(isize units, isize n, const F& f) {
    const isize rows = n / units;
    Team::run(work_of_a_unit * n, [&](Worker& worker) {
        for (isize r = rows * worker.id / worker.count; r < rows * (worker.id + 1) / worker.count; r++) f(r * units);
    });
    return 0;
}

// f(first, last) for all units as if they were of one row
template <typename T, typename F>
int each_part(isize n, const F& f) {
    Team::run(work_of_a_unit * n, [&](Worker& worker) {
        const Share mine(n, lanes<T>, worker);
        f(mine.first, mine.last);
    });
    return 0;
}

template <typename T>
int lstm_fwd(const T* xw, const T* hu, const T* b, const T* c_prev, T* gates, T* c, T* h, isize units, isize n) {
    return each_row(units, n, [=](isize k) {
        lstm_fwd_row<T>(0, units, xw + 4 * k, hu ? hu + 4 * k : hu, b, c_prev + k, gates + 4 * k, c + k, h + k);
    });
}

template <typename T>
int lstm_bwd(const T* gates, const T* c_prev, const T* c, const T* gc, const T* gh, T* gpre, T* gc_prev, isize n) {
    return each_part<T>(n, [=](isize first, isize last) {
        lstm_bwd_row<T>(first, last, gates, c_prev, c, gc, gh, nullptr, gpre, gc_prev);
    });
}

template <typename T>
int peephole_cell_fwd(const T* xw, const T* hu, const T* b, const T* pi, const T* pf, const T* c_prev, T* gates, T* c,
                      isize units, isize n) {
    return each_row(units, n, [=](isize k) {
        peephole_cell_fwd_row<T>(0, units, xw + 4 * k, hu ? hu + 4 * k : hu, b, pi + k, pf + k, c_prev + k,
                                 gates + 4 * k, c + k);
    });
}

template <typename T>
int peephole_out_fwd(T* gates, const T* po, const T* c, T* h, isize n) {
    return each_part<T>(n, [=](isize first, isize last) { peephole_out_fwd_row<T>(first, last, gates, po, c, h); });
}

template <typename T>
int peephole_out_bwd(T* gates, const T* c, const T* gc, const T* gh, T* go, T* gc_sum, isize n) {
    return each_part<T>(n, [=](isize first, isize last) {
        peephole_out_bwd_row<T>(first, last, gates, c, gc, gh, nullptr, go, gc_sum);
    });
}

template <typename T>
int peephole_cell_bwd(const T* gates, const T* c_prev, const T* gc, const T* go, T* gpre, T* gc_prev, isize n) {
    return each_part<T>(n, [=](isize first, isize last) {
        peephole_cell_bwd_row<T>(first, last, gates, c_prev, gc, go, gpre, gc_prev);
    });
}

// lstm_fwd of x Wᵀ + b + h Uᵀ, the rows of x and h anywhere
template <typename T>
int lstm_step_fwd(isize batch, isize units, isize inputs, const T* x, isize x_row, const T* W, const T* b,
                  const T* h /*or null*/, isize h_row, const T* U, const T* c_prev, T* gates, T* c, T* h_new) {
    return guarded([&] {
        const isize N = 4 * units;
        const Matrix<const T> X{x, x_row, 1}, H{h, h_row, 1}, to_W{W, 1, inputs}, to_U{U, 1, units};
        if (!of_few(batch, inputs, X, to_W) || !of_few(batch, units, H, to_U)) {
            product(batch, N, inputs, X, to_W, b, false, gates);
            if (h) product<T>(batch, N, units, H, to_U, nullptr, true, gates);
            lstm_fwd<T>(gates, nullptr, nullptr, c_prev, gates, c, h_new, units, batch * units);
            return;
        }
        Team::run(2.0 * batch * N * (inputs + units), [&](Worker& worker) {
            const Share mine(units, lanes<T> / 4, worker);  // of whole vectors of gates
            const isize first = 4 * mine.first, last = 4 * mine.last;
            for (isize r = 0; r < batch; r++) std::memcpy(gates + r * N + first, b + first, (last - first) * sizeof(T));
            columns_of_few(batch, N, inputs, X, to_W, true, gates, first, last);
            if (h) columns_of_few(batch, N, units, H, to_U, true, gates, first, last);
            for (isize r = 0; r < batch; r++)
                lstm_fwd_row<T>(mine.first, mine.last, gates + r * N, nullptr, nullptr, c_prev + r * units,
                                gates + r * N, c + r * units, h_new + r * units);
        });
    });
}

// lstm_bwd and gx = gpre W, gh_prev = gpre U; W or U null if nobody wants these
template <typename T>
int lstm_step_bwd(isize batch, isize units, isize inputs, const T* gates, const T* c_prev, const T* c, const T* gc,
                  const T* gh, const T* W, const T* U, T* gpre, T* gc_prev, T* gx, T* gh_prev) {
    return guarded([&] {
        const isize N = 4 * units;
        const Matrix<const T> G{gpre, N, 1}, by_W{W, inputs, 1}, by_U{U, units, 1};
        if (!of_few(batch, N, G, by_W)) {
            lstm_bwd(gates, c_prev, c, gc, gh, gpre, gc_prev, batch * units);
            if (W) product<T>(batch, inputs, N, G, by_W, nullptr, false, gx);
            if (U) product<T>(batch, units, N, G, by_U, nullptr, false, gh_prev);
            return;
        }
        Team::run(2.0 * batch * N * ((W ? inputs : 0) + (U ? units : 0)), [&](Worker& worker) {
            const Share mine(units, lanes<T>, worker);
            for (isize k = 0; k < batch * units; k += units)
                lstm_bwd_row<T>(mine.first, mine.last, gates + 4 * k, c_prev + k, c + k, gc ? gc + k : gc,
                                gh ? gh + k : gh, nullptr, gpre + 4 * k, gc_prev + k);
            worker.wait_for_all();
            if (W) part_of_few(worker, batch, inputs, N, G, by_W, false, gx);
            if (U) part_of_few(worker, batch, units, N, G, by_U, false, gh_prev);
        });
    });
}

// y (N, V) or null = exp(x - maxima), with the maxima and their sums of the rows (N,) of x (N, V)
template <typename T>
int exponentials(isize rows, isize classes, const T* x, T* y /*or null*/, T* maxima, T* sums) {
    Team::run(work_of_an_exponential * rows * classes, [&](Worker& worker) {
        for (isize r = rows * worker.id / worker.count; r < rows * (worker.id + 1) / worker.count; r++)
            exponentials_row(classes, x + r * classes, y ? y + r * classes : y, maxima[r], sums[r]);
    });
    return 0;
}

#define CHAINER_LSTM_KERNEL(name) \
    if (!std::strcmp(wanted, #name)) return dtype == 'd' ? (void*)&name<double> : (void*)&name<float>;

void* find(const char* wanted, char dtype) {
    CHAINER_LSTM_KERNEL(matmul)
    CHAINER_LSTM_KERNEL(sequence_forward)
    CHAINER_LSTM_KERNEL(recur_backward)
    CHAINER_LSTM_KERNEL(lstm_fwd)
    CHAINER_LSTM_KERNEL(lstm_bwd)
    CHAINER_LSTM_KERNEL(lstm_step_fwd)
    CHAINER_LSTM_KERNEL(lstm_step_bwd)
    CHAINER_LSTM_KERNEL(peephole_cell_fwd)
    CHAINER_LSTM_KERNEL(peephole_out_fwd)
    CHAINER_LSTM_KERNEL(peephole_out_bwd)
    CHAINER_LSTM_KERNEL(peephole_cell_bwd)
    CHAINER_LSTM_KERNEL(exponentials)
    return nullptr;
}

}  // namespace SIMD
