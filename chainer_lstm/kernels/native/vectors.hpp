// Rows of numbers, a vector at a time.
#ifndef CHAINER_LSTM_VECTORS_HPP
#define CHAINER_LSTM_VECTORS_HPP

#include "simd.hpp"

namespace SIMD {

// Calls f(u, n) for the numbers [first, last), n from u on at a time: a vector, or fewer at the
// end.
template <typename T, typename F>
INLINE void each_vector(isize first, isize last, const F& f) {
    isize u = first;
    for (; u + lanes<T> <= last; u += lanes<T>) f(u, lanes<T>);
    if (u < last) f(u, last - u);
}

template <typename T>
INLINE Vec<T> load_or_zero(const T* p /*or null*/, isize u, isize n) {
    return p ? load(p + u, n) : Vec<T>(T(0));
}

template <typename T>
INLINE void store(T* p, Vec<T> x, isize n) {
    if (n == lanes<T>) return x.store(p);
    T part[lanes<T>];
    x.store(part);
    std::memcpy(p, part, n * sizeof(T));
}

template <typename T>
T sum_of(Vec<T> x) {
    T sum = 0;
    for (int k = 0; k < lanes<T>; k++) sum += x.v[k];
    return sum;
}

// sets to [first, last) = x y, or += x y if `add`
template <typename T>
void multiply_row(isize first, isize last, const T* x, const T* y, T* to, bool add = false) {
    each_vector<T>(first, last, [&](isize u, isize n) __attribute__((always_inline)) {
        Vec<T> sum = load(x + u, n) * load(y + u, n);
        if (add) sum += load(to + u, n);
        store(to + u, sum, n);
    });
}

// loads the gates of n units from p on, a vector for each gate
template <typename T, int G>
INLINE void load_gates(const T* p, Vec<T> (&g)[G], isize n) {
    T part[G * lanes<T>] = {};
    if (n < lanes<T>) p = static_cast<T*>(std::memcpy(part, p, G * n * sizeof(T)));
    Vec<T> v[G];
    UNROLL
    for (int k = 0; k < G; k++) v[k] = Vec<T>::load(p + k * lanes<T>);
    separate_gates(v, g);
}

template <typename T, int G>
INLINE void store_gates(T* p, const Vec<T> (&g)[G], isize n) {
    T part[G * lanes<T>], *const to = n < lanes<T> ? part : p;
    Vec<T> v[G];
    join_gates(g, v);
    UNROLL
    for (int k = 0; k < G; k++) v[k].store(to + k * lanes<T>);
    if (to == part) std::memcpy(p, part, G * n * sizeof(T));
}

// sets y (n,), or null, = exp(x - maximum), and `sum` to its sum
template <typename T>
void exponentials_row(isize n, const T* x, T* y /*or null*/, T& maximum, T& sum) {
    constexpr T lowest = -std::numeric_limits<T>::infinity();  // exp(lowest) = 0
    Vec<T> most(lowest), total(T(0));
    each_vector<T>(0, n, [&](isize k, isize width) __attribute__((always_inline)) {
        most = max(load(x + k, width, lowest), most);
    });
    maximum = most.v[0];
    for (int j = 1; j < lanes<T>; j++) maximum = std::max(maximum, most.v[j]);
    each_vector<T>(0, n, [&](isize k, isize width) __attribute__((always_inline)) {
        const Vec<T> e = exp_of_negative(load(x + k, width, lowest) - maximum);
        if (y) store(y + k, e, width);
        total += e;
    });
    sum = sum_of(total);
}

}  // namespace SIMD

#endif
