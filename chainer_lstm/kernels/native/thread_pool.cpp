#include "team.hpp"

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

struct Crew {
    std::mutex busy;
    std::atomic<int> limit{1};
    int hired = 0;  // workers that exist; changes under `busy`

    // a job: its number and its threads in one word, so that nobody sees the one without the other
    std::atomic<std::uint64_t> state{0};
    void (*call)(const void*, Worker&) = nullptr;
    const void* job = nullptr;
    std::atomic<int> finished{0};

    std::atomic<int> arrived{0};
    std::atomic<std::uint32_t> phase{0};

    std::mutex bed;
    std::condition_variable morning;
    std::atomic<int> asleep{0};
};

alignas(Crew) char memory[sizeof(Crew)];
Crew* crew = nullptr;

// workers do not survive a fork, and a lock held by another thread would stay held
void begin_anew() {
    const int limit = crew->limit;
    crew = new (memory) Crew;
    crew->limit = limit;
}

const bool begun = [] {
    crew = new (memory) Crew;
    pthread_atfork(nullptr, nullptr, begin_anew);
    return true;
}();

void work(int id, std::uint64_t seen) {
    const FlushDenormals flush;
    for (;;) {
        const auto changed = [seen] { return crew->state.load() != seen; };
        if (!spin_until(changed)) {
            std::unique_lock<std::mutex> lock(crew->bed);
            crew->asleep++;
            crew->morning.wait(lock, changed);
            crew->asleep--;
        }
        seen = crew->state.load();
        Worker worker{id, int(seen % most_threads) + 1};
        if (id >= worker.count) continue;
        crew->call(crew->job, worker);
        crew->finished++;
    }
}

bool hire(int count) {
    while (crew->hired < count) {
        try {
            std::thread(work, crew->hired + 1, crew->state.load()).detach();
        } catch (...) {
            return false;  // no more threads to be had: those there are will do
        }
        crew->hired++;
    }
    return true;
}

}  // namespace

FlushDenormals::FlushDenormals() : mode_(mode()) { set_mode(mode_ | flush); }

FlushDenormals::~FlushDenormals() { set_mode(mode_); }

void Worker::wait_for_all() {
    if (count == 1) return;
    const std::uint32_t phase = crew->phase.load();
    if (crew->arrived.fetch_add(1) + 1 == count) {
        crew->arrived.store(0);
        crew->phase.store(phase + 1);
        return;
    }
    while (!spin_until([phase] { return crew->phase.load(std::memory_order_acquire) != phase; }))
        sched_yield();
}

int Team::limit() { return crew->limit; }

void Team::set_limit(int threads) {
    crew->limit = threads < 1 ? 1 : threads < most_threads ? threads : most_threads;
}

void Team::run_job(double work, void (*call)(const void*, Worker&), const void* job) {
    const double worth = work / work_worth_a_thread;
    int count = worth < crew->limit ? int(worth) : crew->limit.load();
    std::unique_lock<std::mutex> mine(crew->busy, std::defer_lock);
    if (count > 1 && mine.try_lock() && !hire(count - 1)) count = crew->hired + 1;
    if (count <= 1 || !mine.owns_lock()) {
        Worker alone{0, 1};
        call(job, alone);
        return;
    }
    crew->call = call;
    crew->job = job;
    crew->finished = 0;
    const std::uint64_t number = crew->state.load() / most_threads + 1;
    crew->state = number * most_threads + (count - 1);
    if (crew->asleep) {
        std::lock_guard<std::mutex> lock(crew->bed);
        crew->morning.notify_all();
    }
    Worker first{0, count};
    call(job, first);
    while (!spin_until([count] { return crew->finished.load() == count - 1; })) sched_yield();
}
