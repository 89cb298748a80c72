// CUDA for kernels on the threads of fibres.hpp: the functions of persistent_device.cuh and what is
// built in.
#include "fibres.hpp"

#define __device__
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)

struct uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

extern "C" {  // without <cmath>, which takes long to compile
double tanh(double);
double exp(double);
double log(double);
double sqrt(double);
}

static inline float tanh(float x) { return __builtin_tanhf(x); }

static inline float exp(float x) { return __builtin_expf(x); }

static inline float log(float x) { return __builtin_logf(x); }

static inline float sqrt(float x) { return __builtin_sqrtf(x); }

static inline int min(int x, int y) { return x < y ? x : y; }

static inline int max(int x, int y) { return x > y ? x : y; }

static inline word max(word x, word y) { return x > y ? x : y; }

#define threadIdx (Dim3{world.current % world.threads, 0, 0})
#define blockIdx (block().index)
#define shared_memory (reinterpret_cast<uint4*>(block().shared))
#define block_sums (reinterpret_cast<double*>(block().shared))

static int opaque(int x) { return x; }

static bool any_of_warp(bool x) {
    warp().words[lane_index()][0] = x;
    together(1, [](Warp& w) {
        w.result = 0;
        for (auto& words : w.words) w.result |= words[0];
    });
    return warp().result;
}

static float from_lane_xor(float x, int mask) {
    warp().in[lane_index()][0] = x;
    together(2, [mask](Warp& w) {
        for (int lane = 0; lane < WARP; lane++) w.out[lane][0] = w.in[lane ^ mask][0];
    });
    return warp().out[lane_index()][0];
}

template <typename T>
static T __shfl_xor_sync(unsigned, T x, int mask) {
    memcpy(warp().words[lane_index()], &x, sizeof x);
    together(5, [mask](Warp& w) {
        for (int lane = 0; lane < WARP; lane++)
            memcpy(w.out[lane], w.words[lane ^ mask], sizeof(T));
    });
    memcpy(&x, warp().out[lane_index()], sizeof x);
    return x;
}

static unsigned __ballot_sync(unsigned, bool x) {
    warp().words[lane_index()][0] = x;
    together(6, [](Warp& w) {
        w.result = 0;
        for (int lane = 0; lane < WARP; lane++) w.result |= w.words[lane][0] << lane;
    });
    return warp().result;
}

static int __ffs(unsigned x) { return __builtin_ffs(x); }

static float as_float(word bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static word as_word(float x) {
    word bits;
    memcpy(&bits, &x, 4);
    return bits;
}

// c (16, 8) += a (16, K) b (K, 8) from the words that the lanes hold, as the PTX manual lays them
// out: group = lane / 4 is a row of a and a column of b, and each word holds 8 / K … PER
// neighbouring k of it.
template <int PER, typename Value>
static void multiply(Warp& w, Value value) {
    enum { K = 8 * PER };
    float a[16][K], b[K][8];
    for (int lane = 0; lane < WARP; lane++)
        for (int e = 0; e < PER; e++) {
            const int group = lane / 4, k = PER * (lane % 4) + e;
            const unsigned* words = w.words[lane];
            a[group][k] = value(words[0], e);
            a[group + 8][k] = value(words[1], e);
            a[group][k + K / 2] = value(words[2], e);
            a[group + 8][k + K / 2] = value(words[3], e);
            b[k][group] = value(words[4], e);
            b[k + K / 2][group] = value(words[5], e);
        }
    for (int lane = 0; lane < WARP; lane++)
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = w.in[lane][i];
            for (int k = 0; k < K; k++) sum += a[row][k] * b[k][column];
            w.out[lane][i] = sum;
        }
}

template <int PER, typename Value>
static void mma(float (&c)[4], const word (&a)[4], word b0, word b1, Value value) {
    const int lane = lane_index();
    memcpy(warp().words[lane], a, sizeof a);
    memcpy(warp().in[lane], c, sizeof c);
    warp().words[lane][4] = b0;
    warp().words[lane][5] = b1;
    together(2 + PER, [value](Warp& w) { multiply<PER>(w, value); });
    memcpy(c, warp().out[lane], sizeof c);
}

static void mma_tf32(float (&c)[4], const word (&a)[4], word b0, word b1) {
    // hardware looks at no more
    mma<1>(c, a, b0, b1, [](word v, int) { return as_float(v & 0xffffe000u); });
}

static void mma_bf16(float (&c)[4], const word (&a)[4], word b0, word b1) {
    mma<2>(c, a, b0, b1, [](word v, int e) { return as_float(v >> 16 * e << 16); });
}

static word to_tf32(float x) { return x != x ? NOT_WRITTEN : (as_word(x) + 0x1000u) & 0xffffe000u; }

static word to_bf16(float x) {
    const word bits = as_word(x);
    return x != x ? 0xffffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

static word to_bf16_pair(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }

static uint4 load_relaxed(const uint4* p) { return *p; }

static uint2 load_relaxed(const uint2* p) { return *p; }

template <typename Words>
static void reload_relaxed(Words& v, const Words* p, bool wanted) {
    if (wanted) v = *p;
}

static tagged load_relaxed(const tagged* p) {
    pause();  // it is looked at again and again
    return *p;
}

static void store_relaxed(word* p, word v) { publish_later(p, v, 4); }

static void store_relaxed(tagged* p, tagged v) { publish_later(p, v, 8); }

static void store_relaxed(uint2* p, uint2 v) {
    store_relaxed(&p->x, v.x);
    store_relaxed(&p->y, v.y);
}

static void store_relaxed(uint4* p, uint4 v) {
    store_relaxed(&p->x, v.x);
    store_relaxed(&p->y, v.y);
    store_relaxed(&p->z, v.z);
    store_relaxed(&p->w, v.w);
}

static bool is_raised(const int* error) { return *(volatile const int*)error; }

static void raise(int* error) { *error = 1; }

template <typename T>
static void prefetch(T* shared, const T* global) {
    if (draw(2))
        *shared = *global;
    else if (fibre().n_copies == COPIES)
        give_up(TOO_MANY);
    else
        fibre().copies[fibre().n_copies++] = {shared, global, sizeof(T)};
}

static void wait_for_prefetches() {
    Fibre& f = fibre();
    for (; f.n_copies; f.n_copies--)
        memcpy(f.copies[f.n_copies - 1].to, f.copies[f.n_copies - 1].from,
               f.copies[f.n_copies - 1].bytes);
}
