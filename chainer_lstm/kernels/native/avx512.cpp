#if defined(__x86_64__)
    #include "common.hpp"

    #if defined(__clang__)
        #pragma clang attribute push(                                               \
            __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), \
            apply_to = function)
    #else
        #pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
    #endif

    #define SIMD avx512
    #define VECTOR_BYTES 64
    #include "kernels.hpp"

    #if defined(__clang__)
        #pragma clang attribute pop
    #endif
#endif
