// CUDA on the CPU for kernels whose threads and blocks wait for each other: every thread of every
// block is a fibre with a stack of its own, and all of them are alive at once.  Made to bring
// mistakes to light:
// - blocks and single warps miss turns at random, and sometimes nap for long or start late,
// - what is stored for other blocks shows up late and in any order, word by word,
// - a prefetch happens when it is asked for, or only when it is waited for,
// - shared memory starts as NaN and ends in canaries, lanes of a warp must meet in the same
// operation,
// - when no thread can go on, that is an error, not a hang.
// It cannot show what a fence or a stale cache line does: blocks take turns on one core.
#include <cstdint>
#include <cstdlib>
#include <cstring>

typedef unsigned word;
typedef unsigned long long tagged;

struct Dim3 {
    int x, y, z;
};

enum {
    WARP = 32,
    STACK = 16384,
    CANARY_WORDS = 1024,
    COPIES = 4,
    NAP = 200,
    PUBLICATIONS = 1 << 20
};
enum Outcome { DONE, DEADLOCK, NOT_TOGETHER, OUT_OF_BOUNDS, TOO_MANY };
static const unsigned CANARY = 0xa5a5a5a5u, NOT_WRITTEN = 0xffffffffu;

struct Copy {
    void* to;
    const void* from;
    int bytes;
};

struct Fibre {
    void* stack_pointer;
    const unsigned* gate;  // waits while *gate == closed
    unsigned closed;
    Copy copies[COPIES];
    int n_copies;
    bool done;
};

struct Warp {
    unsigned generation;
    int arrived, operation;
    unsigned words[WARP][6];
    float in[WARP][4], out[WARP][4];
    unsigned result;
    long nap;
};

struct Block {
    Dim3 index;
    unsigned generation;
    int arrived, left;
    unsigned* shared;
    bool resident;
    long nap;
};

struct Publication {
    void* to;
    tagged value;
    int bytes;
};

static struct {
    Fibre* fibres;
    Warp* warps;
    Block* blocks;
    char* stacks;
    int threads, n_blocks, current;  // current: the fibre that runs
    Publication* publications;
    int n_publications;
    void* scheduler;
    void (*body)();
    unsigned random;
    Outcome outcome;
} world;

static Dim3 gridDim, blockDim;  // as in CUDA

static unsigned draw(unsigned n) {
    world.random = world.random * 1664525u + 1013904223u;
    return (world.random >> 8) % n;
}

