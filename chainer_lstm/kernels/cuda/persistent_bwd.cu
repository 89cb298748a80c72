// A whole sequence of one layer and direction in one launch, backward:  gh[t-1] += U^T gpre[t],
// after the cell.
//
//   load the block's weights and its gradients of the last c and h
//   for each step t, the last one first, for each group of 8 rows of the block:
//     wait for gpre[t+1] of the block's part; each warp: a partial sum; barrier
//     exchange the sums with the team through boxes: gh[t] of the block's units
//     each owner of a unit and row: gpre[t] from gates, c and gradients; publish it, then store it
//
// The sum over the 4H gates is cut into SPLIT parts.  Block (x, y, z) owns units 16x to 16x + 15
// and multiplies part x % SPLIT for the 16 SPLIT units of its team, the blocks with the same x /
// SPLIT. A box has two halves by the parity of t, which need no clearing. A block of the team
// overwrites the half of step t at t - 2. Before that it received this block's sums of t - 1, which
// this block sent after it had read those of t.
#include "persistent.cuh"

constexpr int BLOCKS = (H + TILE * SPLIT - 1) / (TILE * SPLIT) * SPLIT;
// chunks, each of 4 units with their 4 gates
constexpr int PART = ((H + 3) / 4 + SPLIT - 1) / SPLIT;
constexpr int SLOT = BLOCKS * (TILE / 4) * CHUNK;               // quads
constexpr int BOXES = SPLIT > 1 ? BLOCKS * SPLIT * OWNERS : 0;  // of one group and parity
constexpr int GATES = TILE * LstmCell::gates;                   // of a block

typedef MatrixProduct<SPLIT, PART> Recurrent;  // a tile for each block of the team

struct Shared {
    float4 gates[OWNERS], gb[OWNERS];
    float c[OWNERS], c_prev[OWNERS], gh[OWNERS];
    float partial[2][WARPS][SPLIT][TILE][GROUP];
    uint4 weights[Recurrent::SHARED_SIZE + 1];
};  // and for each group of this block float gc_next[OWNERS]
static_assert(sizeof(Shared) == SHARED_BYTES, "persistent_plan.py computes another size");
static_assert(WARPS * 32 == 2 * OWNERS, "both halves of a block hand out sums");

extern "C" __global__ void lstm_sequence_bwd_prepare(const __grid_constant__ Jobs jobs) {
    const Job& job = jobs.job[blockIdx.z];
    Recurrent::prepare(job, BLOCKS, [&](int block, int mate, int r, int k) {
        const int unit = (block / SPLIT * SPLIT + mate) * TILE + r,
                  gate = block % SPLIT * PART * 16 + k;
        return unit < H && gate < 4 * H ? job.U[gate * H + unit] : 0.f;
    });
}

__device__ inline Quad quad_of(float a, float i, float f, float o) {
#if PRECISION == HIGH
    return {set(to_tf32(a)), set(to_tf32(i)), set(to_tf32(f)), set(to_tf32(o))};
#else
    const word ai = to_bf16_pair(a, i), fo = to_bf16_pair(f, o);
    #if PRECISION == MEDIUM
    return {set(ai), set(fo)};
    #else
    return {set(ai), set(fo), set(rest_of_pair(a, i, ai)), set(rest_of_pair(f, o, fo))};
    #endif
#endif
}

// Adds up the sums of the warps and exchanges them with the other blocks of the team.
// -> of an owner, the sum of all parts for its unit and row
__device__ inline float exchange_sums(const Shared& s, int turn, tagged* boxes, word tag,
                                      int* error) {
    const int thread = opaque(threadIdx.x), half = thread / OWNERS, own = thread % OWNERS,
              u = own / GROUP, n = own % GROUP;
    const int part = blockIdx.x % SPLIT, team = blockIdx.x / SPLIT * SPLIT;
    float sum = 0.f;
#pragma unroll
    for (int away = SPLIT - 1; away >= 0; away--) {  // the own one last: the others are waited for
        if (away % 2 != half) continue;
        const int mate = (part + away) % SPLIT;
        sum = 0.f;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += s.partial[turn][w][mate][u][n];
        if (away > 0)
            store_relaxed(boxes + ((team + mate) * SPLIT + part) * OWNERS + own,
                          (tagged)tag << 32 | as_word(sum));
    }
    if (SPLIT == 1 || half > 0) return sum;
    const tagged* const box = boxes + blockIdx.x * SPLIT * OWNERS + own;
    tagged found[SPLIT];
    for (unsigned polls = 0;;) {
        bool missing = false;
#pragma unroll
        for (int away = 1; away < SPLIT; away++)
            found[away] = load_relaxed(box + (part + away) % SPLIT * OWNERS);
#pragma unroll
        for (int away = 1; away < SPLIT; away++) missing |= (word)(found[away] >> 32) != tag;
        if (!missing) break;
        if (timed_out(polls, error)) return as_float(UNSET);
    }
#pragma unroll
    for (int away = 1; away < SPLIT; away++) sum += as_float((word)found[away]);
    return sum;
}

// the gates of a packed row and unit
__device__ inline float4* gates_of(const Job& job, int packed, int unit) {
    return reinterpret_cast<float4*>(job.gates) + (packed * (long long)H + unit);
}

