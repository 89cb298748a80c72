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

constexpr bool has(unsigned set, int k) { return set >> k & 1; }

constexpr int size(unsigned set) { return set ? int(set & 1) + size(set >> 1) : 0; }

constexpr int n_products = sizeof Stage::products / sizeof(Product);

// The products with a weight of a single gate.  The product of all gates comes as hu.
constexpr int single_products(int j = 0) {
    return j == n_products ? 0 : (Stage::products[j].gate != all_gates) + single_products(j + 1);
}

constexpr int G = CELL::gates, S = CELL::states;
constexpr unsigned ALL = (1u << G) - 1;
constexpr bool FIRST = same<Stage, CELL::First>;
constexpr bool WIDE = single_products() < n_products;  // there is a product of all gates
static_assert(n_products - single_products() <= 1, "only one product can be given as hu");
// states whose gradients backward gets
constexpr unsigned WRITTEN = CELL::First::writes | Stage::writes;

// Where arrays, or groups of them, are among those of a kernel in boundary.py.
constexpr int XW = 0, HU = FIRST, B = HU + WIDE, PRODUCTS = B + FIRST,
              BEFORE = PRODUCTS + single_products(), GATES = BEFORE + size(Stage::reads),
              NOW = GATES + 1, N_FORWARD = NOW + size(Stage::writes);
constexpr int ACTIVATED = 0, READ = 1, NEEDED = READ + size(Stage::reads),
              GRADIENTS = NEEDED + size(Stage::needs), GPRE = GRADIENTS + size(WRITTEN),
              OUT = GPRE + 1, N_BACKWARD = OUT + size(Stage::reads);

// 8 bytes each
template <int N>
struct Arguments {
    STORED* arrays[N];  // null where one is not given
    index_t units, n;   // n = rows * units
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

template <int J>
__device__ inline void add_products(REAL* g, STORED* const* arrays, index_t k) {
    if constexpr (J < n_products) {
        constexpr int gate = Stage::products[J].gate;
        if constexpr (gate != all_gates) g[gate] += REAL((*arrays++)[k]);
        add_products<J + 1>(g, arrays, k);
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

// A set of states; 0 for others and for an array that is not given.
template <unsigned SET>
__device__ inline void load(REAL* states, STORED* const* arrays, index_t k) {
#pragma unroll
    for (int s = 0; s < S; s++) {
        const STORED* x = has(SET, s) ? *arrays++ : nullptr;
        states[s] = x ? REAL(x[k]) : REAL(0);
    }
}

template <unsigned SET>
__device__ inline void store(STORED* const* arrays, index_t k, const REAL* states) {
#pragma unroll
    for (int s = 0; s < S; s++)
        if (has(SET, s)) (*arrays++)[k] = STORED(states[s]);
}

extern "C" __global__ void FORWARD(const Arguments<N_FORWARD> x) {
    EACH_UNIT(k, x.n) {
        REAL g[G] = {}, before[S], now[S];
        add_gates(g, x.arrays[FIRST ? XW : GATES], k);
        if (WIDE && x.arrays[HU]) add_gates(g, x.arrays[HU], k);
        if (FIRST && x.arrays[B]) add_gates(g, x.arrays[B], k % x.units);
        add_products<0>(g, x.arrays + PRODUCTS, k);
        load<Stage::reads>(before, x.arrays + BEFORE, k);
        Stage::forward(g, before, now);
        store_gates<FIRST ? ALL : Stage::owns>(x.arrays[GATES], k, g);
        store<Stage::writes>(x.arrays + NOW, k, now);
    }
}

extern "C" __global__ void BACKWARD(const Arguments<N_BACKWARD> x) {
    EACH_UNIT(k, x.n) {
        REAL g[G] = {}, gpre[G], before[S], now[S], gradients[S];
        add_gates(g, x.arrays[ACTIVATED], k);
        load<Stage::reads>(before, x.arrays + READ, k);
        load<Stage::needs>(now, x.arrays + NEEDED, k);
        load<WRITTEN>(gradients, x.arrays + GRADIENTS, k);
        Stage::backward(g, before, now, gradients, gpre);
        store_gates<Stage::owns>(x.arrays[GPRE], k, gpre);
        store<Stage::reads>(x.arrays + OUT, k, gradients);
    }
}
