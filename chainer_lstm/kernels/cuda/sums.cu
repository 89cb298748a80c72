// Sums of rows in a fixed order: results are the same in every run.
#include "functions.cuh"

// Members in the order of kernels/boundary.py.
struct ColumnSums {
    index_t rows, columns;
    const STORED* x;
    STORED* sums;
};

struct EmbeddingGradient {
    index_t rows, columns, classes, label, splits;
    const INDEX* ids;
    const STORED* gy;
    STORED* gW;
};

// A block sums 32 columns, each warp some of the rows; the first warp adds up the parts after the
// barrier.
extern "C" __global__ void column_sums(const ColumnSums a) {
    REAL* parts = reinterpret_cast<REAL*>(shared_memory);
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, warps = blockDim.x / LANES;
    const index_t column = (index_t)blockIdx.x * LANES + lane;
    REAL sum = 0;
    if (column < a.columns) {
#pragma unroll 8
        for (index_t row = warp; row < a.rows; row += warps)
            sum += REAL(a.x[row * a.columns + column]);
    }
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (warp || column >= a.columns) return;
    for (int other = 1; other < warps; other++) sum += parts[other * LANES + lane];
    a.sums[column] = STORED(sum);
}

constexpr int PER_LANE = 8;  // columns
constexpr int PART = PER_LANE * LANES;
constexpr int AT_ONCE = 4;  // loads of a lane for each column in flight at the same time

// Adds the rows of gy that are ``found``, a bit for each after ``first``, to sums, in their order.
__device__ inline void add_found(const EmbeddingGradient& a, unsigned found, index_t first,
                                 index_t column, REAL (&sums)[PER_LANE]) {
    while (found) {
        REAL numbers[AT_ONCE][PER_LANE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const STORED* gy = a.gy + (first + __ffs(found) - 1) * a.columns;
#pragma unroll
            for (int c = 0; c < PER_LANE; c++) {
                const index_t at = column + c * LANES;
                numbers[i][c] = found && at < a.columns ? REAL(gy[at]) : REAL(0);
            }
            found &= found - 1;  // without the lowest bit
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
#pragma unroll
            for (int c = 0; c < PER_LANE; c++) sums[c] += numbers[i][c];
    }
}

// Adds the rows of gy from ``begin`` to ``end`` whose id is the class ``own``, or own - classes,
// which counts from the last class as in NumPy.
__device__ inline void add_rows(const EmbeddingGradient& a, index_t begin, index_t end, index_t own,
                                index_t column, REAL (&sums)[PER_LANE]) {
    const index_t lane = threadIdx.x % LANES, from_last = own - a.classes;
    const bool takes_own = own != a.label, takes_from_last = from_last != a.label;
    for (index_t first = begin; first < end; first += AT_ONCE * LANES) {
        bool equal[AT_ONCE], any = false;
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const index_t at = first + i * LANES + lane;
            const index_t id = at < end ? index_t(a.ids[at]) : a.classes;
            equal[i] = (id == own && takes_own) || (id == from_last && takes_from_last);
            any |= equal[i];
        }
        if (!__ballot_sync(~0u, any)) continue;
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            add_found(a, __ballot_sync(~0u, equal[i]), first + i * LANES, column, sums);
    }
}

// A warp sums 256 columns of one class, over all rows or one of ``splits`` parts of them. The parts
// are warps of one block, which meet before they are added up. Every class is written, so that the
// gradient needs no zeros before.
extern "C" __global__ void embedding_gradient(const EmbeddingGradient a) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, warps = blockDim.x / LANES;
    const int splits = int(a.splits), split = warp % splits;
    const index_t own = (index_t)blockIdx.x * (warps / splits) + warp / splits;
    const index_t column = (index_t)blockIdx.y * PART + lane;
    const index_t rows = (a.rows + splits - 1) / splits, begin = split * rows;
    REAL sums[PER_LANE] = {};
    if (own < a.classes) {
        const index_t end = begin + rows < a.rows ? begin + rows : a.rows;
        add_rows(a, begin, end, own, column, sums);
    }
    if (splits > 1) {
        REAL* parts = reinterpret_cast<REAL*>(shared_memory) + warp * PART + lane;
#pragma unroll
        for (int c = 0; c < PER_LANE; c++) parts[c * LANES] = sums[c];
        __syncthreads();
        if (split) return;
        for (int other = 1; other < splits; other++)
#pragma unroll
            for (int c = 0; c < PER_LANE; c++) sums[c] += parts[other * PART + c * LANES];
    }
    if (own >= a.classes) return;
#pragma unroll
    for (int c = 0; c < PER_LANE; c++) {
        const index_t at = column + c * LANES;
        if (at < a.columns) a.gW[own * a.columns + at] = STORED(sums[c]);
    }
}
