#include "thread_pool.hpp"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <mutex>
#include <new>
#include <thread>

#include <pthread.h>
#ifdef __linux__
    #include <linux/futex.h>
    #include <sys/syscall.h>
    #include <unistd.h>
#else
    #include <condition_variable>
#endif

namespace {

using std::chrono::microseconds;

// In floating point operations, of which a thread does some in a nanosecond: a thread is worth 2
// microseconds of work, and each makes a meeting of all some 0.1 microseconds longer.
constexpr double work_in_a_nanosecond = 100, work_worth_a_thread = 2e5, work_of_a_meeting = 1e4;
constexpr int most_threads = 64;  // a bit each
constexpr int called_by_one = 8;  // threads of a job that one thread calls
// How long a thread spins before it sleeps: in a job about as long as it takes to sleep and to be
// woken, between two jobs longer than the Python between two steps.
constexpr microseconds spin_in_job{50}, spin_between_jobs{200};
// How long a job waits for its threads to come: most that sleep are there by then. At most a part
// of the time that it takes in one thread.
constexpr double longest_call = 2e5 /*ns*/, part_for_the_call = 0.25;

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
bool spin_until(const Condition& condition, std::chrono::nanoseconds most) {
    using Clock = std::chrono::steady_clock;
    const auto some = [&] {
        for (int k = 0; k < 32; k++) {
            if (condition()) return true;
            relax();
        }
        return false;
    };
    if (some()) return true;  // most often, without reading the clock
    for (const auto end = Clock::now() + most; Clock::now() < end;)
        if (some()) return true;
    return false;
}

// A number that goes up by one at a time. Threads wait for that: they spin, for most waits are
// shorter than it takes to be woken; then they sleep, so that a thread that has no core gets
// theirs.
class alignas(64) Counter {
public:
    std::uint32_t load() const { return value_.load(std::memory_order_acquire); }

    // by one thread at a time
    void advance() {
        value_ = load() + 1;
        if (sleepers_) wake();
    }

    // Waits until the number is no longer `old`, and returns it.
    std::uint32_t wait(std::uint32_t old, microseconds spin) {
        if (spin_until([&] { return load() != old; }, spin)) return load();
        sleepers_++;  // before value_ is read again, as advance() does these in the other order
        while (value_ == old) sleep(old);
        sleepers_--;
        return load();
    }

private:
    std::atomic<std::uint32_t> value_{0};
    std::atomic<int> sleepers_{0};

#ifdef __linux__
    void sleep(std::uint32_t old) {
        syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
    }

    void wake() { syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
#else
    std::mutex lock_;
    std::condition_variable changed_;

    void sleep(std::uint32_t old) {
        std::unique_lock<std::mutex> lock(lock_);
        changed_.wait(lock, [&] { return value_ != old; });
    }

    void wake() {
        std::lock_guard<std::mutex> lock(lock_);  // what has seen the old number sleeps
        changed_.notify_all();
    }
#endif
};

// Threads that a job calls take their seats. The job begins when all have come or some time has
// passed, with those that have: a thread that has no core just now would keep the others waiting.
struct State {
    std::mutex in_use;  // held by the thread whose job runs
    std::atomic<int> limit{1}, cores{most_threads};
    std::atomic<int> forced{0};  // threads of every job, or 0
    int started = 0;             // threads that exist besides the callers; changes under `in_use`

    void (*call)(const void*, Worker&) = nullptr;
    const void* job = nullptr;
    std::atomic<int> called{0};  // threads, with the one whose job it is
    Counter calls[most_threads];

    // threads, a bit each
    alignas(64) std::atomic<std::uint64_t> seats{0};  // of the called ones that have not come
    alignas(64) std::atomic<std::uint64_t> team{0};   // of the job; none before it begins
    Counter beginnings;

