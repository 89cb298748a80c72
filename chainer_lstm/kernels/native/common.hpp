// What all instruction sets share: no code that runs, so that none of it is compiled for one of
// them alone.
#ifndef CHAINER_LSTM_COMMON_HPP
#define CHAINER_LSTM_COMMON_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include <sys/mman.h>

#include "arguments.hpp"
#include "team.hpp"

#define __device__ __attribute__((always_inline))
#define INLINE __attribute__((always_inline)) inline

#ifdef __has_builtin
    #if __has_builtin(__builtin_shufflevector)
        #define CHAINER_LSTM_HAS_SHUFFLEVECTOR 1
    #endif
#endif

// takes the address of its arguments
typedef int Kernel(const void*);

template <typename T>
struct Real;

template <>
struct Real<float> {
    typedef std::int32_t bits;
    // of the power series: the next is below half a unit
    static constexpr int mantissa = 23, terms = 7;
    static constexpr bits exponent_bias = 127 - 0x4B400000;  // less the bits of `round`
    static constexpr float round = 0x1.8p23f;  // adding it leaves no room for fractions
    static constexpr float tanh_is_one = 10, exp_is_zero = -87;
    static constexpr float log2_e = 0x1.715476p0f, ln2_high = 0x1.62ep-1f,
                           ln2_low = 0x1.0bfbe8p-15f;
};

template <>
struct Real<double> {
    typedef std::int64_t bits;
    static constexpr int mantissa = 52, terms = 13;
    static constexpr bits exponent_bias = 1023 - 0x4338000000000000;
    static constexpr double round = 0x1.8p52, tanh_is_one = 20, exp_is_zero = -708;
    static constexpr double log2_e = 0x1.71547652b82fep0, ln2_high = 0x1.62e42feep-1,
                            ln2_low = 0x1.a39ef35793c76p-33;
};

constexpr double factorial(int n) { return n < 2 ? 1 : n * factorial(n - 1); }

#endif
