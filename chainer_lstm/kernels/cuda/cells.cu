// A stage of a time step of a cell, forward and backward: a thread for each unit of each row.
//
// Given at compilation: CELL and STAGE (LstmCell and First; the .cuh of the cell stands before this
// text), the names FORWARD and BACKWARD of the kernels, STORED, the type of the arrays (half_bits,
// float or double), and REAL, the type that is computed in (float for half_bits).
#include "half.cuh"

typedef long long index_t;
typedef CELL::STAGE Stage;

template <class A, class B>
constexpr bool same = false;
template <class A>
constexpr bool same<A, A> = true;

constexpr int G = CELL::gates, S = CELL::states, W = CELL::weights;
constexpr unsigned ALL = (1u << G) - 1;
constexpr bool FIRST = same<Stage, CELL::First>;
constexpr int n_products = sizeof Stage::products / sizeof(Product);

constexpr bool has(unsigned set, int k) { return set >> k & 1; }

// Those of native/arguments.hpp, 8 bytes each; null where an array is not given.
struct Forward {
    index_t batch, units;
    const STORED *xw, *hu, *b, *products[W], *before[S];
    STORED *gates, *now[S];
};

struct Backward {
    index_t batch, units;
    const STORED *gates, *before[S], *now[S], *gradients[S];
    STORED *gpre, *out[S];
};

// The gates of a unit lie side by side: where they are 2, 4 or 8, one load.
struct alignas((G & -G) * sizeof(STORED)) Gates {
    STORED of[G];
};

#define EACH_UNIT(k, n)                                                     \
    for (index_t k = blockIdx.x * (index_t)blockDim.x + threadIdx.x; k < n; \
         k += gridDim.x * (index_t)blockDim.x)

__device__ inline void add_gates(REAL* g, const STORED* x, index_t k) {
    const Gates v = reinterpret_cast<const Gates*>(x)[k];
#pragma unroll
    for (int i = 0; i < G; i++) g[i] += REAL(v.of[i]);
}

// those to a single gate; the product to all gates comes as hu
template <int J = 0>
__device__ inline void add_products(REAL* g, const STORED* const* products, index_t k) {
    if constexpr (J < n_products) {
        constexpr Product product = Stage::products[J];
        if (product.gate != all_gates) g[product.gate] += REAL(products[product.weight][k]);
        add_products<J + 1>(g, products, k);
    }
}

template <unsigned SET>
__device__ inline void store_gates(STORED* x, index_t k, const REAL* g) {
    if constexpr (SET == ALL) {
        Gates v;
#pragma unroll
        for (int i = 0; i < G; i++) v.of[i] = STORED(g[i]);
        reinterpret_cast<Gates*>(x)[k] = v;
    } else {
#pragma unroll
        for (int i = 0; i < G; i++)
            if (has(SET, i)) x[G * k + i] = STORED(g[i]);
    }
}

__device__ inline void load(REAL* states, const STORED* const* arrays, index_t k) {
#pragma unroll
    for (int s = 0; s < S; s++) states[s] = arrays[s] ? REAL(arrays[s][k]) : REAL(0);
}

__device__ inline void store(STORED* const* arrays, index_t k, const REAL* states) {
#pragma unroll
    for (int s = 0; s < S; s++)
        if (arrays[s]) arrays[s][k] = STORED(states[s]);
}

extern "C" __global__ void FORWARD(const Forward x) {
    EACH_UNIT(k, x.batch * x.units) {
        REAL g[G] = {}, before[S], now[S];
        add_gates(g, FIRST ? x.xw : x.gates, k);
        if (x.hu) add_gates(g, x.hu, k);
        if (x.b) add_gates(g, x.b, k % x.units);
        add_products(g, x.products, k);
        load(before, x.before, k);
        Stage::forward(g, before, now);
        store_gates<FIRST ? ALL : Stage::owns>(x.gates, k, g);
        store(x.now, k, now);
    }
}

extern "C" __global__ void BACKWARD(const Backward x) {
    EACH_UNIT(k, x.batch * x.units) {
        REAL g[G] = {}, gpre[G], before[S], now[S], gradients[S];
        add_gates(g, x.gates, k);
        load(before, x.before, k);
        load(now, x.now, k);
        load(gradients, x.gradients, k);
        Stage::backward(g, before, now, gradients, gpre);
        store_gates<Stage::owns>(x.gpre, k, gpre);
        store(x.out, k, gradients);
    }
}
