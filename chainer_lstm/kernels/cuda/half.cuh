// float16 in memory, converted without the toolkit's headers, which may not be installed.
#ifndef CHAINER_LSTM_HALF_CUH
#define CHAINER_LSTM_HALF_CUH

struct half_bits {
    unsigned short bits;

    half_bits() = default;

#ifdef __CUDACC__
    __device__ explicit half_bits(float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }

    __device__ explicit operator float() const {
        float x;
        asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
        return x;
    }
#else  // on the CPU, for the tests
    explicit half_bits(float x) : bits(__builtin_ia32_vcvtps2ph(four{x, 0, 0, 0}, 0)[0]) {}

    explicit operator float() const {
        return __builtin_ia32_vcvtph2ps(eight{(short)bits, 0, 0, 0, 0, 0, 0, 0})[0];
    }

private:
    typedef float four __attribute__((vector_size(16)));
    typedef short eight __attribute__((vector_size(16)));
#endif
};

#endif
