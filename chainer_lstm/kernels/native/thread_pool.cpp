#include "thread_pool.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <new>
#include <thread>

#include <pthread.h>
#include <sched.h>

namespace {

constexpr double work_worth_a_thread = 2e5;  // floating point operations, about 2 microseconds
constexpr int most_threads = 256;
constexpr int spins = 20000;  // tens of microseconds: longer than the Python between two calls

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// the register that controls floating point arithmetic; 0 where none is known
inline std::uint64_t mode() {
#if defined(__SSE__)
    return __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
    std::uint64_t fpcr;
    asm volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
#else
    return 0;
#endif
}

inline void set_mode(std::uint64_t mode) {
#if defined(__SSE__)
    __builtin_ia32_ldmxcsr(unsigned(mode));
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

#if defined(__SSE__)
constexpr std::uint64_t flush = 0x8040;  // FTZ for results, DAZ for operands
#else
constexpr std::uint64_t flush = std::uint64_t(1) << 24;  // FZ of AArch64, for both
#endif

template <typename Condition>
bool spin_until(Condition condition) {
    for (int k = 0; k < spins; k++) {
        if (condition()) return true;
        relax();
    }
    return condition();
}

struct State {
    std::mutex in_use;  // held by the thread whose job runs
    std::atomic<int> limit{1};
    int started = 0;  // threads that exist besides the callers; changes under `in_use`

    // A job: its number and its threads in one word, so that no thread can see one without the
    // other.
    std::atomic<std::uint64_t> job_number{0};
    void (*call)(const void*, Worker&) = nullptr;
    const void* job = nullptr;
    std::atomic<int> finished{0};

    // of the barrier
    std::atomic<int> arrived{0};
    std::atomic<std::uint32_t> phase{0};

    // Threads that have waited for long sleep until the next job.
    std::mutex sleep;
    std::condition_variable wake;
    std::atomic<int> asleep{0};
};

// never destroyed: threads may still run when the process ends
alignas(State) char memory[sizeof(State)];
State* pool = nullptr;

// Only the calling thread survives a fork, and a lock that another one held would stay locked.
void begin_anew() {
    const int limit = pool->limit;
    pool = new (memory) State;
    pool->limit = limit;
}

const bool begun = [] {
    pool = new (memory) State;
    pthread_atfork(nullptr, nullptr, begin_anew);
    return true;
}();

// The loop of a thread of the pool, from the job after number `seen` on.
void work(int id, std::uint64_t seen) {
    const FlushDenormals flush;
    for (;;) {
        const auto changed = [seen] { return pool->job_number.load() != seen; };
        if (!spin_until(changed)) {
            std::unique_lock<std::mutex> lock(pool->sleep);
            pool->asleep++;
            pool->wake.wait(lock, changed);
            pool->asleep--;
        }
        seen = pool->job_number.load();
        Worker worker{id, int(seen % most_threads) + 1};
        if (id >= worker.count) continue;  // a job for fewer threads
        pool->call(pool->job, worker);
        pool->finished++;
    }
}

// Starts threads until there are `count`; false where the system has no more of them.
bool start_threads(int count) {
    while (pool->started < count) {
        try {
            std::thread(work, pool->started + 1, pool->job_number.load()).detach();
        } catch (...) {
            return false;
        }
        pool->started++;
    }
    return true;
}

}  // namespace

FlushDenormals::FlushDenormals() : mode_(mode()) { set_mode(mode_ | flush); }

FlushDenormals::~FlushDenormals() { set_mode(mode_); }

void Worker::barrier() {
    if (count == 1) return;
    const std::uint32_t phase = pool->phase.load();
    if (pool->arrived.fetch_add(1) + 1 == count) {
        pool->arrived.store(0);
        pool->phase.store(phase + 1);
        return;
    }
    while (!spin_until([phase] { return pool->phase.load(std::memory_order_acquire) != phase; }))
        sched_yield();
}

int ThreadPool::limit() { return pool->limit; }

void ThreadPool::set_limit(int threads) {
    pool->limit = std::min(std::max(threads, 1), most_threads);
}

void ThreadPool::run_job(double work, void (*call)(const void*, Worker&), const void* job) {
    int count = int(std::min(work / work_worth_a_thread, double(pool->limit)));
    std::unique_lock<std::mutex> mine(pool->in_use, std::defer_lock);
    if (count > 1 && mine.try_lock() && !start_threads(count - 1)) count = pool->started + 1;
    if (count <= 1 || !mine.owns_lock()) {
        Worker alone{0, 1};
        call(job, alone);
        return;
    }
    pool->call = call;
    pool->job = job;
    pool->finished = 0;
    const std::uint64_t number = pool->job_number.load() / most_threads + 1;
    pool->job_number = number * most_threads + (count - 1);
    if (pool->asleep) {
        std::lock_guard<std::mutex> lock(pool->sleep);
        pool->wake.notify_all();
    }
    Worker first{0, count};
    call(job, first);
    while (!spin_until([count] { return pool->finished.load() == count - 1; })) sched_yield();
}
