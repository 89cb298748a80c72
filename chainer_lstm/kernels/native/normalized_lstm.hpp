// An LSTM whose products and cell are normalized, over all time steps.
//
// A row is normalized over all its units, so a step has two barriers:
//
//   product = h Uᵀ, each thread some columns;  barrier  the normalization reads all columns
//   normalize and activate, each thread some rows;  barrier  the next product reads all rows of h
#ifndef CHAINER_LSTM_NORMALIZED_LSTM_HPP
#define CHAINER_LSTM_NORMALIZED_LSTM_HPP

#include "normalization.hpp"
#include "recurrence.hpp"

namespace SIMD {

// Computes one row of a step, `row` of the packed rows. The gates are the normalized x Wᵀ + b and
// become activated; the product of h becomes normalized.
template <typename T>
void forward_row(const NormalizedForward<T>& s, const T* c_prev, isize row) {
    constexpr int G = 4;
    const isize H = s.units;
    T *const gates = s.gates + row * G * H, *const product = s.product + row * G * H;
    T *const c = s.c + (s.first + row) * H, *const h = s.h + (s.first + row) * H;
    const double epsilon = s.numbers.of[Normalized::epsilon];
    const Moments<T> of_product(G * H, product, epsilon);
    s.scale[row] = of_product.scale;
    each_vector<T>(0, H, [&](isize u, isize n) __attribute__((always_inline)) {
        Vec<T> g[G], y[G], gain[G];
        load_gates(gates + G * u, g, n);
        load_gates(product + G * u, y, n);
        load_gates(s.gamma_h + G * u, gain, n);
        repeat<G>([&](auto k) __attribute__((always_inline)) {
            y[k] = (y[k] - of_product.mean) * of_product.scale;
            g[k] += y[k] * gain[k];
        });
        store_gates(product + G * u, y, n);
        g[0] = tanh(g[0]);
        for (int k = 1; k < G; k++) g[k] = sigmoid(g[k]);
        store_gates(gates + G * u, g, n);
        store(c + u, g[2] * load(c_prev + u, n) + g[1] * g[0], n);
    });
    const Moments<T> of_cell(H, c, epsilon);
    each_vector<T>(0, H, [&](isize u, isize n) __attribute__((always_inline)) {
        Vec<T> g[G];
        load_gates(gates + G * u, g, n);
        const Vec<T> y = (load(c + u, n) - of_cell.mean) * of_cell.scale;
        store(h + u, g[3] * tanh(y * load(s.gamma_c + u, n) + load(s.beta_c + u, n)), n);
    });
}

// Differentiates one row of a step: row r of the batch, `row` of the packed rows. The gates become
// the gradients before activation; the gradients of the last c and h become those before the step,
// except for the part of h through its product, whose gradient is set in `gradient`.
template <typename T>
void backward_row(const NormalizedBackward<T>& s, const T* c_prev, isize r, isize row) {
    constexpr int G = 4;
    const isize H = s.units;
    const T *const c = s.c + (s.first + row) * H, *const gh = s.gh_last + r * H;
    const T* const gh_output = s.gh.data ? s.gh.data + row * s.gh.row : nullptr;
    const T* const gc_output = s.gc.data ? s.gc.data + row * s.gc.row : nullptr;
    T *const gates = s.gates + row * G * H, *const gc = s.gc_last + r * H;
    T *const of_gamma = s.of_gamma + row * H, *const of_beta = s.of_beta + row * H;
    const Moments<T> of_cell(H, c, s.numbers.of[Normalized::epsilon]);
    Through<T> cell;
    each_vector<T>(0, H, [&](isize u, isize n) __attribute__((always_inline)) {
        Vec<T> g[G];
        load_gates(gates + G * u, g, n);
        const Vec<T> gain = load(s.gamma_c + u, n), o = g[3],
                     y = (load(c + u, n, of_cell.mean) - of_cell.mean) * of_cell.scale,
                     t = tanh(y * gain + load(s.beta_c + u, n)),
                     gh_all = load(gh + u, n) + load_or_zero(gh_output, u, n),
                     gz = gh_all * o * (T(1) - t * t), gy = gz * gain;
        g[3] = gh_all * t * (o - o * o);
        store_gates(gates + G * u, g, n);
        store(of_gamma + u, gy, n);  // for the next loop: rounded, as in through_row
        store(of_beta + u, gz, n);
        cell.add(gy, y);
    });
    cell.finish(H, of_cell.scale);
    each_vector<T>(0, H, [&](isize u, isize n) __attribute__((always_inline)) {
        Vec<T> g[G];
        load_gates(gates + G * u, g, n);
        const Vec<T> y = (load(c + u, n, of_cell.mean) - of_cell.mean) * of_cell.scale,
                     gs = load(gc + u, n) + load_or_zero(gc_output, u, n) +
                          cell(load(of_gamma + u, n), y),
                     a = g[0], i = g[1], f = g[2];
        store(of_gamma + u, load(of_beta + u, n) * y, n);
        g[0] = gs * i * (T(1) - a * a);
        g[1] = gs * a * (i - i * i);
        g[2] = gs * load(c_prev + u, n) * (f - f * f);
        store(gc + u, gs * f, n);
        store_gates(gates + G * u, g, n);
    });
    through_row(G * H, gates, s.gamma_h, s.product + row * G * H, s.scale[row],
                s.gradient + row * G * H);
}

// The rows of a step that a thread computes.
template <typename T>
struct RowsOfStep {
    isize top, end;

