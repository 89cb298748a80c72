// A whole sequence of one layer and direction in one launch, forward:  pre[t] += U h[t-1], then the
// cell.
//
//   load the block's weights into registers and shared memory, and its b and c; publish h[-1]
//   for each step t, for each group of 8 rows of the block:
//     prefetch pre[t]; wait for h[t-1] of all blocks
//     each warp: a partial sum over its part of k; barrier      then threads read all partial sums
//     each owner of a unit and row: add them, activate; publish h[t] first, then store the results
//
// Block (x, y, z) owns units 16x to 16x + 15 with all their gates, groups y, y + gridDim.y, ... of
// 8 rows, of job z.
#include "persistent.cuh"

constexpr int TILES = (H + TILE - 1) / TILE;
constexpr int SLOT = TILES * CHUNK;  // quads

typedef MatrixProduct<4, TILES> Recurrent;  // a tile for each gate

struct Shared {
    float4 pre[OWNERS], b[TILE];
    float partial[2][WARPS][4][TILE][GROUP];
    uint4 weights[Recurrent::SHARED_SIZE + 1];
};  // and for each group of this block float c[OWNERS]
static_assert(sizeof(Shared) == SHARED_BYTES, "persistent_plan.py computes another size");

extern "C" __global__ void lstm_sequence_fwd_prepare(const __grid_constant__ Jobs jobs) {
    const Job& job = jobs.job[blockIdx.z];
    Recurrent::prepare(job, TILES, [&](int block, int gate, int r, int k) {
        const int unit = block * TILE + r;
        return unit < H && k < H ? job.U[(4 * unit + gate) * H + k] : 0.f;
    });
}

// h of this thread's unit and row, into the chunk of this block; a whole warp calls it
__device__ inline void publish(Quad* chunk, int unit, int row, float h) {
    word* quad = reinterpret_cast<word*>(chunk + row * 4 + unit / 4);
#if PRECISION == HIGH
    store_relaxed(quad + unit % 4, set(to_tf32(h)));
#else
    const float other = from_lane_xor(h, GROUP);  // of the neighbour unit
    const bool odd = unit % 2;
    const float x = odd ? other : h, y = odd ? h : other;
    const word pair = to_bf16_pair(x, y);
    if (!odd) store_relaxed(quad + unit / 2 % 2, set(pair));
    #if PRECISION == HIGHEST
    else
        store_relaxed(quad + 2 + unit / 2 % 2, set(rest_of_pair(x, y, pair)));
    #endif
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    lstm_sequence_fwd(const __grid_constant__ Jobs jobs) {
    const Job& job = jobs.job[blockIdx.z];
    Shared& s = *reinterpret_cast<Shared*>(shared_memory);
    float (*c)[OWNERS] = reinterpret_cast<float (*)[OWNERS]>(&s + 1);
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, groups = groups_of(job);
    const int u = thread / GROUP, n = thread % GROUP, unit = blockIdx.x * TILE + u;
    const bool owner = thread < OWNERS;
    Quad* const slots = reinterpret_cast<Quad*>(job.exchange);

    Recurrent U;
    U.load(job.weights + (long long)blockIdx.x * Recurrent::SIZE, s.weights, warp, lane);
    if (thread < 4 * TILE) {  // one by one: b may begin anywhere
        const int at = blockIdx.x * 4 * TILE + thread;
        reinterpret_cast<float*>(s.b)[thread] = at < 4 * H ? job.b[at] : 0.f;
    }
    for (int g = blockIdx.y, k = 0; owner && g < groups; g += gridDim.y, k++) {
        const int row = g * GROUP + n, length = length_of(job, row);
        const bool live = unit < H && job.begin < length;
        float h = 0.f, state = 0.f;
        if (job.h0 && job.begin == 0 && unit < H && row < job.batch) {
            const long long from = row * (long long)H + unit,
                            to = place(job, row, length, -1) * (long long)H + unit;
            job.h[to] = h = job.h0[from];
            job.c[to] = state = job.c0[from];
            if (length == 0) {
                job.hy[from] = h;
                job.cy[from] = state;
            }
        } else if (live) {
            const long long at = place(job, row, length, job.begin - 1) * (long long)H + unit;
            h = job.h[at];
            state = job.c[at];
        }
        c[k][thread] = live ? state : 0.f;
        publish(slots + (long long)g * SLOT + blockIdx.x * CHUNK, u, n, live ? h : 0.f);
    }
    __syncthreads();

    int turn = 0;
    for (int t = job.begin; t < job.end; t++) {
        Quad* const slot = slots + (long long)(t - job.begin) * groups * SLOT;
        for (int g = blockIdx.y, k = 0; g < groups && t < length_of(job, g * GROUP);
             g += gridDim.y, k++) {
            const int row = g * GROUP + n, length = length_of(job, row);
            const bool live = owner && unit < H && t < length;
            const long long at = live ? place(job, row, length, t) * (long long)H + unit : 0;
            float4* const gates =
                reinterpret_cast<float4*>(job.gates) + at - (long long)job.first * H;
            if (live) prefetch(&s.pre[thread], gates);
            // two buffers of partial sums: one barrier per turn keeps the warps that close
            turn ^= 1;
            U.multiply(slot + g * SLOT, s.weights, s.partial[turn][warp], warp, lane, job.error);
            __syncthreads();
            if (!owner) continue;
            float z[LstmCell::gates], now[LstmCell::states] = {};
            if (live) {
                wait_for_prefetches();
                const float4 pre = s.pre[thread], b = s.b[u];
                const float before[] = {c[k][thread], 0.f};
                z[0] = pre.x + b.x, z[1] = pre.y + b.y, z[2] = pre.z + b.z, z[3] = pre.w + b.w;
#pragma unroll
                for (int w = 0; w < WARPS; w++)
#pragma unroll
                    for (int i = 0; i < LstmCell::gates; i++) z[i] += s.partial[turn][w][i][u][n];
                LstmCell::First::forward(z, before, now, Nothing{});
            }
            if (t + 1 < job.end)  // before anything else is stored: others wait for it
                publish(slot + (groups + g) * SLOT + blockIdx.x * CHUNK, u, n, now[LstmCell::h]);
            if (live) {
                c[k][thread] = now[LstmCell::c];
                job.h[at] = now[LstmCell::h];
                job.c[at] = now[LstmCell::c];
                *gates = float4{z[0], z[1], z[2], z[3]};
                if (job.hy && t == length - 1) {
                    job.hy[row * (long long)H + unit] = now[LstmCell::h];
                    job.cy[row * (long long)H + unit] = now[LstmCell::c];
                }
            }
        }
    }
}
