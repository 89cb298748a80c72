// The shared part of the persistent kernels: the places of rows, the exchange between blocks, and
// the product with weights that stay on chip for the whole sequence.
//
//   exchange buffer in L2:  slot (t, group of 8 rows)
//   +----------+----------+-----+   step t: every block reads the whole slot t of a group,
//   | block 0  | block 1  | ... |   multiplies by its weights, computes its 16 units,
//   +----------+----------+-----+   and writes its part of slot t + 1
//
// All words of the buffer start as UNSET and are written once, so a word that differs has arrived:
// no flags, no fences, no barrier between blocks. All blocks have to run at the same time.
//
// Given at compilation: UNITS; PRECISION; REGISTER_CHUNKS, how many chunks of weights a warp keeps
// in registers (the others lie in shared memory); SHARED_BYTES, which the kernel's fixed part of
// shared memory takes.
#ifndef CHAINER_LSTM_PERSISTENT_CUH
#define CHAINER_LSTM_PERSISTENT_CUH
#include "../../cells/lstm.cuh"
#include "persistent_device.cuh"

#define HIGHEST 0  // bf16x3: each number is the sum of two bf16, a product the sum of three
#define HIGH 1     // tf32
#define MEDIUM 2   // bf16

#ifndef SPIN_LIMIT
    #define SPIN_LIMIT (1u << 22)  // some seconds
#endif

constexpr int H = UNITS;
// with 255 registers each, 256 threads use the whole register file, which holds the weights
constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;  // they share the sum over k
constexpr int TILE = 16;             // units that a block owns
constexpr int GROUP = 8;             // rows of a product
// threads with a unit and row of their own: thread 8 * unit + row
constexpr int OWNERS = TILE * GROUP;
constexpr int JOBS = 2;
constexpr word UNSET = 0xffffffffu;

// Of 16 k and 8 rows, the four k of a row that a lane multiplies lie together: hi 01, hi 23, lo 01,
// lo 23 as bf16 pairs, four tf32, or two bf16 pairs.  The order of k in a sum is free, so these
// words are mma's fragment as they are.
#if PRECISION == MEDIUM
typedef uint2 Quad;
#else
typedef uint4 Quad;
#endif
// fragments of weights for 16 k: hi and lo, or two times 8 k
constexpr int PLANES = PRECISION == MEDIUM ? 1 : 2;
constexpr int CHUNK = GROUP * 4;  // quads of 16 k

// A sequence of one layer and direction; engines fill it in Python.  Arrays of buffers hold P
// packed rows and the B initial ones, see packing.py.
struct Job {
    const float* U;  // (4H, H), or null where it is packed already
    uint4* weights;  // packed U
    const float* b;  // (4H,), of forward
    // (B, H), the initial states, of forward; null where h and c hold them already
    const float* h0;
    const float* c0;
    float* hy;        // (B, H), the last states, of forward; null if the initial ones are
    float* cy;        // (B, H), likewise
    float* gates;     // (P, 4H): becomes gates in forward, their gradients in backward
    float* h;         // (P + B, H)
    float* c;         // (P + B, H)
    const float* gh;  // (P, gh_stride) or null
    float* gh_last;   // (B, H): becomes the gradient of the initial state
    float* gc_last;   // (B, H): likewise
    float* gb;        // (4H,): becomes the gradient of b, of backward
    // (T,): the first packed row of each time step; null where each sequence has T steps
    const int* starts;
    const int* lengths;  // (B,): steps of each sequence, descending; null likewise
    uint4* exchange;     // slots, and in backward boxes before them
    int* error;
    long long exchange_size;  // in uint4
    int batch, steps;         // B, T
    int begin, end;           // the time steps of this launch
    int first, initial;       // where packed and initial rows start in a buffer
    int reverse;              // whether a sequence starts at its last row
    int gh_stride;
    int from_zeros;  // whether backward begins with zeros, and not with gh_last and gc_last
};

struct Jobs {
    Job job[JOBS];
};

__device__ inline int groups_of(const Job& job) { return (job.batch + GROUP - 1) / GROUP; }

__device__ inline int length_of(const Job& job, int row) {
    return row >= job.batch ? 0 : job.lengths ? job.lengths[row] : job.steps;
}

