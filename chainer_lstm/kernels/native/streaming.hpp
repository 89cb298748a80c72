// Products C = A B of few rows, as in a single step.
//
// They take as long as loading B from memory, so B is not packed, which would write it once more,
// but streamed:
//
//   stream_rows: rows of B are contiguous          stream_columns: columns of B are (x @ W.T)
//     for each 6 panels:                             copy A to whole cache lines if it has many
//     rows
//       for each streamed_block rows of B:           for columns that the first-level cache holds:
//         for each panel:                              for each tile of rows of A:
//           sum += A * part of the panel                 for each 4 columns:
//       C = sum                                            C = 4 dot products per row of A
#ifndef CHAINER_LSTM_STREAMING_HPP
#define CHAINER_LSTM_STREAMING_HPP

#include <unistd.h>

#include "panels.hpp"

namespace SIMD {

// The most rows of A if the rows of B are contiguous, and the block of K.
constexpr isize streamed_rows = 32, streamed_block = 128;
// The same if the columns of B are contiguous: the most rows of A; the K from which on the sums
// across the lanes of a vector take less time than packing B for so many rows; and the bytes of B
// that a first-level cache of 32 KB holds beside a tile of A.
constexpr isize dots_rows = 96, dots_depth = 64, dots_bytes = 24 << 10;
constexpr isize most_panels = 6;  // panels that are summed up together

// bytes of the second-level cache of a core, or of a usual one if the system does not tell
inline isize second_level_cache() {
    static const isize bytes = [] {
#ifdef _SC_LEVEL2_CACHE_SIZE
        const isize known = sysconf(_SC_LEVEL2_CACHE_SIZE);
        if (known > 0) return known;
#endif
        return isize(1) << 20;
    }();
    return bytes;
}

// The columns of a matrix B (K, N), each of which is contiguous, in fours: for column n + 4 all
// four addresses are `step` further than for column n. The four may be rows of one weight, or of
// the weights of four gates.
template <typename T>
struct Columns {
    const T* of[4];
    isize step;

    Columns() = default;
    Columns(Matrix<const T> b)
        : of{b.at(0, 0), b.at(0, 1), b.at(0, 2), b.at(0, 3)}, step(b.col * 4) {}

