// The stages of a time step over rows of units, as the CUDA kernels of cells.cu, with the maths of
// cells.cuh.

namespace SIMD {

// f(u, n) for the n units from u on, of the units [first, last), a vector of them at a time; the
// last may be fewer
template <typename T, typename F>
INLINE void each_vector(isize first, isize last, const F& f) {
    isize u = first;
    for (; u + lanes<T> <= last; u += lanes<T>) f(u, lanes<T>);
    if (u < last) f(u, last - u);
}

template <typename T>
INLINE Vec<T> load_or_zero(const T* p, isize u, isize n) {
    return p ? load(p + u, n) : Vec<T>(T(0));
}

template <typename T>
INLINE void store(T* p, Vec<T> x, isize n) {
    if (n == lanes<T>) return x.store(p);
    T part[lanes<T>];
    x.store(part);
    std::memcpy(p, part, n * sizeof(T));
}

template <typename T>
INLINE Gates<Vec<T>> load_gates(const T* p, isize n) {
    if (n == lanes<T>) return load_gates(p);
    T part[4 * lanes<T>] = {};
    std::memcpy(part, p, 4 * n * sizeof(T));
    return load_gates(part);
}

template <typename T>
INLINE void store_gates(T* p, const Gates<Vec<T>>& g, isize n) {
    if (n == lanes<T>) return store_gates(p, g);
    T part[4 * lanes<T>];
    store_gates(part, g);
    std::memcpy(p, part, 4 * n * sizeof(T));
}

template <typename R>
INLINE Gates<R> operator+(const Gates<R>& g, const Gates<R>& r) {
    return {g.a + r.a, g.i + r.i, g.f + r.f, g.o + r.o};
}

// pre-activation of units: x part, recurrent part and bias
template <typename T>
INLINE Gates<Vec<T>> load_pre(const T* xw, const T* hu /*or null*/, const T* b /*or null*/, isize u,
                              isize n) {
    Gates<Vec<T>> g = load_gates(xw + 4 * u, n);
    if (hu) g = g + load_gates(hu + 4 * u, n);
    if (b) g = g + load_gates(b + 4 * u, n);
    return g;
}

// y (n,) or null = exp(x - maximum), of which sum is the sum
template <typename T>
void exponentials_row(isize n, const T* x, T* y /*or null*/, T& maximum, T& sum) {
    constexpr T least = -std::numeric_limits<T>::infinity();  // exp(least) = 0
    Vec<T> most(least), total(T(0));
    each_vector<T>(0, n, [&](isize k, isize width) __attribute__((always_inline)) {
        most = greater(load(x + k, width, least), most);
    });
    maximum = most.v[0];
    for (int j = 1; j < lanes<T>; j++) maximum = most.v[j] > maximum ? most.v[j] : maximum;
    each_vector<T>(0, n, [&](isize k, isize width) __attribute__((always_inline)) {
        const Vec<T> e = exp_of_negative(load(x + k, width, least) - maximum);
        if (y) store(y + k, e, width);
        total += e;
    });
    sum = 0;
    for (int j = 0; j < lanes<T>; j++) sum += total.v[j];
}

// units [first, last) of one row; every pointer is to the row's unit 0

template <typename T>
void lstm_fwd_row(isize first, isize last, const T* xw, const T* hu /*or null*/,
                  const T* b /*or null*/, const T* c_prev, T* gates /*or null*/, T* c, T* h) {
    each_vector<T>(first, last, [&](isize u, isize n) __attribute__((always_inline)) {
        Gates<Vec<T>> g = load_pre(xw, hu, b, u, n);
        Vec<T> c_new, h_new;
        lstm_cell_fwd(g, load(c_prev + u, n), c_new, h_new);
        if (gates) store_gates(gates + 4 * u, g, n);
        store(c + u, c_new, n);
        store(h + u, h_new, n);
    });
}

template <typename T>
void lstm_bwd_row(isize first, isize last, const T* gates, const T* c_prev, const T* c,
                  const T* gc /*or null*/, const T* gh /*or null*/, const T* gh_more /*or null*/,
                  T* gpre, T* gc_prev) {
    each_vector<T>(first, last, [&](isize u, isize n) __attribute__((always_inline)) {
        const Gates<Vec<T>> g = load_gates(gates + 4 * u, n);
        Vec<T> gc_sum = load_or_zero(gc, u, n), go, gc_out;
        out_bwd(g, load(c + u, n), load_or_zero(gh, u, n) + load_or_zero(gh_more, u, n), gc_sum,
                go);
        store_gates(gpre + 4 * u, cell_bwd(g, load(c_prev + u, n), gc_sum, go, gc_out), n);
        store(gc_prev + u, gc_out, n);
    });
}

template <typename T>
void peephole_cell_fwd_row(isize first, isize last, const T* xw, const T* hu /*or null*/,
                           const T* b /*or null*/, const T* pi, const T* pf, const T* c_prev,
                           T* gates, T* c) {
    each_vector<T>(first, last, [&](isize u, isize n) __attribute__((always_inline)) {
        Gates<Vec<T>> g = load_pre(xw, hu, b, u, n);
        Vec<T> c_new;
        peephole_cell_fwd_unit(g, load(pi + u, n), load(pf + u, n), load(c_prev + u, n), c_new);
        store_gates(gates + 4 * u, g, n);
        store(c + u, c_new, n);
    });
}

template <typename T>
void peephole_out_fwd_row(isize first, isize last, T* gates, const T* po, const T* c, T* h) {
    each_vector<T>(first, last, [&](isize u, isize n) __attribute__((always_inline)) {
        Gates<Vec<T>> g = load_gates(gates + 4 * u, n);
        g.o = sigmoid(g.o + load(po + u, n));
        store_gates(gates + 4 * u, g, n);
        store(h + u, g.o * tanh(load(c + u, n)), n);
    });
}

// go (H,) or, in its place among the gates, null
template <typename T>
void peephole_out_bwd_row(isize first, isize last, T* gates, const T* c, const T* gc /*or null*/,
                          const T* gh /*or null*/, const T* gh_more /*or null*/, T* go, T* gc_sum) {
    each_vector<T>(first, last, [&](isize u, isize n) __attribute__((always_inline)) {
        Gates<Vec<T>> g = load_gates(gates + 4 * u, n);
        Vec<T> gc_out = load_or_zero(gc, u, n), go_out;
        out_bwd(g, load(c + u, n), load_or_zero(gh, u, n) + load_or_zero(gh_more, u, n), gc_out,
                go_out);
        if (go) {
            store(go + u, go_out, n);
        } else {
            g.o = go_out;
            store_gates(gates + 4 * u, g, n);
        }
        store(gc_sum + u, gc_out, n);
    });
}

// go (H,) or, in its place among the gates, null
template <typename T>
void peephole_cell_bwd_row(isize first, isize last, const T* gates, const T* c_prev, const T* gc,
                           const T* go, T* gpre, T* gc_prev) {
    each_vector<T>(first, last, [&](isize u, isize n) __attribute__((always_inline)) {
        const Gates<Vec<T>> g = load_gates(gates + 4 * u, n);
        Vec<T> gc_out;
        const Vec<T> go_in = go ? load(go + u, n) : g.o;
        store_gates(gpre + 4 * u, cell_bwd(g, load(c_prev + u, n), load(gc + u, n), go_in, gc_out),
                    n);
        store(gc_prev + u, gc_out, n);
    });
}

}  // namespace SIMD
