// Updates of many parameters in one launch, and the norm of their gradients in another.
//
// Given at compilation: KERNEL, the name of the kernel; RULE, what it computes; REAL, the type of
// the arrays; ARRAYS, how many there are for each parameter: the gradients, the parameter and its
// states; MOST, how many parameters there may be; THREADS of a block; BYTES of the argument.
//
// A tile is one vector of 16 bytes for each thread of a block.  The tiles of all parameters are
// numbered in one row, and blocks take them in turn, so that small parameters share a wave.

typedef long long index_t;

enum { SUM_OF_SQUARES, SCALE, SGD, ADAM };  // RULE

constexpr int RATES = 8, WIDTH = 16 / sizeof(REAL);
constexpr index_t TILE = THREADS * WIDTH;

// A number, or where a captured graph reads it anew.
struct Number {
    double value;
    const double* address;

    __device__ operator double() const { return address ? *address : value; }
};

struct Parameter {
    index_t size, end;  // end: the first tile that is not of this parameter
    REAL* arrays[ARRAYS];
};

struct Update {
    double* sums;    // of squares of gradients, one of each block of the launches before
    index_t n_sums;  // 0 where gradients are not scaled
    Number threshold, rates[RATES];
    index_t tiles;
    Parameter parameters[MOST];
};
static_assert(sizeof(Update) == BYTES, "cupy_updates.py computes another size");

#ifdef __CUDACC__
extern __shared__ double block_sums[];
#endif

struct alignas(16) Vector {
    REAL of[WIDTH];
};

// n numbers; all WIDTH of them at once where that is possible
__device__ inline Vector load(const REAL* x, int n, bool whole) {
    if (whole) return *reinterpret_cast<const Vector*>(x);
    Vector v;
#pragma unroll
    for (int i = 0; i < WIDTH; i++) v.of[i] = i < n ? x[i] : REAL(0);
    return v;
}

__device__ inline void store(REAL* x, const Vector& v, int n, bool whole) {
    if (whole) {
        *reinterpret_cast<Vector*>(x) = v;
        return;
    }
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
        if (i < n) x[i] = v.of[i];
}

// f(parameter, at, n, whole) for each vector of each parameter, of n numbers from ``at`` on
template <class F>
__device__ inline void each_vector(const Update& x, const F& f) {
    int k = 0;
    index_t first = 0;
    for (index_t tile = blockIdx.x; tile < x.tiles; tile += gridDim.x) {
        for (; x.parameters[k].end <= tile; k++) first = x.parameters[k].end;
        const Parameter& parameter = x.parameters[k];
        const index_t at = (tile - first) * TILE + threadIdx.x * WIDTH;
        const index_t left = parameter.size - at;
        if (left <= 0) continue;
        index_t bits = 0;
#pragma unroll
        for (int a = 0; a < ARRAYS; a++) bits |= reinterpret_cast<index_t>(parameter.arrays[a]);
        const int n = left < WIDTH ? int(left) : WIDTH;
        f(parameter, at, n, n == WIDTH && bits % 16 == 0);
    }
}

// The sum of a number of each thread of a block, always in the same order; for all threads.
__device__ inline double sum_of_block(double mine) {
    block_sums[threadIdx.x] = mine;
    for (int n = THREADS / 2; n; n /= 2) {
        __syncthreads();
        if (threadIdx.x < n) block_sums[threadIdx.x] += block_sums[threadIdx.x + n];
    }
    __syncthreads();
    return block_sums[0];
}

__device__ inline void sum_of_squares(const Update& x) {
    REAL sum = 0;
    each_vector(x, [&](const Parameter& parameter, index_t at, int n, bool whole) {
        const Vector g = load(parameter.arrays[0] + at, n, whole);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) sum += g.of[i] * g.of[i];
    });
    const double of_block = sum_of_block(sum);
    if (threadIdx.x == 0) x.sums[blockIdx.x] = of_block;
}

// min(threshold / norm, 1) as CuPy's clip: NaN where the norm is, 1 where it is 0.  Every block adds
// the sums up for itself, which saves a launch.
__device__ inline REAL scale_of(const Update& x) {
    if (x.n_sums == 0) return 1;
    double sum = 0;
    for (index_t k = threadIdx.x; k < x.n_sums; k += THREADS) sum += x.sums[k];
    const REAL scale = x.threshold / sqrt(sum_of_block(sum));
    return scale > 1 ? REAL(1) : scale;
}

// x -= rate g, or with a state  v = momentum v - rate g,  x += v
template <int A>
__device__ inline void step_of_sgd(Vector (&v)[A], int i, const REAL* rates) {
    REAL step = -rates[0] * v[0].of[i];
    if constexpr (A > 2) v[2].of[i] = step = rates[1] * v[2].of[i] + step;
    v[1].of[i] += step;
}

// The formulas of Chainer's rule on the CPU; its variants differ in the numbers alone, and in a
// fifth array, the largest v that there was.
template <int A>
__device__ inline void step_of_adam(Vector (&v)[A], int i, const REAL* rates) {
    const REAL of_m = rates[0], of_v = rates[1], epsilon = rates[2], rate = rates[3];
    const REAL low = rates[4], high = rates[5], keep = rates[6], eta = rates[7];
    const REAL g = v[0].of[i];
    const REAL m = v[2].of[i] += of_m * (g - v[2].of[i]);
    REAL most = v[3].of[i] += of_v * (g * g - v[3].of[i]);
    if constexpr (A > 4) {
        if (v[4].of[i] > most) most = v[4].of[i];
        v[4].of[i] = most;
    }
    REAL step = rate / (sqrt(most) + epsilon);
    if (step < low) step = low;
    if (step > high) step = high;
    v[1].of[i] = keep * v[1].of[i] - eta * step * m;
}

template <int A>
__device__ inline void update(const Update& x) {
    const REAL scale = scale_of(x);
    if (RULE == SCALE && scale == 1) return;
    REAL rates[RATES];
#pragma unroll
    for (int r = 0; r < RATES; r++) rates[r] = REAL(double(x.rates[r]));
    each_vector(x, [&](const Parameter& parameter, index_t at, int n, bool whole) {
        Vector v[A];
#pragma unroll
        for (int a = 0; a < A; a++) v[a] = load(parameter.arrays[a] + at, n, whole);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            v[0].of[i] *= scale;
            if constexpr (RULE == SGD) step_of_sgd(v, i, rates);
            if constexpr (RULE == ADAM) step_of_adam(v, i, rates);
        }
        if (scale != 1) store(parameter.arrays[0] + at, v[0], n, whole);  // left as Chainer does
#pragma unroll
        for (int a = 1; a < A; a++) store(parameter.arrays[a] + at, v[a], n, whole);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS) KERNEL(const __grid_constant__ Update x) {
    if constexpr (RULE == SUM_OF_SQUARES)
        sum_of_squares(x);
    else
        update<ARRAYS>(x);
}
