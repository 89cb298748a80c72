// Vectors of T in the vector extensions of GCC and Clang, and the functions of them that cells use.
#ifndef CHAINER_LSTM_SIMD_HPP
#define CHAINER_LSTM_SIMD_HPP

#include "common.hpp"

#ifndef SIMD
    #define SIMD baseline
    #define VECTOR_BYTES 16
#endif

#define UNROLL _Pragma("GCC unroll 16")

namespace SIMD {

// at least four lanes: sum_of_four and the shuffles of four gates need them
constexpr int vector_bytes(int size) { return VECTOR_BYTES < 4 * size ? 4 * size : VECTOR_BYTES; }

template <typename T>
struct Native;

template <>
struct Native<float> {
    typedef float reals __attribute__((vector_size(vector_bytes(4))));
    typedef float unaligned __attribute__((vector_size(vector_bytes(4)), aligned(4), may_alias));
    typedef std::int32_t integers __attribute__((vector_size(vector_bytes(4))));
};

template <>
struct Native<double> {
    typedef double reals __attribute__((vector_size(vector_bytes(8))));
    typedef double unaligned __attribute__((vector_size(vector_bytes(8)), aligned(8), may_alias));
    typedef std::int64_t integers __attribute__((vector_size(vector_bytes(8))));
};

template <typename T>
struct Vec {
    static constexpr int lanes = vector_bytes(sizeof(T)) / sizeof(T);
    typedef typename Native<T>::reals native;
    typedef typename Native<T>::unaligned unaligned;
    typedef typename Native<T>::integers integers;

    native v;

    Vec() = default;
    Vec(native x) : v(x) {}
    Vec(T x) : v(x - native{}) {}

    static Vec load(const T* p) { return Vec(native(*reinterpret_cast<const unaligned*>(p))); }
    void store(T* p) const { *reinterpret_cast<unaligned*>(p) = v; }

    friend INLINE Vec operator+(Vec a, Vec b) { return Vec(a.v + b.v); }
    friend INLINE Vec operator-(Vec a, Vec b) { return Vec(a.v - b.v); }
    friend INLINE Vec operator*(Vec a, Vec b) { return Vec(a.v * b.v); }
    friend INLINE Vec operator/(Vec a, Vec b) { return Vec(a.v / b.v); }
    Vec& operator+=(Vec x) {
        v += x.v;
        return *this;
    }
};

template <typename F, int... K>
INLINE void repeat(std::integer_sequence<int, K...>, const F& f) {
    (f(std::integral_constant<int, K>{}), ...);
}

// calls f(k) for k in [0, N)
template <int N, typename F>
INLINE void repeat(const F& f) {
    repeat(std::make_integer_sequence<int, N>{}, f);
}

template <typename T>
constexpr isize lanes = Vec<T>::lanes;

// loads the first n lanes; the others are `rest`
template <typename T>
INLINE Vec<T> load(const T* p, isize n, T rest = 0) {
    if (n == lanes<T>) return Vec<T>::load(p);
    T part[lanes<T>];
    Vec<T>(rest).store(part);
    std::memcpy(part, p, n * sizeof(T));
    return Vec<T>::load(part);
}

// loads a whole vector, of which the last n lanes stay and the others become 0
template <typename T>
INLINE Vec<T> load_last(const T* p, isize n) {
    typedef typename Vec<T>::integers integers;
    integers lane;
    for (int k = 0; k < lanes<T>; k++) lane[k] = k;
    const integers there = lane >= integers{} + decltype(+lane[0])(lanes<T> - n);
    return Vec<T>((typename Vec<T>::native)((integers)Vec<T>::load(p).v & there));
}

// q(r) = (exp(r) - 1 - r) / r^2 by its power series, from the last term on
template <typename T, int K = 2>
INLINE Vec<T> exp_rest(Vec<T> r) {
    if constexpr (K == Real<T>::terms)
        return T(1) / factorial(K);
    else
        return exp_rest<T, K + 1>(r) * r + T(1) / factorial(K);
}

// exp(x) = power + power * more, a power of two that must be in range; a few units in the last
// place, NaN stays NaN
template <typename T>
struct Exponential {
    Vec<T> power, more;

