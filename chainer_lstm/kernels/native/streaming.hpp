// Products of few rows, as in a single step: they take as long as B takes to come from memory, so B
// is not packed. It is streamed: while one part is multiplied by, the next is prefetched.
#ifndef CHAINER_LSTM_STREAMING_HPP
#define CHAINER_LSTM_STREAMING_HPP

#include "panels.hpp"

namespace SIMD {

// the most rows of A, the block of K, and the K from which on the sums across the lanes of a vector
// take no noticeable time
constexpr isize streamed_rows = 32, streamed_block = 128, streamed_depth = 300;
constexpr isize most_panels = 6;  // that are summed up together

// A tile of C (R, width), width 4 or 1, = A Bᵀ, or += A Bᵀ if `add`, for rows of A and B whose
// elements lie side by side. The row `next` of B is prefetched.
template <typename T, int R>
void dots(const T* a, isize a_row, const T* b, isize b_row, isize K, T* c, isize c_row, isize width,
          bool add, const T* next) {
    typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
    constexpr isize n = lanes<T>;
    Vec<T> sum[R][4];
    UNROLL
    for (int r = 0; r < R; r++) UNROLL
    for (int j = 0; j < 4; j++) sum[r][j] = T(0);
    const auto step = [&](isize k, const auto& at) __attribute__((always_inline)) {
        Vec<T> row[4];
        prefetch(next + k);
        UNROLL
        for (int j = 0; j < 4; j++) row[j] = at(b + j * b_row + k);
        UNROLL
        for (int r = 0; r < R; r++) {
            const Vec<T> x = at(a + r * a_row + k);
            UNROLL
            for (int j = 0; j < 4; j++) sum[r][j] += x * row[j];
        }
    };
    for (isize k = 0; k + n <= K; k += n)
        step(k, [](const T* p) __attribute__((always_inline)) { return Vec<T>::load(p); });
    if (K < n)
        step(0, [K](const T* p) { return load(p, K); });
    else if (K % n)
        step(K - n, [K](const T* p) __attribute__((always_inline)) { return load_last(p, K % n); });
    UNROLL
    for (int r = 0; r < R; r++) {
        T parts[n];
        sum_of_four(sum[r]).store(parts);
        Four total = *reinterpret_cast<Four*>(parts);
        for (int j = 4; j < n; j += 4) total += *reinterpret_cast<Four*>(parts + j);
        T* const to = c + r * c_row;
        if (width == 4)
            *reinterpret_cast<Four*>(to) = add ? *reinterpret_cast<Four*>(to) + total : total;
        else
            *to = add ? *to + total[0] : total[0];
    }
}

template <typename T, int... R>
auto dots_of(isize rows, std::integer_sequence<int, R...>) {
    static constexpr decltype(&dots<T, 1>) all[] = {dots<T, R + 1>...};
    return all[rows - 1];
}

// Columns of panels [first, last) of C = A B or += A B, where B lies in rows.
template <typename T>
void stream_rows(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, bool add, T* c,
                 const Panels<T>& panels, isize first, isize last) {
    // summed up in memory of the thread: two threads that add to one cache line of C would take it
    // from each other each time
    constexpr isize most = tile_vectors * lanes<T>, sum_row = most_panels * most;
    alignas(64) static thread_local T sum[streamed_rows * sum_row], packed[streamed_block * most];
    for (isize some = first; some < last; some += most_panels) {
        const isize end = std::min(some + most_panels, last), begin = panels.begin(some);
        for (isize k = 0; k < K; k += streamed_block)
            for (isize p = some; p < end; p++) {
                const isize n = panels.begin(p), width = panels.width(p),
                            row = round_up(width, lanes<T>);
                const isize depth = std::min(K - k, streamed_block);
                T* const to = sum + n - begin;
                if (width == row || (k + depth < K && b.row >= lanes<T>)) {
                    panel_product<T, true>(M, depth, row, a.from(0, k), b.at(k, n), b.row, to,
                                           sum_row, k, b.at(k + streamed_block, n));
                } else {  // a vector could reach beyond the end of B
                    pack(panels, p, p + 1, b.from(k, 0), depth, packed);
                    panel_product(M, depth, row, a.from(0, k), packed, row, to, sum_row, k);
                }
            }
        for (isize m = 0; m < M; m++)
            for (isize n = begin; n < panels.begin(end); n++)
                c[m * N + n] = sum[m * sum_row + n - begin] + (add ? c[m * N + n] : T(0));
    }
}

// Columns [first, last) of C = A B or += A B, where each column of B lies in a row.
template <typename T>
void stream_columns(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, bool add, T* c,
                    isize first, isize last) {
    const isize tiles = pieces(M, tile_rows);
    for (isize n = first, width; n < last; n += width) {
        width = n + 4 <= last ? 4 : 1;
        for (isize t = 0; t < tiles; t++) {
            const isize m = M * t / tiles, rows = M * (t + 1) / tiles - m;
            dots_of<T>(rows, std::make_integer_sequence<int, tile_rows>{})(
                a.at(m, 0), a.row, b.at(0, n), width == 4 ? b.col : 0, K, c + m * N + n, N, width,
                add, b.at(0, n + 4 + 4 * t / tiles));
        }
    }
}

// Whether A has so few rows that to pack B would take longer than to multiply by it.
template <typename T>
bool is_streamed(isize M, isize K, Matrix<const T> a, Matrix<const T> b) {
    return M <= streamed_rows && K && a.col == 1 &&
           (b.col == 1 || (b.row == 1 && (M <= tile_rows || K >= streamed_depth)));
}

// A thread's part of C = A B or += A B.
template <typename T>
void stream_part(const Worker& w, isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b,
                 bool add, T* c) {
    const Panels<T> panels(0, N, w.count);
    const isize first = w.begin(panels.count), last = w.end(panels.count);
    if (b.col == 1)
        stream_rows(M, N, K, a, b, add, c, panels, first, last);
    else
        stream_columns(M, N, K, a, b, add, c, panels.begin(first), panels.begin(last));
}

}  // namespace SIMD

#endif