    const T* at(isize n) const { return of[n % 4] + n / 4 * step; }
};

// A tile of rows of A prefetches nothing of B, the next four columns into the first-level cache, or
// some of four columns further away into the second.
enum class Prefetch { none, near, far };

// Those columns: [begin, end) of the four that come `fours` fours later.
struct Ahead {
    isize fours;
    int begin, end;
};

// A product A B, K multiplications for each element.
template <typename T>
struct Term {
    Matrix<const T> a;
    Columns<T> b;
    isize K;
};

// Keeps a vector in a register, if there are enough for a tile of R rows beside it. For 2 and 3
// rows GCC would load it again for each row, and loads across cache lines take twice the time.
template <int R, typename T>
INLINE void keep(Vec<T>& x) {
#if defined(__x86_64__) && VECTOR_BYTES >= 32
    constexpr int registers = VECTOR_BYTES == 64 ? 32 : 16;
    if constexpr ((R == 2 || R == 3) && 4 * R + 4 < registers) asm("" : "+v"(x.v));
#else
    (void)x;
#endif
}

// Adds A Bᵀ to sums of vectors, for a tile of rows of A and of four rows of B whose elements lie
// side by side. It prefetches rows that are `next` further: the hardware prefetches within a row,
// and waits for memory at the beginning of each.
template <typename T, int R, Prefetch P>
INLINE void add_dots(Vec<T> (&sum)[R][4], const T* a, isize a_row, const T* const (&b)[4], isize K,
                     isize next, const Ahead& ahead) {
    constexpr isize n = lanes<T>;
    const auto step = [&](isize k, const auto& at) __attribute__((always_inline)) {
        Vec<T> row[4];
        UNROLL
        for (int j = 0; j < 4; j++) {
            row[j] = at(b[j] + k);
            keep<R>(row[j]);
            if (P == Prefetch::near) __builtin_prefetch(b[j] + next + k);
        }
        if (P == Prefetch::far)
            for (int j = ahead.begin; j < ahead.end; j++) prefetch(b[j] + next + k);
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
}

// A tile of C (R, width), width 4 or 1, = the sum of some terms, or += it if `add`: rows from m on,
// columns from n on. Width 4 begins at a multiple of 4.
template <typename T, int R, Prefetch P>
void dots(const Term<T>* terms, int count, isize m, isize n, T* c, isize c_row, isize width,
          bool add, const Ahead& ahead) {
    typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
    Vec<T> sum[R][4];
    UNROLL
    for (int r = 0; r < R; r++) UNROLL
    for (int j = 0; j < 4; j++) sum[r][j] = T(0);
    for (const Term<T>* term = terms; term < terms + count; term++) {
        const auto column = [&](isize j) { return term->b.at(width == 4 ? n + j : n); };
        add_dots<T, R, P>(sum, term->a.at(m, 0), term->a.row,
                          {column(0), column(1), column(2), column(3)}, term->K,
                          ahead.fours * term->b.step, ahead);
    }
    Vec<T> totals[R];
    UNROLL
    for (int r = 0; r < R; r++) totals[r] = sum_of_four(sum[r]);
    constexpr int packed = lanes<T> / 4;  // rows of C in a vector
    sum_parts<packed>(totals);
    T found[(R + packed - 1) / packed * lanes<T>];
    UNROLL
    for (int k = 0; k < (R + packed - 1) / packed; k++) totals[k].store(found + k * lanes<T>);
    UNROLL
    for (int r = 0; r < R; r++) {
        const Four total = *reinterpret_cast<Four*>(found + 4 * r);
        T* const to = c + (m + r) * c_row + n;
        if (width == 4)
            *reinterpret_cast<Four*>(to) = add ? *reinterpret_cast<Four*>(to) + total : total;
        else
            *to = add ? *to + total[0] : total[0];
    }
}

// the instances of `dots` for tiles of 1, 2, … rows
template <typename T, Prefetch P, int... R>
auto all_dots(std::integer_sequence<int, R...>) {
    static constexpr decltype(&dots<T, 1, P>) all[] = {dots<T, R + 1, P>...};
    return all;
}

// Columns of panels [first, last) of C = A B or += A B, where B lies in rows.
template <typename T>
void stream_rows(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, bool add, T* c,
                 const Panels<T>& panels, isize first, isize last) {
    // Sums are in memory of the thread: two threads that add to the same cache line of C would take
    // it from each other at every block of K.
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

// Columns [first, last) of C (M, N) = the sum of some terms, or += it; `first` is a multiple of 4.
template <typename T>
void stream_columns(isize M, isize N, const Term<T>* terms, int count, bool add, T* c, isize first,
                    isize last) {
    const isize tiles = pieces(M, tile_rows);
    isize depth = 0;
    for (int k = 0; k < count; k++) depth += terms[k].K;
    const isize four = 4 * std::max<isize>(depth, 1) * isize(sizeof(T));  // bytes of four columns
    // columns that stay in the first-level cache for all tiles of A
    const isize most = std::max<isize>(dots_bytes / four, 1) * 4;
    // A single tile prefetches the next four columns; if the first-level cache does not hold them
    // beside these, into the second. Several tiles share that, unless the second-level cache holds
    // all columns from one call to the next.
    const bool alone = tiles == 1, near = alone && four <= dots_bytes / 2,
               far = alone || (last - first) * four / 4 > second_level_cache() / 2;
    const std::make_integer_sequence<int, tile_rows> heights;
    const auto* const tile_dots = near  ? all_dots<T, Prefetch::near>(heights)
                                  : far ? all_dots<T, Prefetch::far>(heights)
                                        : all_dots<T, Prefetch::none>(heights);
    for (isize some = first; some < last; some += most) {
        const isize end = std::min(some + most, last);
        for (isize t = 0; t < tiles; t++) {
            const isize m = M * t / tiles, rows = M * (t + 1) / tiles - m;
            const Ahead ahead{alone ? 1 : most / 4, int(4 * t / tiles), int(4 * (t + 1) / tiles)};
            for (isize n = some, width; n < end; n += width) {
                width = n + 4 <= end ? 4 : 1;
                tile_dots[rows - 1](terms, count, m, n, c, N, width, add, ahead);
            }
        }
    }
}

// Panels [first, last) of C (M, N) = A B or += A B, where B was packed before, K rows of a panel at
// a time.
template <typename T>
void multiply_packed(isize M, isize K, Matrix<const T> a, const T* packed, const Panels<T>& panels,
                     isize first, isize last, bool add, T* c) {
    for (isize p = first; p < last; p++) {
        const isize row = round_up(panels.width(p), lanes<T>);
        const T* const b = packed + panels.begin(p) * K;
        panel_product<T, true>(M, K, panels.width(p), a, b, row, c + panels.begin(p), panels.last,
                               add, b + K * row);
    }
}

// Returns whether A has so few rows that packing B would take longer than multiplying by it.
template <typename T>
bool is_streamed(isize M, isize K, Matrix<const T> a, Matrix<const T> b) {
    if (!K || a.col != 1) return false;
    if (b.col == 1) return M <= streamed_rows;
    return b.row == 1 && (M <= tile_rows || (M <= dots_rows && K >= dots_depth));
}

// The elements of a copy of A (M, K) whose rows begin at cache lines: of two vectors that are
// multiplied only one should lie across lines. 0 for a single tile, which copying would not pay
// for.
template <typename T>
isize aligned_size(isize M, isize K) {
    return M > tile_rows ? M * round_up(K, lanes<T>) : 0;
}

// Returns this copy, and makes the thread's part of it; or A itself if the copy has no elements.
template <typename T>
Matrix<const T> aligned(const Worker& w, isize M, isize K, Matrix<const T> a, T* to) {
    if (!aligned_size<T>(M, K)) return a;
    const isize row = round_up(K, lanes<T>), first = w.begin(M);
    copy(a.from(first, 0), w.end(M) - first, K, to + first * row, row);
    return {to, row, 1};
}

// A thread's part of C = A B or += A B.
template <typename T>
void stream_part(const Worker& w, isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b,
                 bool add, T* c) {
    const Panels<T> panels(0, N, w.count);
    const isize first = w.begin(panels.count), last = w.end(panels.count);
    if (b.col == 1) return stream_rows(M, N, K, a, b, add, c, panels, first, last);
    const Term<T> product{a, b, K};
    stream_columns(M, N, &product, 1, add, c, panels.begin(first), panels.begin(last));
}

}  // namespace SIMD

#endif
