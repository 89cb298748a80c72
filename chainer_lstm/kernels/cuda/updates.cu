// Updates of many parameters in one launch, and the norm of their gradients in another.
//
//   SUM_OF_SQUARES: each block sums the squares of its tiles into one number
//   other rules: each block adds up these numbers, then scales and updates its tiles
//
// Given at compilation: KERNEL, the name of the kernel; RULE, its computation; REAL, the type of
// the arrays; ARRAYS, how many there are for each parameter: the gradients, the parameter and its
// states; MOST, how many parameters there may be; THREADS of a block; BYTES of the argument.
//
// A tile is one vector of 16 bytes for each thread of a block.  The tiles of all parameters are
// numbered consecutively, and blocks stride over them, so that small parameters share a wave.

typedef long long index_t;

enum { SUM_OF_SQUARES, SCALE, SGD, ADAM };  // RULE

constexpr int RATES = 8, WIDTH = 16 / sizeof(REAL);

// A number, or the address from which replays of a captured graph read it.
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
    double* sums;    // sums of squares of gradients, one from each block of earlier launches
    index_t n_sums;  // 0 if gradients are not scaled
    Number threshold, rates[RATES];
    index_t tiles;
    Parameter parameters[MOST];
};
static_assert(sizeof(Update) == BYTES, "cupy_updates.py computes another size");

#ifdef __CUDACC__
extern __shared__ double block_sums[];
#endif

// Saves registers; devices before Volta do not know it.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 700
    #define IN_PLACE
#else
    #define IN_PLACE __grid_constant__
#endif

// Numbers that are loaded and stored together.
template <int N>
struct alignas(N * sizeof(REAL)) Vector {
    REAL of[N];
};

template <int N>
__device__ inline Vector<N>& vector(REAL* x, index_t k) {
    return reinterpret_cast<Vector<N>*>(x)[k];
}

// Calls f.run<N>(arrays, k) for every vector k of N numbers of each parameter.  N is WIDTH, or 1 at
// the end of a parameter and for arrays that are not aligned.
template <class F>
__device__ inline void each_vector(const Update& x, F& f) {
    int p = 0;
    index_t first = 0;
    for (index_t tile = blockIdx.x; tile < x.tiles; tile += gridDim.x) {
        for (; x.parameters[p].end <= tile; p++) first = x.parameters[p].end;
        const Parameter& parameter = x.parameters[p];
        const index_t k = (tile - first) * THREADS + threadIdx.x;
        index_t bits = 0;
#pragma unroll
        for (int a = 0; a < ARRAYS; a++) bits |= reinterpret_cast<index_t>(parameter.arrays[a]);
        if ((k + 1) * WIDTH <= parameter.size && bits % sizeof(Vector<WIDTH>) == 0)
            f.template run<WIDTH>(parameter.arrays, k);
        else
#pragma unroll 1
            for (index_t i = k * WIDTH; i < (k + 1) * WIDTH && i < parameter.size; i++)
                f.template run<1>(parameter.arrays, i);
    }
}

// Returns the sum over the threads of a block to all of them, always added in the same order. Each
// barrier makes the sums of the round before visible.
__device__ inline double sum_of_block(double mine) {
    block_sums[threadIdx.x] = mine;
    for (int n = THREADS / 2; n; n /= 2) {
        __syncthreads();
        if (threadIdx.x < n) block_sums[threadIdx.x] += block_sums[threadIdx.x + n];
    }
    __syncthreads();
    return block_sums[0];
}

// Returns min(threshold / norm, 1) as CuPy's clip: NaN if the norm is NaN, 1 if it is 0.  Every
// block adds up the sums, which saves a launch.
__device__ inline REAL scale_of(const Update& x) {
    if (x.n_sums == 0) return 1;
    double sum = 0;
    for (index_t k = threadIdx.x; k < x.n_sums; k += THREADS) sum += x.sums[k];
    const REAL scale = x.threshold / sqrt(sum_of_block(sum));
    return scale > 1 ? REAL(1) : scale;
}

struct Squares {
    REAL sum;

    template <int N>
    __device__ void run(REAL* const* arrays, index_t k) {
        const Vector<N> g = vector<N>(arrays[0], k);
#pragma unroll
        for (int i = 0; i < N; i++) sum += g.of[i] * g.of[i];
    }
};

// Updates one number of each array, the gradient being scaled:  x -= rate g,  or with a state
// v = momentum v - rate g,  x += v
template <int A>
__device__ inline void step_of_sgd(REAL (&of)[A], const REAL* rates) {
    REAL step = -rates[0] * of[0];
    if constexpr (A > 2) of[2] = step = rates[1] * of[2] + step;
    of[1] += step;
}

// The formulas of Chainer's rule on the CPU. Its variants differ only in the numbers, and in a
// fifth array, the running maximum of v.
template <int A>
__device__ inline void step_of_adam(REAL (&of)[A], const REAL* rates) {
    const REAL of_m = rates[0], of_v = rates[1], epsilon = rates[2], rate = rates[3];
    const REAL low = rates[4], high = rates[5], keep = rates[6], eta = rates[7];
    const REAL g = of[0];
    const REAL m = of[2] += of_m * (g - of[2]);
    REAL most = of[3] += of_v * (g * g - of[3]);
    if constexpr (A > 4) {
        if (of[4] > most) most = of[4];
        of[4] = most;
    }
    REAL step = rate / (sqrt(most) + epsilon);
    if (step < low) step = low;
    if (step > high) step = high;
    of[1] = keep * of[1] - eta * step * m;
}

struct Steps {
    REAL scale, rates[RATES];

    template <int N>
    __device__ void run(REAL* const* arrays, index_t k) {
        Vector<N> v[ARRAYS];
#pragma unroll
        for (int a = 0; a < ARRAYS; a++) v[a] = vector<N>(arrays[a], k);
#pragma unroll
        for (int i = 0; i < N; i++) {
            REAL of[ARRAYS];
#pragma unroll
            for (int a = 0; a < ARRAYS; a++) of[a] = v[a].of[i];
            of[0] *= scale;
            if constexpr (RULE == SGD) step_of_sgd(of, rates);
            if constexpr (RULE == ADAM) step_of_adam(of, rates);
#pragma unroll
            for (int a = 0; a < ARRAYS; a++) v[a].of[i] = of[a];
        }
        if (scale != 1) vector<N>(arrays[0], k) = v[0];  // gradients stay scaled, as in Chainer
#pragma unroll
        for (int a = 1; a < ARRAYS; a++) vector<N>(arrays[a], k) = v[a];
    }
};

extern "C" __global__ void __launch_bounds__(THREADS) KERNEL(const IN_PLACE Update x) {
    if constexpr (RULE == SUM_OF_SQUARES) {
        Squares squares = {0};
        each_vector(x, squares);
        const double sum = sum_of_block(squares.sum);
        if (threadIdx.x == 0) x.sums[blockIdx.x] = sum;
    } else {
        Steps steps = {scale_of(x)};
        if (RULE == SCALE && steps.scale == 1) return;
#pragma unroll
        for (int r = 0; r < RATES; r++) steps.rates[r] = REAL(double(x.rates[r]));
        each_vector(x, steps);
    }
}
