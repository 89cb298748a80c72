// The threads of a call.
//
// The thread that calls run() is thread 0 of its job. It wakes up to 8 threads of the pool, each of
// which wakes up to 8 more. Threads that come in time form the team of the job; the job begins
// without those that are late, because a thread without a core would delay all others.
//
//   caller   call_next ── wait_for_seats ── job(0) ── barrier ── return
//               │              ^                         ^
//               v              │ take_seat               │ arrive
//   thread 1  wakes ───────────┴─ wait_for_team ─ job(1) ┴─ spins, then sleeps until the next call
//
// A thread waits for a counter: it spins first, because most waits are shorter than waking up, and
// then sleeps, so that a thread without a core gets this one's.
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

#include "crowding.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::nanoseconds;

// In floating point operations, of which a thread computes 100 in a nanosecond: another thread pays
// for 2 microseconds of work, and makes each meeting of all threads 0.1 microseconds longer.
constexpr double work_in_a_nanosecond = 100, work_worth_a_thread = 2e5, work_of_a_meeting = 1e4;
constexpr int most_threads = 64;  // one bit of a word for each
constexpr int called_by_one = 8;  // threads that one thread wakes, so that the last is woken early
// The time for which a thread spins before it sleeps: in a job about the time of falling asleep and
// waking up, between two jobs more than the time of the Python code between two steps.
constexpr microseconds spin_in_job{50}, spin_between_jobs{200};
// The time for which a job waits for its threads, at most a part of its time in one thread. In the
// long time most sleeping threads wake up. After a job for which an awake thread was late it waits
// for the short time: that thread has no core, and would not get one soon.
constexpr double long_call = 2e5 /*ns*/, short_call = 5e3, part_for_the_call = 0.25;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// the register that controls floating point arithmetic; 0 for other processors
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
bool spin_until(const Condition& condition, nanoseconds most) {
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

// A number that goes up by one at a time, for which threads wait.
class alignas(64) Counter {
public:
    std::uint32_t load() const { return value_.load(std::memory_order_acquire); }

    // by one thread at a time; returns whether it woke others
    bool advance() {
        value_ = load() + 1;
        const bool asleep = sleepers_ > 0;
        if (asleep) wake();
        return asleep;
    }

    // Waits until the number is no longer `old`; returns for how long it has slept.
    nanoseconds wait(std::uint32_t old, microseconds spin) {
        if (spin_until([&] { return load() != old; }, spin)) return nanoseconds(0);
        const auto begin = Clock::now();
        sleepers_++;  // before value_ is read again, as advance() does these in the other order
        while (value_ == old) sleep(old);
        sleepers_--;
        return Clock::now() - begin;
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
        std::lock_guard<std::mutex> lock(lock_);  // a thread that saw the old number is in wait()
        changed_.notify_all();
    }
#endif
};

// The state of the pool and of its job. A bit in `seats` is a called thread that has not come yet.
struct State {
    std::mutex in_use;  // held by the thread whose job runs
    std::atomic<int> limit{1}, cores{most_threads};
    std::atomic<int> forced{0};  // threads of every job, or 0
    int started = 0;             // threads that the pool has; changes under `in_use`

    void (*call)(const void*, Worker&) = nullptr;
    const void* job = nullptr;
    std::atomic<int> called{0};  // threads of the job, including the caller
    Counter calls[most_threads];
    Crowding<Clock> crowding;
    Clock::time_point last_call;
    nanoseconds slept{0};  // by thread 0 of the job

    // a bit for each thread; each word has its own cache line, since threads write them at once
    alignas(64) std::atomic<std::uint64_t> seats{0};  // called threads that have not come
    alignas(64) std::atomic<std::uint64_t> team{0};   // threads of the job; 0 before it begins
    Counter beginnings;

    alignas(64) std::atomic<int> arrived{0};  // threads of the job, at the barrier or at the end
    Counter meetings;
};

// never destroyed: threads may still run when the process ends
alignas(State) char memory[sizeof(State)];
State* pool = nullptr;

// Resets the pool in a forked process: only the calling thread survives a fork, and a lock that
// another thread held would stay locked.
void reset_after_fork() {
    const int limit = pool->limit, cores = pool->cores, forced = pool->forced;
    pool = new (memory) State;
    pool->limit = limit;
    pool->cores = cores;
    pool->forced = forced;
}

const bool begun = [] {
    pool = new (memory) State;
    pthread_atfork(nullptr, nullptr, reset_after_fork);
    return true;
}();

// Calls the threads that thread `id` has to call; returns whether some of them were asleep.
bool call_next(int id) {
    const int first = called_by_one * id + 1;
    const int last = std::min(first + called_by_one, pool->called.load());
    bool asleep = false;
    for (int k = first; k < last; k++) asleep |= pool->calls[k].advance();
    return asleep;
}

// a set of the first threads
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

// Waits until the job has begun; returns its team.
std::uint64_t wait_for_team() {
    for (;;) {
        const std::uint32_t beginning = pool->beginnings.load();
        if (const std::uint64_t team = pool->team) return team;
        pool->beginnings.wait(beginning, spin_in_job);
    }
}

// Marks a called thread as there; returns whether it is in the team. The last thread begins the
// job, which is sooner than the caller could see that all are there.
bool take_seat(int id) {
    const std::uint64_t seat = std::uint64_t(1) << id, seats = pool->seats.fetch_and(~seat);
    if (seats == seat) begin(bits(pool->called));
    return seats & seat;
}

// Waits for the called threads, of which some may have been asleep; begins the job without those
// that are late. Returns its team.
std::uint64_t wait_for_seats(int threads, double work, bool asleep) {
    const double most = work * part_for_the_call / work_in_a_nanosecond;
    const double wait =
        std::min(most, pool->crowding.was_late() && !asleep ? short_call : long_call);
    const auto patience = std::chrono::nanoseconds(std::int64_t(wait));
    const auto all_came = [] { return !pool->seats; };
    while (pool->forced && !all_came()) std::this_thread::yield();
    if (spin_until(all_came, patience)) return bits(threads);
    const std::uint64_t missing = pool->seats.exchange(0);
    if (missing) begin(bits(threads) & ~missing);
    return bits(threads) & ~missing;
}

// Counts a thread at a barrier; the last one lets all go on, and returns true.
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
        pool->calls[id].wait(seen, spin_between_jobs);
        seen = pool->calls[id].load();
        call_next(id);
        if (!take_seat(id)) continue;
        Worker worker = member(wait_for_team(), id);
        pool->call(pool->job, worker);
        arrive(worker);
    }
}

// Starts threads until there are `count`; returns false if the system cannot start more.
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
    if (arrive(*this)) return;
    const nanoseconds slept = pool->meetings.wait(before, spin_in_job);
    if (id == 0) pool->slept += slept;
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
    if (threads > 1 && !pool->forced && pool->crowding.is_present()) threads = 1;
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
    pool->slept = nanoseconds(0);
    const auto begin = Clock::now();
    // Thread 0 calls some threads itself, and does not see whether the others sleep. A thread that
    // was called a short time ago would be awake if it had a core.
    const bool woken = call_next(0) || threads > called_by_one + 1;
    const bool asleep = woken && begin - pool->last_call > spin_between_jobs;
    pool->last_call = begin;
    Worker first = member(wait_for_seats(threads, work * meetings, asleep), 0);
    call(job, first);
    first.barrier();
    pool->crowding.end_job(begin, first.count < threads, pool->slept);
}