// Adds up the gradients of the gates over the rows of a group, then over the blocks that share the
// units, always in the same order: those of the first row of blocks wait for the others.
__device__ inline void write_gb(const Shared& s, const Job& job, int unit, int n) {
    tagged* const end = reinterpret_cast<tagged*>(job.exchange + job.exchange_size);
    tagged* const boxes = end - gridDim.y * (BLOCKS * GATES);
    const float4 own = s.gb[threadIdx.x];
    float sums[] = {own.x, own.y, own.z, own.w}, sum = 0.f;
#pragma unroll
    for (int i = 0; i < LstmCell::gates; i++) {
#pragma unroll
        for (int mask = 1; mask < GROUP; mask *= 2) sums[i] += from_lane_xor(sums[i], mask);
        if (n == i) sum = sums[i];
    }
    const int gate = unit * LstmCell::gates + n;
    if (n >= LstmCell::gates || unit >= H) return;
    if (blockIdx.y > 0) {
        store_relaxed(boxes + blockIdx.y * (BLOCKS * GATES) + gate, (tagged)as_word(sum));
        return;
    }
    for (int y = 1; y < gridDim.y; y++) {
        tagged found;
        for (unsigned polls = 0; (found = load_relaxed(boxes + y * (BLOCKS * GATES) + gate)) >> 32;)
            if (timed_out(polls, job.error)) break;
        sum += as_float((word)found);
    }
    job.gb[gate] = (job.end < job.steps ? job.gb[gate] : 0.f) + sum;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    lstm_sequence_bwd(const __grid_constant__ Jobs jobs) {
    const Job& job = jobs.job[blockIdx.z];
    Shared& s = *reinterpret_cast<Shared*>(shared_memory);
    float (*gc_next)[OWNERS] = reinterpret_cast<float (*)[OWNERS]>(&s + 1);
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, groups = groups_of(job);
    const int u = thread / GROUP, n = thread % GROUP, unit = blockIdx.x * TILE + u;
    const bool owner = thread < OWNERS;
    tagged* const boxes = reinterpret_cast<tagged*>(job.exchange);
    Quad* const slots = reinterpret_cast<Quad*>(boxes + 2LL * groups * BOXES);

    Recurrent U;
    U.load(job.weights + (long long)blockIdx.x * Recurrent::SIZE, s.weights, warp, lane);
    if (owner) s.gb[thread] = float4{};
    __syncthreads();

    int turn = 0;
    // the last turn, before the first step, is for the gradient of the state that it began with
    for (int t = job.end - 1; t >= job.begin - 1; t--) {
        Quad* const slot = slots + (long long)(t - job.begin) * groups * SLOT;
        for (int g = blockIdx.y, k = 0; g < groups; g += gridDim.y, k++) {
            const int longest = min(length_of(job, g * GROUP), job.end);
            if (longest <= max(t, job.begin)) break;
            const int row = g * GROUP + n, length = length_of(job, row);
            const bool real = owner && unit < H, live = real && t >= job.begin && t < length;
            const int now = live ? place(job, row, length, t) : 0, packed = now - job.first;
            if (live) {
                prefetch(&s.gates[thread], gates_of(job, packed, unit));
                prefetch(&s.c[thread], job.c + (now * (long long)H + unit));
                prefetch(&s.c_prev[thread],
                         job.c + place(job, row, length, t - 1) * (long long)H + unit);
                if (job.gh)
                    prefetch(&s.gh[thread], job.gh + packed * (long long)job.gh_stride + unit);
            }
            float gh = 0.f;
            if (t + 1 < longest) {  // else this group begins here and receives nothing
                // two buffers of partial sums: one barrier per turn keeps the warps that close
                turn ^= 1;
                U.multiply(slot + (groups + g) * SLOT + blockIdx.x % SPLIT * PART * CHUNK,
                           s.weights, s.partial[turn][warp], warp, lane, job.error);
                __syncthreads();
                gh = exchange_sums(s, turn, boxes + ((t & 1) * (long long)groups + g) * BOXES,
                                   t + 1, job.error);
            }
            if (!owner) continue;
            const long long last = row * (long long)H + unit;
            if (t < job.begin) {
                if (real && job.begin < length) {
                    job.gh_last[last] = gh;
                    job.gc_last[last] = gc_next[k][thread];
                }
                continue;
            }
            float gpre[LstmCell::gates] = {};
            if (live) {
                wait_for_prefetches();
                const bool joins = t == min(length, job.end) - 1;
                const bool from_zero = job.from_zeros && length <= job.end;
                gh +=
                    (joins && !from_zero ? job.gh_last[last] : 0.f) + (job.gh ? s.gh[thread] : 0.f);
                const float4 v = s.gates[thread];
                const float z[] = {v.x, v.y, v.z, v.w};
                const float before[] = {s.c_prev[thread], 0.f}, after[] = {s.c[thread], 0.f};
                float gradients[] = {gc_next[k][thread], gh};
                if (joins) gradients[LstmCell::c] = from_zero ? 0.f : job.gc_last[last];
                LstmCell::First::backward(z, before, after, gradients, gpre, Nothing{});
                gc_next[k][thread] = gradients[LstmCell::c];
            }
            // before anything else is stored: others wait for it
            const Quad quad = quad_of(gpre[0], gpre[1], gpre[2], gpre[3]);
            store_relaxed(
                slot + g * SLOT + (blockIdx.x * (TILE / 4) + u / 4) * CHUNK + n * 4 + u % 4, quad);
            if (live) {
                *gates_of(job, packed, unit) = float4{gpre[0], gpre[1], gpre[2], gpre[3]};
                const float4 sums = s.gb[thread];
                s.gb[thread] =
                    float4{sums.x + gpre[0], sums.y + gpre[1], sums.z + gpre[2], sums.w + gpre[3]};
            }
        }
    }
    if (owner) write_gb(s, job, unit, n);
}