// The row of a buffer with the state of a sequence after step t; -1 is before the first.
__device__ inline int place(const Job& job, int row, int length, int t) {
    if (t < 0) return job.initial + row;
    const int step = job.reverse ? length - 1 - t : t;
    return job.first + (job.starts ? job.starts[step] : step * job.batch) + row;
}

// UNSET must never be data: another NaN in its place
__device__ inline word set(word v) { return v == UNSET ? 0x7fff7fffu : v; }

__device__ inline float low_bf16(word pair) { return as_float(pair << 16); }

__device__ inline float high_bf16(word pair) { return as_float(pair & 0xffff0000u); }

// what the pair of bf16 nearest to x and y leaves
__device__ inline word rest_of_pair(float x, float y, word pair) {
    return to_bf16_pair(x - low_bf16(pair), y - high_bf16(pair));
}

// UNSET if and only if one of the words is
__device__ inline word largest(uint2 v) { return max(v.x, v.y); }

__device__ inline word largest(uint4 v) { return max(max(v.x, v.y), max(v.z, v.w)); }

// Counts a poll without success; true after so many that the other block must have died.  The
// numbers missed are then NaN (as UNSET is), and so is all that is computed from them.
__device__ inline bool timed_out(unsigned& polls, int* error) {
    if (++polls % 1024 != 0 || (polls < SPIN_LIMIT && !is_raised(error))) return false;
    raise(error);
    return true;
}

// TILES tiles of 16 output rows times NK chunks of 16 k.  Warp w has chunks w, w + 8, ...
template <int TILES, int NK>
struct MatrixProduct {
    static constexpr int CHUNKS = (NK + WARPS - 1) / WARPS;  // of a warp; the last may be missing
    static constexpr int IN_REGISTERS = REGISTER_CHUNKS;
    static constexpr int CHUNK_SIZE = PLANES * TILES * 32;  // uint4
    static constexpr int SIZE = NK * CHUNK_SIZE;            // of a block
    static constexpr int SHARED_SIZE =
        IN_REGISTERS * WARPS < NK ? (NK - IN_REGISTERS * WARPS) * CHUNK_SIZE : 0;
    // independent sums, which hide mma's latency
    static constexpr int CHAINS = TILES >= 4 ? 1 : 4 / TILES;
    static_assert(0 < IN_REGISTERS && IN_REGISTERS <= CHUNKS, "REGISTER_CHUNKS does not fit UNITS");

    typedef word Fragments[PLANES][TILES][4];
    Fragments kept[IN_REGISTERS];

    __device__ static bool has(int i, int warp) {
        return (i + 1) * WARPS <= NK || i * WARPS + warp < NK;
    }

    __device__ static void read(Fragments& to, const uint4* from, int lane) {
#pragma unroll
        for (int p = 0; p < PLANES; p++)
#pragma unroll
            for (int m = 0; m < TILES; m++) {
                const uint4 v = from[(p * TILES + m) * 32 + lane];
                to[p][m][0] = v.x, to[p][m][1] = v.y, to[p][m][2] = v.z, to[p][m][3] = v.w;
            }
    }

    // to registers and to shared memory; the block has to wait before it multiplies
    __device__ void load(const uint4* weights, uint4* shared, int warp, int lane) {
#pragma unroll
        for (int i = 0; i < IN_REGISTERS; i++)
            if (has(i, warp)) read(kept[i], weights + (i * WARPS + warp) * CHUNK_SIZE, lane);
        for (int j = threadIdx.x; j < SHARED_SIZE; j += THREADS)
            shared[j] = weights[IN_REGISTERS * WARPS * CHUNK_SIZE + j];
    }

    __device__ static void add(float (&sums)[TILES][4], const Fragments& a, Quad b) {
        // plane by plane: neighbouring mma do not wait for each other
#if PRECISION == HIGH
    #pragma unroll
        for (int m = 0; m < TILES; m++) mma_tf32(sums[m], a[0][m], b.x, b.y);
    #pragma unroll
        for (int m = 0; m < TILES; m++) mma_tf32(sums[m], a[1][m], b.z, b.w);
#else
    #if PRECISION == HIGHEST
        #pragma unroll
        for (int m = 0; m < TILES; m++) mma_bf16(sums[m], a[1][m], b.x, b.y);
        #pragma unroll
        for (int m = 0; m < TILES; m++) mma_bf16(sums[m], a[0][m], b.z, b.w);
    #endif
    #pragma unroll
        for (int m = 0; m < TILES; m++) mma_bf16(sums[m], a[0][m], b.x, b.y);
#endif
    }

