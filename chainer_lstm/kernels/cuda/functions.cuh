// The common types of the kernels of functions.
//
// Given at compilation: STORED, the type of the arrays (half_bits, float or double), REAL, the type
// that is computed in (float for half_bits), and INDEX, the type of classes (int or index_t).
#ifndef CHAINER_LSTM_FUNCTIONS_CUH
#define CHAINER_LSTM_FUNCTIONS_CUH
#include "half.cuh"

#ifdef __CUDACC__
extern __shared__ uint4 shared_memory[];
#endif

typedef long long index_t;
typedef unsigned long long word64;

enum { LANES = 32 };  // of a warp

// A number in 8 bytes, of which a float takes the first four.
struct alignas(8) Number {
    REAL value;
};

#endif
