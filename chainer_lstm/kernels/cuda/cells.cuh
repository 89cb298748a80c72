// The maths of the cells for one unit of one row; reference.py is the definition of right.
// Plain C++ with __device__, so that the tests run the same text on the CPU.
#ifndef CHAINER_LSTM_CELLS_CUH
#define CHAINER_LSTM_CELLS_CUH

template <typename R>
struct Gates {
    R a, i, f, o;
};

template <typename R>
__device__ inline R sigmoid(R x) {
    return tanh(x * R(0.5)) * R(0.5) + R(0.5);
}

// derivatives by the output
template <typename R>
__device__ inline R grad_sigmoid(R y) {
    return y * (R(1) - y);
}

template <typename R>
__device__ inline R grad_tanh(R y) {
    return R(1) - y * y;
}

template <typename R>
__device__ inline void lstm_cell_fwd(Gates<R>& g, R c_prev, R& c, R& h) {
    g = {R(tanh(g.a)), sigmoid(g.i), sigmoid(g.f), sigmoid(g.o)};
    c = g.a * g.i + g.f * c_prev;
    h = g.o * tanh(c);
}

template <typename R>
__device__ inline void out_bwd(const Gates<R>& g, R c, R gh, R& gc, R& go) {
    const R t = tanh(c);
    go = gh * t * grad_sigmoid(g.o);
    gc += gh * g.o * grad_tanh(t);
}

template <typename R>
__device__ inline Gates<R> cell_bwd(const Gates<R>& g, R c_prev, R gc, R go, R& gc_prev) {
    gc_prev = gc * g.f;
    return {gc * g.i * grad_tanh(g.a), gc * g.a * grad_sigmoid(g.i),
            gc * c_prev * grad_sigmoid(g.f), go};
}

template <typename R>
__device__ inline void peephole_cell_fwd_unit(Gates<R>& g, R pi, R pf, R c_prev, R& c) {
    g = {R(tanh(g.a)), sigmoid(g.i + pi), sigmoid(g.f + pf), g.o};
    c = g.a * g.i + g.f * c_prev;
}

#endif
