// Sums of rows by class: the gradient of an embedding.
#ifndef CHAINER_LSTM_EMBEDDING_HPP
#define CHAINER_LSTM_EMBEDDING_HPP

#include "arguments.hpp"
#include "recurrence.hpp"
#include "vectors.hpp"

namespace SIMD {

constexpr double work_of_a_sum = 10;  // of one number, mostly the time of memory

// Threads share the classes to clear the sums, then the columns to add to them: so rows are added
// in the same order for any number of threads.
template <typename T>
void compute(const SumsByClass<T>& k) {
    const isize N = k.columns;
    ThreadPool::run(work_of_a_sum * N * (k.classes + k.rows), [&](Worker& worker) {
        const isize first = worker.begin(k.classes), last = worker.end(k.classes);
        if (N) std::memset(k.sums + first * N, 0, (last - first) * N * sizeof(T));
        worker.barrier();
        const Share mine(N, lanes<T>, worker);
        for (isize r = 0; r < k.rows; r++) {
            if (k.of[r] < 0 || k.of[r] >= k.classes) continue;
            const T* const row = k.x + r * N;
            T* const sum = k.sums + k.of[r] * N;
            each_vector<T>(mine.first, mine.last,
                           [&](isize u, isize n) __attribute__((always_inline)) {
                               store(sum + u, load(sum + u, n) + load(row + u, n), n);
                           });
        }
    });
}

}  // namespace SIMD

#endif
