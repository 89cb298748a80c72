// Softmax cross entropy of rows of scores.
//
//   forward, a block for each row:
//     each thread: the largest of its scores, and the sum of exp(score - largest), in one pass
//     combine the sums of lanes by shuffles; barrier; thread 0 combines those of the warps
//   mean, one block: the sum of the losses of all rows, times a coefficient
//   gradient, a block for each row: exp(score - largest) / sum - 1 for the class, from the scores
//
// No softmax is stored: reading the scores twice moves fewer bytes.
#include "functions.cuh"

// Members in the order of kernels/boundary.py.  kept (3, rows): the largest score of each row, the
// sum of exp(score - largest), and the loss.
struct Forward {
    index_t rows, classes, three, label;
    const STORED* x;
    const INDEX* t;
    REAL* kept;
};

struct Mean {
    index_t rows, three, one, label, normalize;
    const REAL* kept;
    const INDEX* t;
    STORED* loss;
    REAL* coefficient;
};

struct Gradient {
    index_t rows, classes, three, given, label;
    const STORED* x;
    const INDEX* t;
    const REAL *kept, *coefficient;
    const STORED* gy;
    STORED* gx;
};

// Less than all scores but -inf; finite, so that differences of two are numbers.
constexpr REAL LOWEST = REAL(-(sizeof(REAL) == 4 ? 3.4e38 : 1.7e308));
constexpr int AT_ONCE = 8;  // loads of a thread in flight at the same time

__device__ inline REAL larger(REAL a, REAL b) { return a > b ? a : b; }

// The sum of exp(x - most) over some scores x.
struct Exponentials {
    REAL most, sum;

    __device__ void add(const Exponentials& other) {
        const REAL both = larger(most, other.most);
        sum = sum * exp(most - both) + other.sum * exp(other.most - both);
        most = both;
    }
};

struct Total {
    REAL most, sum;  // the number of summands, and their sum

    __device__ void add(const Total& other) {
        most += other.most;
        sum += other.sum;
    }
};

// Returns the sum over all threads of a block in thread 0. The barrier is before thread 0 reads the
// sums of the other warps.
template <class Sum>
__device__ inline Sum sum_of_block(Sum own) {
    for (int mask = LANES / 2; mask; mask /= 2)
        own.add(Sum{__shfl_xor_sync(~0u, own.most, mask), __shfl_xor_sync(~0u, own.sum, mask)});
    Sum* of_warps = reinterpret_cast<Sum*>(shared_memory);
    if (threadIdx.x % LANES == 0) of_warps[threadIdx.x / LANES] = own;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int warp = 1; warp < int(blockDim.x) / LANES; warp++) own.add(of_warps[warp]);
    return own;
}

// Loads AT_ONCE scores from k on, blockDim.x apart. The loads are together because the compiler
// does not move loads across stores.
__device__ inline void load(REAL (&scores)[AT_ONCE], const STORED* x, index_t k, index_t classes) {
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
        const index_t at = k + i * blockDim.x;
        const REAL score = REAL(x[at < classes ? at : classes - 1]);  // without a branch
        scores[i] = at < classes ? score : LOWEST;
    }
}

// The loss of a class that does not exist; no score is read.
__device__ inline REAL not_a_number() { return log(REAL(-1)); }

extern "C" __global__ void cross_entropy(const Forward a) {
    const index_t row = blockIdx.x;
    const STORED* x = a.x + row * a.classes;
    Exponentials own = {LOWEST, 0};
    for (index_t k = threadIdx.x; k < a.classes; k += AT_ONCE * blockDim.x) {
        REAL scores[AT_ONCE], most = own.most;
        load(scores, x, k, a.classes);
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) most = larger(most, scores[i]);
        own.sum *= exp(own.most - most);
        own.most = most;
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            if (k + i * blockDim.x < a.classes) own.sum += exp(scores[i] - most);
    }
    own = sum_of_block(own);
    if (threadIdx.x) return;
    a.kept[row] = own.most;
    a.kept[a.rows + row] = own.sum;
    const index_t t = a.t[row];
    REAL loss = 0;
    if (t != a.label)
        loss = t < 0 || t >= a.classes ? not_a_number() : log(own.sum) - (REAL(x[t]) - own.most);
    a.kept[2 * a.rows + row] = loss;
}

// One block.  coefficient: the factor of the sum of the losses.
extern "C" __global__ void cross_entropy_mean(const Mean a) {
    Total own = {0, 0};
    for (index_t row = threadIdx.x; row < a.rows; row += blockDim.x)
        own.add({REAL(!a.normalize || a.t[row] != a.label), a.kept[2 * a.rows + row]});
    own = sum_of_block(own);
    if (threadIdx.x) return;
    const REAL coefficient = REAL(1) / larger(own.most, 1);
    *a.loss = STORED(own.sum * coefficient);
    *a.coefficient = coefficient;
}

extern "C" __global__ void cross_entropy_gradient(const Gradient a) {
    const index_t row = blockIdx.x, t = a.t[row];
    const STORED* x = a.x + row * a.classes;
    STORED* gx = a.gx + row * a.classes;
    REAL g = REAL(a.gy[a.given > 1 ? row : 0]);
    if (a.coefficient) g *= a.coefficient[0];
    if (t == a.label)
        g = 0;
    else if (t < 0 || t >= a.classes)
        g = not_a_number();
    const REAL most = a.kept[row], scale = g / a.kept[a.rows + row];
    for (index_t k = threadIdx.x; k < a.classes; k += AT_ONCE * blockDim.x) {
        REAL scores[AT_ONCE];
        load(scores, x, k, a.classes);
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const index_t at = k + i * blockDim.x;
            const REAL y = t == a.label ? REAL(0) : exp(scores[i] - most) * scale;
            if (at < a.classes) gx[at] = STORED(at == t ? y - g : y);
        }
    }
}
