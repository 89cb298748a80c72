// Updates of parameters by their gradients, and the norm of gradients: one pass over memory each.
#ifndef CHAINER_LSTM_UPDATES_HPP
#define CHAINER_LSTM_UPDATES_HPP

#include "arguments.hpp"
#include "recurrence.hpp"
#include "vectors.hpp"

namespace SIMD {

// floating point operations that one number is counted as, to choose the number of threads: loading
// it takes longer than computing with it
constexpr double work_of_an_update = 20;

// calls f(k, n) for all numbers of an array, in threads
template <typename T, typename F>
void each_number(isize size, const F& f) {
    ThreadPool::run(work_of_an_update * size, [&](Worker& worker) {
        const Share mine(size, lanes<T>, worker);
        each_vector<T>(mine.first, mine.last, f);
    });
}

// Scales n gradients from g on in place, as Chainer does, and returns them.
template <typename T>
INLINE Vec<T> scaled(T* g, isize n, T scale) {
    Vec<T> x = load(g, n);
    if (scale != 1) store(g, x = x * scale, n);
    return x;
}

// The order of the sums does not depend on the number of threads.
template <typename T>
void compute(const SumsOfSquares<T>& k) {
    ThreadPool::run(work_of_an_update * k.size, [&](Worker& worker) {
        for (isize p = worker.begin(k.parts); p < worker.end(k.parts); p++) {
            Vec<T> sum(T(0));
            each_vector<T>(k.size * p / k.parts, k.size * (p + 1) / k.parts,
                           [&](isize u, isize n) __attribute__((always_inline)) {
                               const Vec<T> x = load(k.x + u, n);
                               sum += x * x;
                           });
            k.sums[p] = sum_of(sum);
        }
    });
}

template <typename T>
void compute(const Sgd<T>& k) {
    const T scale = k.numbers.of[0], rate = k.numbers.of[1], momentum = k.numbers.of[2];
    each_number<T>(k.size, [&](isize u, isize n) __attribute__((always_inline)) {
        Vec<T> step = scaled(k.g + u, n, scale) * rate;
        if (k.v) {
            step = step - load(k.v + u, n) * momentum;
            store(k.v + u, Vec<T>(T(0)) - step, n);
        }
        store(k.x + u, load(k.x + u, n) - step, n);
    });
}

template <typename T>
void compute(const Adam<T>& k) {
    const double* const of = k.numbers.of;
    const T scale = of[0], of_m = of[1], of_v = of[2], epsilon = of[3], rate = of[4], low = of[5],
            high = of[6], keep = of[7], eta = of[8];
    each_number<T>(k.size, [&](isize u, isize n) __attribute__((always_inline)) {
        const Vec<T> g = scaled(k.g + u, n, scale), m0 = load(k.m + u, n), v0 = load(k.v + u, n);
        const Vec<T> m = (g - m0) * of_m + m0, v = (g * g - v0) * of_v + v0;
        store(k.m + u, m, n);
        store(k.v + u, v, n);
        Vec<T> most = v;
        if (k.most) store(k.most + u, most = max(load(k.most + u, n), v), n);
        const Vec<T> step = bounded<T>(rate / (sqrt(most) + epsilon), low, high);
        store(k.x + u, load(k.x + u, n) * keep - step * m * eta, n);
    });
}

}  // namespace SIMD

#endif