extern "C" void switch_stack(void** from, void* to);
asm(R"(
.text
switch_stack:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

static Fibre& fibre() { return world.fibres[world.current]; }

static Block& block() { return world.blocks[world.current / world.threads]; }

static Warp& warp() { return world.warps[world.current / WARP]; }

static void pause() { switch_stack(&fibre().stack_pointer, world.scheduler); }

static void wait(const unsigned& generation) {
    fibre().gate = &generation;
    fibre().closed = generation;
    pause();
}

static void give_up(Outcome outcome) {
    world.outcome = outcome;
    pause();  // for good
}

static void __syncthreads() {
    Block& b = block();
    if (++b.arrived < world.threads) return wait(b.generation);
    b.arrived = 0;
    b.generation++;
}

// All lanes of a warp; the last one to arrive computes.
template <typename F>
static void together(int operation, F compute) {
    Warp& w = warp();
    if (w.arrived == 0) w.operation = operation;
    if (w.operation != operation) give_up(NOT_TOGETHER);
    if (++w.arrived < WARP) return wait(w.generation);
    compute(w);
    w.arrived = 0;
    w.generation++;
}

static int lane_index() { return world.current % WARP; }

static void publish_later(void* to, tagged value, int bytes) {
    if (world.n_publications == PUBLICATIONS) give_up(TOO_MANY);
    world.publications[world.n_publications++] = {to, value, bytes};
}

static void publish(bool all) {
    for (int i = 0; i < world.n_publications;)
        if (all || draw(3) == 0) {
            Publication& p = world.publications[i];
            memcpy(p.to, &p.value, p.bytes);
            p = world.publications[--world.n_publications];
        } else
            i++;
}

static void begin() {
    world.body();
    fibre().done = true;
    block().left--;
    pause();
}

// Lets a warp run until each of its lanes waits -> whether any could run
static bool run_warp(int first) {
    bool ran = false;
    for (world.current = first; world.current < first + WARP; world.current++) {
        Fibre& f = fibre();
        if (f.done || (f.gate && *f.gate == f.closed)) continue;
        f.gate = nullptr;
        ran = true;
        switch_stack(&world.scheduler, f.stack_pointer);
        if (world.outcome != DONE) return ran;
    }
    return ran;
}

static bool run_block(int b, long round) {
    const int warps = world.threads / WARP, first = draw(warps);
    bool ran = false;
    for (int i = 0; i < warps; i++) {
        const int w = b * warps + (i + first) % warps;
        if (draw(4) == 0 || world.warps[w].nap > round) continue;
        if (draw(128) == 0) world.warps[w].nap = round + draw(NAP);
        ran |= run_warp(w * WARP);
    }
    return ran;
}

// Blocks start in order, no more than ``resident`` at a time.  -> whether any is left
static bool start_blocks(int resident) {
    int running = 0;
    for (int b = 0; b < world.n_blocks; b++)
        running += world.blocks[b].resident = world.blocks[b].left && running < resident;
    return running;
}

static void schedule(int resident) {
    long idle_since = 0;
    for (long round = 0; start_blocks(resident); round++) {
        const int shift = draw(world.n_blocks), step = draw(2) ? 1 : world.n_blocks - 1;
        for (int i = 0; i < world.n_blocks; i++) {
            const int b = (shift + i * step) % world.n_blocks;
            if (!world.blocks[b].resident || draw(4) == 0 || world.blocks[b].nap > round) continue;
            if (draw(256) == 0) world.blocks[b].nap = round + draw(NAP);
            if (run_block(b, round)) idle_since = round;
            if (world.outcome != DONE) return;
        }
        publish(false);
        if (round - idle_since > 3 * NAP || round > 1000000) {
            world.outcome = DEADLOCK;
            return;
        }
    }
}

static void build(int shared_words) {
    const int n = world.n_blocks * world.threads;
    world.fibres = (Fibre*)calloc(n, sizeof(Fibre));
    world.warps = (Warp*)calloc(n / WARP, sizeof(Warp));
    world.blocks = (Block*)calloc(world.n_blocks, sizeof(Block));
    world.stacks = (char*)aligned_alloc(64, (size_t)n * STACK);
    world.publications = (Publication*)malloc(PUBLICATIONS * sizeof(Publication));
    for (int i = 0; i < n; i++) {
        void** top = (void**)(world.stacks + (size_t)(i + 1) * STACK) - 2;
        *top = (void*)begin;
        world.fibres[i].stack_pointer = top - 6;  // which switch_stack pops
    }
    for (int i = 0; i < n / WARP; i++) world.warps[i].nap = draw(4) ? 0 : draw(NAP);
    for (int b = 0; b < world.n_blocks; b++) {
        const size_t bytes = ((shared_words + CANARY_WORDS) * 4 + 63) / 64 * 64;
        unsigned* shared = (unsigned*)aligned_alloc(64, bytes);
        for (int i = 0; i < shared_words + CANARY_WORDS; i++)
            shared[i] = i < shared_words ? NOT_WRITTEN : CANARY;
        world.blocks[b] = {{b % gridDim.x, b / gridDim.x % gridDim.y, b / gridDim.x / gridDim.y},
                           0,
                           0,
                           world.threads,
                           shared,
                           false,
                           draw(4) ? 0L : (long)draw(NAP)};
    }
}

static void demolish(int shared_words) {
    for (int b = 0; b < world.n_blocks; b++) {
        for (int i = 0; i < CANARY_WORDS; i++)
            if (world.blocks[b].shared[shared_words + i] != CANARY) world.outcome = OUT_OF_BOUNDS;
        free(world.blocks[b].shared);
    }
    free(world.fibres);
    free(world.warps);
    free(world.blocks);
    free(world.stacks);
    free(world.publications);
}

static Outcome launch(void (*body)(), const int* grid, int threads, int shared_bytes, int resident,
                      unsigned seed) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    world.body = body;
    world.threads = threads;
    world.n_blocks = grid[0] * grid[1] * grid[2];
    world.n_publications = 0;
    world.random = seed * 2654435761u + 1;
    world.outcome = DONE;
    build(shared_bytes / 4);
    schedule(resident ? resident : world.n_blocks);
    publish(true);
    demolish(shared_bytes / 4);
    return world.outcome;
}

static const void* given;  // the argument of the kernel that runs

template <typename Arguments>
static void call(void (*kernel)(Arguments)) {
    kernel(*(const Arguments*)given);
}

template <typename Arguments>
static constexpr unsigned long size_of(void (*)(Arguments)) {
    return sizeof(Arguments);
}

#define LAUNCHER(kernel)                                                                  \
    extern "C" unsigned long size_##kernel() { return size_of(kernel); }                  \
    extern "C" int run_##kernel(const int* grid, int threads, int shared_bytes,           \
                                const void* arguments, int resident, unsigned seed) {     \
        given = arguments;                                                                \
        return launch([] { call(kernel); }, grid, threads, shared_bytes, resident, seed); \
    }