    alignas(64) std::atomic<int> arrived{0};  // threads of the job, at the barrier or at the end
    Counter meetings;
};

// never destroyed: threads may still run when the process ends
alignas(State) char memory[sizeof(State)];
State* pool = nullptr;

// Only the calling thread survives a fork, and a lock that another one held would stay locked.
void begin_anew() {
    const int limit = pool->limit, cores = pool->cores, forced = pool->forced;
    pool = new (memory) State;
    pool->limit = limit;
    pool->cores = cores;
    pool->forced = forced;
}

const bool begun = [] {
    pool = new (memory) State;
    pthread_atfork(nullptr, nullptr, begin_anew);
    return true;
}();

// Each thread that is called calls some: so the last of many are called early.
void call_next(int id) {
    const int first = called_by_one * id + 1;
    const int last = std::min(first + called_by_one, pool->called.load());
    for (int k = first; k < last; k++) pool->calls[k].advance();
}

// one for each of the first threads
std::uint64_t bits(int threads) {
    return threads ? ~std::uint64_t(0) >> (most_threads - threads) : 0;
}

Worker member(std::uint64_t team, int id) {
    return {__builtin_popcountll(team & bits(id)), __builtin_popcountll(team)};
}

void begin(std::uint64_t team) {
    pool->team = team;
    pool->beginnings.advance();
}

// The team of the job, once it has begun.
std::uint64_t wait_for_team() {
    for (;;) {
        const std::uint32_t beginning = pool->beginnings.load();
        if (const std::uint64_t team = pool->team) return team;
        pool->beginnings.wait(beginning, spin_in_job);
    }
}

// Takes the seat of a thread that was called; returns whether the job had not begun before. The
// last one begins it: that is sooner than the caller could see it.
bool take_seat(int id) {
    const std::uint64_t seat = std::uint64_t(1) << id, seats = pool->seats.fetch_and(~seat);
    if (seats == seat) begin(bits(pool->called));
    return seats & seat;
}

// Begins the job if some threads do not come in time; returns its team.
std::uint64_t wait_for_seats(int threads, double work) {
    const double most = work * part_for_the_call / work_in_a_nanosecond;
    const auto patience = std::chrono::nanoseconds(std::int64_t(std::min(most, longest_call)));
    const auto all_came = [] { return !pool->seats; };
    while (pool->forced && !all_came()) std::this_thread::yield();
    if (spin_until(all_came, patience)) return bits(threads);
    const std::uint64_t missing = pool->seats.exchange(0);
    if (missing) begin(bits(threads) & ~missing);
    return bits(threads) & ~missing;
}

// Whether all other threads of the job have come, which then may go on.
bool arrive(const Worker& worker) {
    if (pool->arrived.fetch_add(1) + 1 < worker.count) return false;
    pool->arrived = 0;
    pool->meetings.advance();
    return true;
}

// The loop of a thread of the pool.
void work(int id) {
    const FlushDenormals flush;
    for (std::uint32_t seen = 0;;) {
        seen = pool->calls[id].wait(seen, spin_between_jobs);
        call_next(id);
        if (!take_seat(id)) continue;
        Worker worker = member(wait_for_team(), id);
        pool->call(pool->job, worker);
        arrive(worker);
    }
}

// Starts threads until there are `count`; false where the system has no more of them.
bool start_threads(int count) {
    while (pool->started < count) {
        try {
            std::thread(work, pool->started + 1).detach();
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
    const std::uint32_t before = pool->meetings.load();
    if (!arrive(*this)) pool->meetings.wait(before, spin_in_job);
}

int ThreadPool::limit() { return pool->limit; }

void ThreadPool::set_limit(int threads) {
    pool->limit = std::max(std::min(threads, int(pool->cores)), 1);
}

void ThreadPool::set_cores(int cores) { pool->cores = std::min(cores, most_threads); }

void ThreadPool::force(int threads) { pool->forced = std::min(threads, most_threads); }

int ThreadPool::count(double work) {
    if (const int forced = pool->forced) return forced;
    // the number n at which work / n + n * work_of_a_meeting is least
    const double best = std::sqrt(work / work_of_a_meeting);
    const double most = std::min(work / work_worth_a_thread, double(pool->limit));
    return std::max(int(std::min(best, most)), 1);
}

void ThreadPool::run_job(double work, double meetings, void (*call)(const void*, Worker&),
                         const void* job) {
    int threads = count(work);
    std::unique_lock<std::mutex> mine(pool->in_use, std::defer_lock);
    if (threads > 1 && mine.try_lock() && !start_threads(threads - 1)) threads = pool->started + 1;
    if (threads == 1 || !mine.owns_lock()) {
        Worker alone{0, 1};
        call(job, alone);
        return;
    }
    pool->call = call;
    pool->job = job;
    pool->called = threads;
    pool->team = 0;
    pool->seats = bits(threads) - 1;
    call_next(0);
    Worker first = member(wait_for_seats(threads, work * meetings), 0);
    call(job, first);
    first.barrier();
}
