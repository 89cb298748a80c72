// The threads of a call: the calling one and workers that are kept, asleep when there is nothing to
// do.
#ifndef CHAINER_LSTM_TEAM_HPP
#define CHAINER_LSTM_TEAM_HPP

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

// one thread's part in a job
struct Worker {
    int id, count;
    // no thread goes on before all have come
    void wait_for_all();
};

class Team {
public:
    // job(worker) in as many threads as the work, in floating point operations, is worth; in this
    // one alone where another Python thread has the team
    template <typename Job>
    static void run(double work, const Job& job) {
        run_job(
            work, [](const void* job, Worker& worker) { (*static_cast<const Job*>(job))(worker); },
            &job);
    }

    static int limit();
    static void set_limit(int threads);

private:
    static void run_job(double work, void (*call)(const void*, Worker&), const void* job);
};

// numbers [0, count), each given out once, to whoever asks next
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