    RowsOfStep(const Part<T, LstmCell>& part, const Worker& w, isize n)
        : top(part.by_rows ? part.top(n) : w.begin(n)),
          end(part.by_rows ? part.end(n) : w.end(n)) {}
};

template <typename T>
void compute(const NormalizedForward<T>& s) {
    constexpr int G = 4;
    const isize H = s.units;
    Arena<T> arena(G * H * round_up(H, lanes<T>));
    T* const memory = arena.allocate(0);
    const auto job = [&](Worker& worker) {
        const Part<T, LstmCell> part(s, lanes<T>, worker);
        const Share& mine = part.units;
        const Packed<T> U = part.pack(worker, {s.U, 1, H}, H, G * mine.first, G * mine.last,
                                      memory + G * mine.first * H);
        part.meet_if_by_rows(worker);
        for (isize k = 0; k < s.steps; k++) {
            T* const product = s.product + s.start[k] * G * H;
            const auto multiply = [&](isize r, isize rows, isize at) {
                U.multiply(rows, {s.h + at * H, H, 1}, product + r * G * H, G * H, false, k % 2);
            };
            each_run_before(s, k, part.top(s.n[k]), part.end(s.n[k]), multiply);
            part.meet_if_by_units(worker);
            const RowsOfStep<T> rows(part, worker, s.n[k]);
            for (isize r = rows.top; r < rows.end; r++)
                forward_row(s, s.c + row_before(s, k, r) * H, s.start[k] + r);
            part.meet_if_by_units(worker);
        }
    };
    ThreadPool::run(work_of_a_step<LstmCell>(s, H), job, s.steps);
}

template <typename T>
void compute(const NormalizedBackward<T>& s) {
    constexpr int G = 4;
    const isize H = s.units;
    Arena<T> arena(G * H * round_up(H, lanes<T>));
    T* const memory = arena.allocate(0);
    const auto job = [&](Worker& worker) {
        const Part<T, LstmCell> part(s, lanes<T>, worker);
        const Share& mine = part.units;
        const Packed<T> U = part.pack(worker, {s.U, H, 1}, G * H, mine.first, mine.last,
                                      memory + G * H * mine.first);
        part.meet_if_by_rows(worker);
        for (isize k = s.steps; k-- > 0;) {
            const RowsOfStep<T> rows(part, worker, s.n[k]);
            for (isize r = rows.top; r < rows.end; r++)
                backward_row(s, s.c + row_before(s, k, r) * H, r, s.start[k] + r);
            part.meet_if_by_units(worker);
            const isize top = part.top(s.n[k]), end = part.end(s.n[k]);
            U.multiply(end - top, {s.gradient + (s.start[k] + top) * G * H, G * H, 1},
                       s.gh_last + top * H, H, false, k % 2);
            part.meet_if_by_units(worker);
        }
    };
    ThreadPool::run(work_of_a_step<LstmCell>(s, H), job, s.steps);
}

}  // namespace SIMD

#endif
