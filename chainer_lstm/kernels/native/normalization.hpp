// Normalization of rows to mean 0 and variance 1, and the gradients through it.
#ifndef CHAINER_LSTM_NORMALIZATION_HPP
#define CHAINER_LSTM_NORMALIZATION_HPP

#include "arguments.hpp"
#include "vectors.hpp"

namespace SIMD {

// The mean of a row, and the factor of the differences from it, 1 / sqrt(variance + epsilon).
template <typename T>
struct Moments {
    T mean, scale;

    Moments(isize n, const T* x, double epsilon) {
        Vec<T> sum(T(0)), squares(T(0));
        each_vector<T>(0, n, [&](isize k, isize width) __attribute__((always_inline)) {
            sum += load(x + k, width);
        });
        const isize count = std::max<isize>(n, 1);
        mean = sum_of(sum) / count;
        each_vector<T>(0, n, [&](isize k, isize width) __attribute__((always_inline)) {
            const Vec<T> difference = load(x + k, width, mean) - mean;
            squares += difference * difference;
        });
        scale = T(1 / __builtin_sqrt(double(sum_of(squares)) / count + epsilon));
    }
};

// The gradients through the normalization of a row: y is the normalized row, g the gradients with
// respect to y.
template <typename T>
struct Through {
    Vec<T> sum = T(0), along = T(0);

    INLINE void add(Vec<T> g, Vec<T> y) {
        sum += g;
        along += g * y;
    }

    // Ends the sums over all n numbers; from then on, `operator()` returns the gradient with
    // respect to the row.
    void finish(isize n, T scale) {
        mean_ = sum_of(sum) / n;
        mean_along_ = sum_of(along) / n;
        scale_ = scale;
    }

    INLINE Vec<T> operator()(Vec<T> g, Vec<T> y) const {
        return (g - mean_ - y * mean_along_) * scale_;
    }

private:
    T mean_, mean_along_, scale_;
};

// gx = the gradient with respect to a row, from gy with respect to y = the normalized row * gain.
// The products gy * gain pass through memory, so that the mean is that of the rounded ones: where
// they are equal, or one alone, their differences from it are exactly 0, whatever the scale.
template <typename T>
void through_row(isize N, const T* gy, const T* gain, const T* normalized, T scale, T* gx) {
    Through<T> through;
    each_vector<T>(0, N, [&](isize k, isize n) __attribute__((always_inline)) {
        const Vec<T> g = load(gy + k, n) * load(gain + k, n);
        store(gx + k, g, n);
        through.add(g, load(normalized + k, n));
    });
    through.finish(N, scale);
    each_vector<T>(0, N, [&](isize k, isize n) __attribute__((always_inline)) {
        store(gx + k, through(load(gx + k, n), load(normalized + k, n)), n);
    });
}

// floating point operations that one number is counted as, to choose the number of threads
constexpr double work_of_normalization = 10;

template <typename T>
void compute(const Normalize<T>& s) {
    const isize N = s.columns;
    ThreadPool::run(work_of_normalization * s.rows * N, [&](Worker& worker) {
        for (isize r = worker.begin(s.rows); r < worker.end(s.rows); r++) {
            const Moments<T> moments(N, s.x + r * N, s.numbers.of[0]);
            s.scale[r] = moments.scale;
            each_vector<T>(0, N, [&](isize k, isize n) __attribute__((always_inline)) {
                T* const x = s.x + r * N + k;
                const Vec<T> normalized = (load(x, n) - moments.mean) * moments.scale;
                store(x, normalized, n);
                store(s.y + r * N + k, normalized * load(s.gain + k, n) + load_or_zero(s.b, k, n),
                      n);
            });
        }
    });
}

template <typename T>
void compute(const NormalizeBackward<T>& s) {
    const isize N = s.columns;
    ThreadPool::run(work_of_normalization * s.rows * N, [&](Worker& worker) {
        for (isize r = worker.begin(s.rows); r < worker.end(s.rows); r++)
            through_row(N, s.gy + r * N, s.gain, s.normalized + r * N, s.scale[r], s.gx + r * N);
    });
}

}  // namespace SIMD

#endif
