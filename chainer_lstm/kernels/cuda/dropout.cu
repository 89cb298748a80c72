// Dropout by a counter-based generator (Philox4x32-10, Salmon et al. 2011): a number depends only
// on a key and its index, so that backward computes the mask again instead of reading it.
#include "functions.cuh"

// Members in the order of kernels/boundary.py.
struct Dropout {
    index_t size;
    word64 key;
    const double* key_at;  // the address from which the key is read instead, or null
    index_t threshold;     // random words below it, of 2^32, drop a number
    Number scale;
    const STORED* x;
    STORED* y;
};

constexpr int WORDS = 4;  // of each counter
constexpr int ROUNDS = 10;

__device__ inline void philox(word64 counter, word64 key, unsigned (&words)[WORDS]) {
    unsigned c[WORDS] = {unsigned(counter), unsigned(counter >> 32), 0, 0};
    unsigned k0 = unsigned(key), k1 = unsigned(key >> 32);
#pragma unroll
    for (int round = 0; round < ROUNDS; round++) {
        const word64 a = word64(0xD2511F53u) * c[0], b = word64(0xCD9E8D57u) * c[2];
        c[0] = unsigned(b >> 32) ^ c[1] ^ k0;
        c[1] = unsigned(b);
        c[2] = unsigned(a >> 32) ^ c[3] ^ k1;
        c[3] = unsigned(a);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
#pragma unroll
    for (int i = 0; i < WORDS; i++) words[i] = c[i];
}

// A thread computes a number of each quarter of the array, so that a warp reads neighbouring ones.
extern "C" __global__ void dropout(const Dropout a) {
    const word64 key = a.key_at ? word64(*a.key_at) : a.key;
    const index_t quarter = (a.size + WORDS - 1) / WORDS;
    for (index_t k = blockIdx.x * (index_t)blockDim.x + threadIdx.x; k < quarter;
         k += gridDim.x * (index_t)blockDim.x) {
        REAL numbers[WORDS];
#pragma unroll
        for (int i = 0; i < WORDS; i++) {
            const index_t at = k + i * quarter;
            numbers[i] = REAL(a.x[at < a.size ? at : a.size - 1]);  // without a branch
        }
        unsigned words[WORDS];
        philox(k, key, words);
#pragma unroll
        for (int i = 0; i < WORDS; i++) {
            const index_t at = k + i * quarter;
            const bool kept = index_t(words[i]) >= a.threshold;
            if (at < a.size) a.y[at] = STORED(kept ? numbers[i] * a.scale.value : REAL(0));
        }
    }
}
