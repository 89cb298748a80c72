// The types that all instruction sets share. No function is defined here: the linker keeps one copy
// of an inline function, and that may be the copy of a file that is compiled for AVX-512.
//
// The other headers are compiled once for each instruction set, in the namespace SIMD with vectors
// of VECTOR_BYTES. avx2.cpp and avx512.cpp include this header, then switch the compiler to their
// instructions, define the two macros and include kernels.hpp. baseline.cpp defines neither.
#ifndef CHAINER_LSTM_COMMON_HPP
#define CHAINER_LSTM_COMMON_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

#include "thread_pool.hpp"

// for cells/*.cuh: their functions have to be inlined into the loops over vectors
#define __device__ __attribute__((always_inline))
#define INLINE __attribute__((always_inline)) inline

#ifdef __has_builtin
    #if __has_builtin(__builtin_shufflevector)
        #define CHAINER_LSTM_HAS_SHUFFLEVECTOR 1
    #endif
#endif

typedef std::ptrdiff_t isize;
typedef std::int64_t index64;

// a function of the address of its arguments, see arguments.hpp; returns 0, or 1 without memory
typedef int Kernel(const void*);

template <typename T>
struct Real;

template <>
struct Real<float> {
    typedef std::int32_t bits;
    // terms of the power series: the next one would be below half a unit
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