    // Waits for the numbers of this warp: all loads are under way before the first is looked at.
    __device__ static void receive(Quad (&b)[CHUNKS], const Quad* slot, int warp, int lane,
                                   int* error) {
        const Quad* from = slot + warp * CHUNK + lane;
#pragma unroll
        for (int i = 0; i < CHUNKS; i++)
            if (has(i, warp)) b[i] = load_relaxed(from + i * WARPS * CHUNK);
        for (unsigned polls = 0;;) {
            word most = 0;
#pragma unroll
            for (int i = 0; i < CHUNKS; i++)
                if (has(i, warp)) most = max(most, largest(b[i]));
            if (!any_of_warp(most == UNSET) || any_of_warp(timed_out(polls, error))) break;
#pragma unroll
            for (int i = 0; i < CHUNKS; i++)
                if (has(i, warp))
                    reload_relaxed(b[i], from + i * WARPS * CHUNK, largest(b[i]) == UNSET);
        }
    }

    // partial[m][r][n] = this warp's part of row r of tile m, for row n of the group
    __device__ void multiply(const Quad* slot, const uint4* shared,
                             float (&partial)[TILES][TILE][GROUP], int warp, int lane,
                             int* error) const {
        Quad b[CHUNKS];
        receive(b, slot, warp, lane, error);
        float sums[CHAINS][TILES][4] = {};
#pragma unroll
        for (int i = 0; i < IN_REGISTERS; i++)
            if (has(i, warp)) add(sums[i % CHAINS], kept[i], b[i]);
#pragma unroll
        for (int i = IN_REGISTERS; i < CHUNKS; i++)
            if (has(i, warp)) {
                Fragments a;
                read(a, shared + ((i - IN_REGISTERS) * WARPS + warp) * CHUNK_SIZE, lane);
                add(sums[i % CHAINS], a, b[i]);
            }
        const int r = lane / 4, n = lane % 4 * 2;
#pragma unroll
        for (int m = 0; m < TILES; m++) {
#pragma unroll
            for (int j = 1; j < CHAINS; j++)
#pragma unroll
                for (int q = 0; q < 4; q++) sums[0][m][q] += sums[j][m][q];
            partial[m][r][n] = sums[0][m][0];
            partial[m][r][n + 1] = sums[0][m][1];
            partial[m][r + 8][n] = sums[0][m][2];
            partial[m][r + 8][n + 1] = sums[0][m][3];
        }
    }

    // Word `i` of the fragment of a chunk, plane and lane: its row in the tile is lane / 4 + 8 (i %
    // 2).
    template <typename Weight>
    __device__ static word pack(int chunk, int plane, int lane, int i, Weight weight) {
        const int r = lane / 4 + 8 * (i % 2), k = 16 * chunk + 4 * (lane % 4);
#if PRECISION == HIGH
        return to_tf32(weight(r, k + 2 * plane + i / 2));
#else
        const float x = weight(r, k + 2 * (i / 2)), y = weight(r, k + 2 * (i / 2) + 1);
        const word pair = to_bf16_pair(x, y);
        return plane == 0 ? pair : rest_of_pair(x, y, pair);
#endif
    }

    // All blocks' weights, and an exchange buffer with nothing in it: the launch before the first
    // step. weight(block, tile, r, k) is what the block multiplies number k of its part with, for
    // row r of the tile.
    template <typename Weight>
    __device__ static void prepare(const Job& job, int blocks, Weight weight) {
        const int thread = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
        for (long long j = thread; j < job.exchange_size; j += threads)
            job.exchange[j] = uint4{UNSET, UNSET, UNSET, UNSET};
        for (int j = thread; job.U && j < blocks * SIZE; j += threads) {
            const int lane = j % 32, m = j / 32 % TILES, p = j / (32 * TILES) % PLANES,
                      chunk = j / CHUNK_SIZE % NK, block = j / SIZE;
            const auto of_tile = [&](int r, int k) { return weight(block, m, r, k); };
            job.weights[j] =
                uint4{pack(chunk, p, lane, 0, of_tile), pack(chunk, p, lane, 1, of_tile),
                      pack(chunk, p, lane, 2, of_tile), pack(chunk, p, lane, 3, of_tile)};
        }
    }
};

#endif