    INLINE explicit Exponential(Vec<T> x) {
        typedef typename Vec<T>::integers integers;
        const Vec<T> shifted = x * Real<T>::log2_e + Vec<T>(Real<T>::round),
                     n = shifted - Real<T>::round;
        const Vec<T> r = (x - n * Real<T>::ln2_high) - n * Real<T>::ln2_low;
        power = Vec<T>((typename Vec<T>::native)(((integers)shifted.v + Real<T>::exponent_bias)
                                                 << Real<T>::mantissa));
        more = exp_rest<T>(r) * r * r + r;
    }
};

// for x <= 0
template <typename T>
INLINE Vec<T> exp_of_negative(Vec<T> x) {
    const Exponential<T> e(x);
    const Vec<T> zero(T(0)), y = e.power * e.more + e.power;
    return Vec<T>(x.v < Vec<T>(Real<T>::exp_is_zero).v ? zero.v : y.v);
}

template <typename T>
INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
    return Vec<T>(a.v > b.v ? a.v : b.v);
}

INLINE float sqrt(float x) { return __builtin_sqrtf(x); }
INLINE double sqrt(double x) { return __builtin_sqrt(x); }

// compilers make one instruction of the loop if they need not set errno
template <typename T>
INLINE Vec<T> sqrt(Vec<T> x) {
    for (int k = 0; k < lanes<T>; k++) x.v[k] = sqrt(x.v[k]);
    return x;
}

template <typename T>
INLINE Vec<T> bounded(Vec<T> x, Vec<T> low, Vec<T> high) {
    const Vec<T> above(x.v < low.v ? low.v : x.v);
    return Vec<T>(above.v > high.v ? high.v : above.v);
}

template <typename T>
INLINE Vec<T> unless_above(Vec<T> x, Vec<T> limit, Vec<T> y) {
    return Vec<T>(x.v > limit.v ? Vec<T>(T(0)).v : y.v);
}

// e = exp(2 |x|) - 1 without cancellation, tanh |x| = e / (e + 2)
template <typename T>
INLINE Vec<T> tanh(Vec<T> x) {
    typedef typename Vec<T>::integers integers;
    typedef typename Vec<T>::native native;
    const integers sign = (integers)x.v & (integers)Vec<T>(T(-0.0)).v;
    const native size = (native)((integers)x.v ^ sign);
    const Vec<T> limit(Real<T>::tanh_is_one);
    const Exponential<T> twice(Vec<T>(size > limit.v ? limit.v : size) * T(2));
    const Vec<T> e = twice.power * twice.more + (twice.power - T(1));
    return Vec<T>((native)((integers)(e / (e + T(2))).v ^ sign));
}

// 1 / (exp(-x) + 1): fewer operations than by tanh, which cell.cuh has for other numbers
template <typename T>
INLINE Vec<T> sigmoid(Vec<T> x) {
    const Vec<T> low(Real<T>::exp_is_zero), high(-Real<T>::exp_is_zero), zero(T(0));
    const Vec<T> limited(x.v > high.v ? high.v : x.v);
    const Exponential<T> e(zero - limited);
    const Vec<T> y = T(1) / (e.power * e.more + (e.power + T(1)));
    return Vec<T>(x.v < low.v ? zero.v : y.v);
}

// elements K... of the 2 * lanes elements of a and b
template <typename T, int... K>
INLINE Vec<T> pick(Vec<T> a, Vec<T> b, std::integer_sequence<int, K...>) {
#if CHAINER_LSTM_HAS_SHUFFLEVECTOR
    return Vec<T>(__builtin_shufflevector(a.v, b.v, K...));
#else
    return Vec<T>(__builtin_shuffle(a.v, b.v, typename Vec<T>::integers{K...}));
#endif
}

template <typename T>
struct Order {
    template <int... K>
    static auto even(std::integer_sequence<int, K...>) -> std::integer_sequence<int, 2 * K...>;
    template <int... K>
    static auto odd(std::integer_sequence<int, K...>) -> std::integer_sequence<int, 2 * K + 1 ...>;
    template <int... K>
    static auto low(std::integer_sequence<int, K...>)
        -> std::integer_sequence<int, (K / 2 + K % 2 * Vec<T>::lanes)...>;
    template <int... K>
    static auto high(std::integer_sequence<int, K...>)
        -> std::integer_sequence<int, ((K + Vec<T>::lanes) / 2 + K % 2 * Vec<T>::lanes)...>;
    typedef std::make_integer_sequence<int, Vec<T>::lanes> all;
    // the even and the odd fours
    template <int... K>
    static auto even_fours(std::integer_sequence<int, K...>)
        -> std::integer_sequence<int, (K / 4 * 8 + K % 4)...>;
    template <int... K>
    static auto odd_fours(std::integer_sequence<int, K...>)
        -> std::integer_sequence<int, (K / 4 * 8 + K % 4 + 4)...>;
    typedef decltype(even_fours(all{})) EvenFours;
    typedef decltype(odd_fours(all{})) OddFours;
    typedef decltype(even(all{})) Even;
    typedef decltype(odd(all{})) Odd;
    typedef decltype(low(all{})) Low;    // the first halves of a and b, zipped
    typedef decltype(high(all{})) High;  // the second halves
};

