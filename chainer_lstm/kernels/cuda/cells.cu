// A stage of a time step of a cell, forward and backward, after the products, which cuBLAS
// computes:
//
//   for each unit of each row, in a thread:
//     load its gates, products and old states
//     add, activate, and compute the new states       the array code of cells/*.cuh
//     store gates and states
//
// Threads share no data, so there is no barrier and the block size does not matter. The number of
// blocks is limited (kernels/engines/cupy.py); threads stride over the units.
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

constexpr int G = CELL::gates, S = CELL::states, W = CELL::weights, N = CELL::noise;
constexpr int at_least_one(int n) { return n ? n : 1; }
constexpr unsigned ALL = (1u << G) - 1;
constexpr bool FIRST = same<Stage, CELL::First>;
constexpr int n_products = sizeof Stage::products / sizeof(Product);

constexpr bool has(unsigned set, int k) { return set >> k & 1; }

// A number of a cell in 8 bytes, of which a float uses the first four.
struct alignas(8) Number {
    REAL value;

    __device__ operator REAL() const { return value; }
};

// The arguments as in native/arguments.hpp, 8 bytes each; null for an array that is not given.
struct Forward {
    index_t batch, units;
    Number numbers[at_least_one(N + CELL::numbers)];
    const STORED *xw, *hu, *b, *weights[W], *noise[at_least_one(N)], *before[S];
    STORED *gates, *now[S];
};

struct Backward {
    index_t batch, units;
    Number numbers[at_least_one(N + CELL::numbers)];
    const STORED *gates, *weights[W], *noise[at_least_one(N)], *before[S], *now[S], *gradients[S];
    STORED *gpre, *out[S];
};

// The gates of a unit are contiguous: 2, 4 or 8 of them are one load.
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

// f(product) for each product of the stage, all constants
template <int J = 0, class F>
__device__ inline void each_product(const F& f) {
    if constexpr (J < n_products) {
        constexpr Product product = Stage::products[J];
        f(product);
        each_product<J + 1>(f);
    }
}

// The arguments of array code, from those of a kernel.
template <class X>
__device__ inline More<CELL, REAL, Number> more_of(const X& x, index_t k) {
    More<CELL, REAL, Number> more;
    each_product([&](Product product) {
        const STORED* weights = product.kind == matrix ? nullptr : x.weights[product.weight];
        more.weights[product.weight] = weights ? REAL(weights[k % x.units]) : REAL(0);
    });
#pragma unroll
    for (int i = 0; i < N; i++)
        more.noise[i] = x.noise[i] ? REAL(x.noise[i][k]) : REAL(x.numbers[i]);
    more.numbers = x.numbers + N;
    return more;
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
        load(before, x.before, k);
        const More<CELL, REAL, Number> more = more_of(x, k);
        each_product([&](Product product) {
            const int w = product.weight;
            if (product.kind == diagonal)
                g[product.gate] += more.weights[w] * before[product.state];
            if (product.kind == matrix && product.gate != all_gates)
                g[product.gate] += REAL(x.weights[w][k]);  // the product; that to all gates is hu
        });
        Stage::forward(g, before, now, more);
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
        const More<CELL, REAL, Number> more = more_of(x, k);
        Stage::backward(g, before, now, gradients, gpre, more);
        each_product([&](Product product) {
            if (product.kind == diagonal)
                gradients[product.state] += gpre[product.gate] * more.weights[product.weight];
        });
        store_gates<Stage::owns>(x.gpre, k, gpre);
        store(x.out, k, gradients);
    }
}
