// The threads of a call: the calling one and those of a pool, which sleep between calls.
#ifndef CHAINER_LSTM_THREAD_POOL_HPP
#define CHAINER_LSTM_THREAD_POOL_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>

// Treats denormal numbers as zero, as operands and as results, in the calling thread until the end
// of the scope; then the mode is the caller's again. Each operation on them takes some hundred
// cycles, and vanishing gradients are full of them.
class FlushDenormals {
public:
    FlushDenormals();
    ~FlushDenormals();
    FlushDenormals(const FlushDenormals&) = delete;

private:
    const std::uint64_t mode_;  // the caller's
};

// One of the threads of a job.
struct Worker {
    int id, count;

    // Waits until all threads of the job have called it.
    void barrier();

    // where the part of this thread, of n things, begins, and where it ends
    std::ptrdiff_t begin(std::ptrdiff_t n) const { return n * id / count; }
    std::ptrdiff_t end(std::ptrdiff_t n) const { return n * (id + 1) / count; }
};

class ThreadPool {
public:
    // Calls job(worker) in as many threads as are worth the work, in floating point operations from
    // one meeting of them to the next, and have a core; in the calling one alone where another
    // Python thread uses the pool.
    template <typename Job>
    static void run(double work, const Job& job, double meetings = 1) {
        run_job(
            work, meetings,
            [](const void* job, Worker& worker) { (*static_cast<const Job*>(job))(worker); }, &job);
    }

    // in how many threads a job runs at most
    static int count(double work);

    // the most threads of a job, and of that the most: more than there are cores would wait for one
    static int limit();
    static void set_limit(int threads);
    static void set_cores(int cores);
    // for tests: every job has so many threads, whatever it is worth; with 0 as otherwise
    static void force(int threads);

private:
    static void run_job(double work, double meetings, void (*call)(const void*, Worker&),
                        const void* job);
};

// The numbers [0, count) in falling order, each given out once, to the next thread that asks.
class Tasks {
public:
    explicit Tasks(std::ptrdiff_t count) : left_(count) {}

    bool next(std::ptrdiff_t& task) {
        task = left_.fetch_sub(1, std::memory_order_relaxed) - 1;
        return task >= 0;
    }

private:
    std::atomic<std::ptrdiff_t> left_;
};

#endif
