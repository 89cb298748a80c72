// One launch per stage of a step: a thread per unit and row, gates interleaved, so four
// neighbouring words a load. STORED is the type of the arrays (half_bits, float, double), REAL the
// type computed in (float for half_bits). A pointer that may be null is an input not given.  n = B
// * H.
#include "half.cuh"
#include "cells.cuh"

typedef long long index_t;

#define EACH_UNIT(k)                                                 \
    for (index_t k = blockIdx.x * (index_t)blockDim.x + threadIdx.x, \
                 step = gridDim.x * (index_t)blockDim.x;             \
         k < n; k += step)

struct alignas(4 * sizeof(STORED)) Four {
    STORED a, i, f, o;
};

__device__ inline Gates<REAL> load_gates(const STORED* x, index_t k) {
    const Four v = reinterpret_cast<const Four*>(x)[k];
    return {REAL(v.a), REAL(v.i), REAL(v.f), REAL(v.o)};
}

__device__ inline void store_gates(STORED* x, index_t k, const Gates<REAL>& g) {
    reinterpret_cast<Four*>(x)[k] = {STORED(g.a), STORED(g.i), STORED(g.f), STORED(g.o)};
}

__device__ inline REAL load_or_zero(const STORED* x, index_t k) { return x ? REAL(x[k]) : REAL(0); }

// pre-activation of unit k: x part, recurrent part and bias (4H,)
__device__ inline Gates<REAL> load_pre(const STORED* xw, const STORED* hu, const STORED* b,
                                       index_t k, index_t units) {
    Gates<REAL> g = load_gates(xw, k);
    if (hu) {
        const Gates<REAL> r = load_gates(hu, k);
        g = {g.a + r.a, g.i + r.i, g.f + r.f, g.o + r.o};
    }
    if (b) {
        const Gates<REAL> r = load_gates(b, k % units);
        g = {g.a + r.a, g.i + r.i, g.f + r.f, g.o + r.o};
    }
    return g;
}

extern "C" __global__ void lstm_fwd(const STORED* xw /*(B, 4H)*/,
                                    const STORED* hu /*(B, 4H) or null*/,
                                    const STORED* b /*(4H,) or null*/,
                                    const STORED* c_prev /*(B, H)*/, STORED* gates /*(B, 4H)*/,
                                    STORED* c /*(B, H)*/, STORED* h /*(B, H)*/, index_t units,
                                    index_t n) {
    EACH_UNIT(k) {
        Gates<REAL> g = load_pre(xw, hu, b, k, units);
        REAL c_new, h_new;
        lstm_cell_fwd(g, REAL(c_prev[k]), c_new, h_new);
        store_gates(gates, k, g);
        c[k] = STORED(c_new);
        h[k] = STORED(h_new);
    }
}

extern "C" __global__ void lstm_bwd(const STORED* gates /*(B, 4H)*/,
                                    const STORED* c_prev /*(B, H)*/, const STORED* c /*(B, H)*/,
                                    const STORED* gc /*(B, H) or null*/,
                                    const STORED* gh /*(B, H) or null*/, STORED* gpre /*(B, 4H)*/,
                                    STORED* gc_prev /*(B, H)*/, index_t n) {
    EACH_UNIT(k) {
        const Gates<REAL> g = load_gates(gates, k);
        REAL gc_sum = load_or_zero(gc, k), go, gc_out;
        out_bwd(g, REAL(c[k]), load_or_zero(gh, k), gc_sum, go);
        store_gates(gpre, k, cell_bwd(g, REAL(c_prev[k]), gc_sum, go, gc_out));
        gc_prev[k] = STORED(gc_out);
    }
}

extern "C" __global__ void peephole_cell_fwd(
    const STORED* xw /*(B, 4H)*/, const STORED* hu /*(B, 4H) or null*/,
    const STORED* b /*(4H,) or null*/, const STORED* pi /*(B, H)*/, const STORED* pf /*(B, H)*/,
    const STORED* c_prev /*(B, H)*/, STORED* gates /*(B, 4H), o before activation*/,
    STORED* c /*(B, H)*/, index_t units, index_t n) {
    EACH_UNIT(k) {
        Gates<REAL> g = load_pre(xw, hu, b, k, units);
        REAL c_new;
        peephole_cell_fwd_unit(g, REAL(pi[k]), REAL(pf[k]), REAL(c_prev[k]), c_new);
        store_gates(gates, k, g);
        c[k] = STORED(c_new);
    }
}

extern "C" __global__ void peephole_out_fwd(STORED* gates /*(B, 4H), o activated in place*/,
                                            const STORED* po /*(B, H)*/, const STORED* c /*(B, H)*/,
                                            STORED* h /*(B, H)*/, index_t n) {
    EACH_UNIT(k) {
        const REAL o = sigmoid(REAL(gates[4 * k + 3]) + REAL(po[k]));
        gates[4 * k + 3] = STORED(o);
        h[k] = STORED(o * tanh(REAL(c[k])));
    }
}

extern "C" __global__ void peephole_out_bwd(const STORED* gates /*(B, 4H)*/,
                                            const STORED* c /*(B, H)*/,
                                            const STORED* gc /*(B, H) or null*/,
                                            const STORED* gh /*(B, H) or null*/,
                                            STORED* go /*(B, H)*/, STORED* gc_sum /*(B, H)*/,
                                            index_t n) {
    EACH_UNIT(k) {
        REAL gc_out = load_or_zero(gc, k), go_out;
        out_bwd(load_gates(gates, k), REAL(c[k]), load_or_zero(gh, k), gc_out, go_out);
        go[k] = STORED(go_out);
        gc_sum[k] = STORED(gc_out);
    }
}

extern "C" __global__ void peephole_cell_bwd(const STORED* gates /*(B, 4H)*/,
                                             const STORED* c_prev /*(B, H)*/,
                                             const STORED* gc /*(B, H)*/,
                                             const STORED* go /*(B, H)*/, STORED* gpre /*(B, 4H)*/,
                                             STORED* gc_prev /*(B, H)*/, index_t n) {
    EACH_UNIT(k) {
        REAL gc_out;
        store_gates(
            gpre, k,
            cell_bwd(load_gates(gates, k), REAL(c_prev[k]), REAL(gc[k]), REAL(go[k]), gc_out));
        gc_prev[k] = STORED(gc_out);
    }
}
