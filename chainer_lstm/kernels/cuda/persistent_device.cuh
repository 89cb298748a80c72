// The hardware functions of the persistent kernels.  Every decision about memory order is in this
// file. On the CPU the tests define the same functions, in fibres.hpp.
#ifndef CHAINER_LSTM_PERSISTENT_DEVICE_CUH
#define CHAINER_LSTM_PERSISTENT_DEVICE_CUH
#ifdef __CUDACC__

typedef unsigned int word;
typedef unsigned long long tagged;  // a number with its time step above it; 64 bits arrive together

extern __shared__ uint4 shared_memory[];

__device__ inline float as_float(word bits) { return __uint_as_float(bits); }

__device__ inline word as_word(float x) { return __float_as_uint(x); }

// Relaxed at device scope: from and to L2, never a stale line of L1.  Nothing is ordered by them
// and nothing has to be: each word (of a vector too) is its own flag.
__device__ inline uint4 load_relaxed(const uint4* p) {
    uint4 v;
    asm volatile("ld.relaxed.gpu.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

__device__ inline uint2 load_relaxed(const uint2* p) {
    uint2 v;
    asm volatile("ld.relaxed.gpu.global.v2.b32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
}

__device__ inline tagged load_relaxed(const tagged* p) {
    tagged v;
    asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];" : "=l"(v) : "l"(p));
    return v;
}

// v = load_relaxed(p) if wanted.  As one instruction without a branch, or v would need registers
// twice.
__device__ inline void reload_relaxed(uint4& v, const uint4* p, bool wanted) {
    asm volatile(
        "{ .reg .pred wanted; setp.ne.b32 wanted, %5, 0;\n"
        "@wanted ld.relaxed.gpu.global.v4.b32 {%0, %1, %2, %3}, [%4]; }"
        : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w)
        : "l"(p), "r"((int)wanted));
}

__device__ inline void reload_relaxed(uint2& v, const uint2* p, bool wanted) {
    asm volatile(
        "{ .reg .pred wanted; setp.ne.b32 wanted, %3, 0;\n"
        "@wanted ld.relaxed.gpu.global.v2.b32 {%0, %1}, [%2]; }"
        : "+r"(v.x), "+r"(v.y)
        : "l"(p), "r"((int)wanted));
}

__device__ inline void store_relaxed(uint4* p, uint4 v) {
    asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.x),
                 "r"(v.y), "r"(v.z), "r"(v.w));
}

__device__ inline void store_relaxed(uint2* p, uint2 v) {
    asm volatile("st.relaxed.gpu.global.v2.b32 [%0], {%1, %2};" ::"l"(p), "r"(v.x), "r"(v.y));
}

__device__ inline void store_relaxed(word* p, word v) {
    asm volatile("st.relaxed.gpu.global.b32 [%0], %1;" ::"l"(p), "r"(v));
}

__device__ inline void store_relaxed(tagged* p, tagged v) {
    asm volatile("st.relaxed.gpu.global.b64 [%0], %1;" ::"l"(p), "l"(v));
}

// The error flag lies in the host's memory, where Python looks at it without waiting for the
// device.
__device__ inline bool is_raised(const int* error) {
    int v;
    asm volatile("ld.relaxed.sys.global.b32 %0, [%1];" : "=r"(v) : "l"(error));
    return v != 0;
}

__device__ inline void raise(int* error) {
    asm volatile("st.relaxed.sys.global.b32 [%0], %1;" ::"l"(error), "r"(1));
}

// Copies that hold no registers while they are under way; a thread waits for its own.
__device__ inline void prefetch(float4* shared, const float4* global) {
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], 16;" ::"r"((word)__cvta_generic_to_shared(shared)),
        "l"(global)
        : "memory");
}

__device__ inline void prefetch(float* shared, const float* global) {
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], 4;" ::"r"((word)__cvta_generic_to_shared(shared)),
        "l"(global)
        : "memory");
}

__device__ inline void wait_for_prefetches() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// The same number, of which the compiler knows nothing: what is computed from it is computed where
// it is written, and takes no registers before.
__device__ inline int opaque(int x) {
    asm volatile("" : "+r"(x));
    return x;
}

__device__ inline bool any_of_warp(bool x) { return __any_sync(~0u, x); }

__device__ inline float from_lane_xor(float x, int mask) { return __shfl_xor_sync(~0u, x, mask); }

// rounded: mma would cut
__device__ inline word to_tf32(float x) {
    word v;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(v) : "f"(x));
    return v;
}

__device__ inline word to_bf16_pair(float low, float high) {
    word v;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
    return v;
}

// c (16, 8) += a (16, 8) b (8, 8)
__device__ inline void mma_tf32(float (&c)[4], const word (&a)[4], word b0, word b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c (16, 8) += a (16, 16) b (16, 8)
__device__ inline void mma_bf16(float (&c)[4], const word (&a)[4], word b0, word b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif
#endif