// the columns of as many rows as a vector has lanes, in place: row i and row i + lanes / 2 zipped,
// until all are
template <typename T>
INLINE void transpose(Vec<T> (&rows)[Vec<T>::lanes]) {
    constexpr int half = Vec<T>::lanes / 2;
    for (int done = 1; done < Vec<T>::lanes; done *= 2) {
        Vec<T> zipped[Vec<T>::lanes];
        UNROLL
        for (int k = 0; k < half; k++) {
            zipped[2 * k] = pick(rows[k], rows[k + half], typename Order<T>::Low{});
            zipped[2 * k + 1] = pick(rows[k], rows[k + half], typename Order<T>::High{});
        }
        UNROLL
        for (int k = 0; k < Vec<T>::lanes; k++) rows[k] = zipped[k];
    }
}

// element k + 4 j is part j of the sum of vector k
template <typename T>
INLINE Vec<T> sum_of_four(const Vec<T> (&x)[4]) {
    typedef typename Order<T>::Low Low;
    typedef typename Order<T>::High High;
    const Vec<T> x02 = pick(x[0], x[2], Low{}) + pick(x[0], x[2], High{});
    const Vec<T> x13 = pick(x[1], x[3], Low{}) + pick(x[1], x[3], High{});
    return pick(x02, x13, Low{}) + pick(x02, x13, High{});
}

// Adds up the fours of each vector, and puts the sums of `parts` vectors into one.
template <int parts, typename T, int R>
INLINE void sum_parts(Vec<T> (&x)[R]) {
    if constexpr (parts > 1) {
        UNROLL
        for (int k = 0; k < (R + 1) / 2; k++) {
            const Vec<T> a = x[2 * k], b = x[std::min(2 * k + 1, R - 1)];
            x[k] = pick(a, b, typename Order<T>::EvenFours{}) +
                   pick(a, b, typename Order<T>::OddFours{});
        }
        sum_parts<parts / 2>(reinterpret_cast<Vec<T>(&)[(R + 1) / 2]>(x));
    }
}

// In memory the gates of a unit are contiguous: G vectors hold the gates of as many units as a
// vector has lanes. These functions separate them into a vector for each gate, and join them again.

template <typename T>
INLINE void separate_gates(const Vec<T> (&v)[4], Vec<T> (&g)[4]) {
    typedef typename Order<T>::Even Even;
    typedef typename Order<T>::Odd Odd;
    const Vec<T> g02_low = pick(v[0], v[1], Even{}), g02_high = pick(v[2], v[3], Even{});
    const Vec<T> g13_low = pick(v[0], v[1], Odd{}), g13_high = pick(v[2], v[3], Odd{});
    g[0] = pick(g02_low, g02_high, Even{});
    g[1] = pick(g13_low, g13_high, Even{});
    g[2] = pick(g02_low, g02_high, Odd{});
    g[3] = pick(g13_low, g13_high, Odd{});
}

template <typename T>
INLINE void join_gates(const Vec<T> (&g)[4], Vec<T> (&v)[4]) {
    typedef typename Order<T>::Low Low;
    typedef typename Order<T>::High High;
    const Vec<T> g02_low = pick(g[0], g[2], Low{}), g02_high = pick(g[0], g[2], High{});
    const Vec<T> g13_low = pick(g[1], g[3], Low{}), g13_high = pick(g[1], g[3], High{});
    v[0] = pick(g02_low, g13_low, Low{});
    v[1] = pick(g02_low, g13_low, High{});
    v[2] = pick(g02_high, g13_high, Low{});
    v[3] = pick(g02_high, g13_high, High{});
}

// cells with another number of gates: number by number
template <typename T, int G>
INLINE void separate_gates(const Vec<T> (&v)[G], Vec<T> (&g)[G]) {
    for (int k = 0; k < G * lanes<T>; k++) g[k % G].v[k / G] = v[k / lanes<T>].v[k % lanes<T>];
}

template <typename T, int G>
INLINE void join_gates(const Vec<T> (&g)[G], Vec<T> (&v)[G]) {
    for (int k = 0; k < G * lanes<T>; k++) v[k / lanes<T>].v[k % lanes<T>] = g[k % G].v[k / G];
}

}  // namespace SIMD

#endif
