// The threads of a call: the calling thread and those of a pool, which sleep between calls.
#ifndef CHAINER_LSTM_THREAD_POOL_HPP
#define CHAINER_LSTM_THREAD_POOL_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>

// Treats denormal operands and results as zero in the calling thread until the end of the scope,
// then restores the mode. An operation on a denormal number takes a hundred cycles, and vanishing
// gradients are full of them.
class FlushDenormals {
public:
    FlushDenormals();
    ~FlushDenormals();
    FlushDenormals(const FlushDenormals&) = delete;

private:
    const std::uint64_t mode_;  // the mode to restore
};

// One of the threads of a job.
struct Worker {
    int id, count;

    // Waits until all threads of the job have called it.
    void barrier();

    // Begin and end of this thread's part of n things. Thread 0 gets as many as any other: if it
    // waits for long, another has lost its core.
    std::ptrdiff_t begin(std::ptrdiff_t n) const { return (n * id + count - 1) / count; }
    std::ptrdiff_t end(std::ptrdiff_t n) const { return (n * (id + 1) + count - 1) / count; }
};

class ThreadPool {
public:
    // Calls job(worker) in each thread of a team, whose size follows from the work, in floating
    // point operations between two barriers, and from the cores. While another Python thread uses
    // the pool, the team is the calling thread alone.
    template <typename Job>
    static void run(double work, const Job& job, double meetings = 1) {
        run_job(
            work, meetings,
            [](const void* job, Worker& worker) { (*static_cast<const Job*>(job))(worker); }, &job);
    }

    // the most threads in which a job of so much work runs
    static int count(double work);

    // The most threads of a job. It is at most the number of cores: further threads would wait for
    // a core, and all others for them.
    static int limit();
    static void set_limit(int threads);
    static void set_cores(int cores);
    // for tests: every job gets so many threads; 0 restores the usual number
    static void force(int threads);

private:
    static void run_job(double work, double meetings, void (*call)(const void*, Worker&),
                        const void* job);
};

// The numbers [0, count) in descending order; each goes to the next thread that asks.
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
