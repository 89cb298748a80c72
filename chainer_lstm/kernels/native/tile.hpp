// The innermost loops of the products, on register tiles, and copies of matrices.
//
//                  tile_vectors (4) vectors
//                 ┌────┬────┬────┬────┐
//   row k of B    │    │    │    │    │   for each k, one row of a panel:
//                 └────┴────┴────┴────┘     load 4 vectors of B
//             k   ┌────┬────┬────┬────┐     for each of tile_rows rows of A:
//   tile_rows ▒   │    sums in        │       broadcast A[m, k]
//        of A ▒   │    registers      │       4 sums += it * the vectors of B
//                 └────┴────┴────┴────┘   then C = sums, or C += sums
//
// So each k costs 4 loads of vectors and tile_rows loads of numbers for 4 * tile_rows
// multiplications of vectors.
#ifndef CHAINER_LSTM_TILE_HPP
#define CHAINER_LSTM_TILE_HPP

#include "simd.hpp"

namespace SIMD {

// The rows and vectors of C that are summed up in registers. 6 x 4 sums, 4 vectors of B and one
// number of A take 29 of the 32 registers of AVX-512. Other instruction sets have 16, of which 3 x
// 4 sums leave 4.
constexpr int tile_rows = VECTOR_BYTES == 64 ? 6 : 3;
constexpr int tile_vectors = 4;

constexpr int rows_ahead = 16;  // a copy prefetches so far: the hardware does not for short rows

INLINE isize round_up(isize n, isize step) { return (n + step - 1) / step * step; }

// the number of pieces of at most `size` of which n things consist
INLINE isize pieces(isize n, isize size) { return (n + size - 1) / size; }

// A matrix whose element (k, n) is at data[k * row + n * col].
template <typename T>
struct Matrix {
    T* data;
    isize row, col;

    T* at(isize k, isize n) const { return data + k * row + n * col; }
    Matrix from(isize k, isize n) const { return {at(k, n), row, col}; }
};

template <typename T>
Matrix<const T> transposed(Matrix<const T> m) {
    return {m.data, m.col, m.row};
}

// Prefetches into the second-level cache: the first has no room for data that is not needed yet.
INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

// Computes a tile of C (R rows, V vectors with `width` elements) = A B, or += A B if `add`. If
// AHEAD, it prefetches `vectors` vectors of each row from next on, with the row stride of B.
// A is passed by reference: a copy on the stack would be read before the stores to it, and to the
// tile before, have reached the cache.
template <typename T, int R, int V, bool AHEAD>
void tile(const Matrix<const T>& a, const T* b, isize b_row, isize K, T* c, isize c_row,
          isize width, bool add, const T* next, isize vectors) {
    Vec<T> sum[R][V];
    UNROLL
    for (int r = 0; r < R; r++) UNROLL
    for (int v = 0; v < V; v++) sum[r][v] = T(0);
    UNROLL
    for (int r = 0; r < R; r++)  // C is written at the end, and is loaded meanwhile
        UNROLL
    for (int v = 0; v < V; v++) __builtin_prefetch(c + r * c_row + v * lanes<T>, 1);
    for (isize k = 0; k < K; k++) {
        Vec<T> row[V];
        UNROLL
        for (int v = 0; v < V; v++) row[v] = Vec<T>::load(b + k * b_row + v * lanes<T>);
        for (isize v = 0; AHEAD && v < vectors; v++) prefetch(next + k * b_row + v * lanes<T>);
        UNROLL
        for (int r = 0; r < R; r++) {
            const Vec<T> x(a.data[r * a.row + k * a.col]);
            UNROLL
            for (int v = 0; v < V; v++) sum[r][v] += x * row[v];
        }
    }
    // C is added last: a sum of short sums has a smaller error than one long sum
    UNROLL
    for (int r = 0; r < R; r++) {
        T edge[V * lanes<T>] = {};
        T *const there = c + r * c_row, *const to = width == V * lanes<T> ? there : edge;
        if (add && to == edge) std::memcpy(edge, there, width * sizeof(T));
        UNROLL
        for (int v = 0; v < V; v++) {
            if (add) sum[r][v] += Vec<T>::load(to + v * lanes<T>);
            sum[r][v].store(to + v * lanes<T>);
        }
        if (to == edge) std::memcpy(there, edge, width * sizeof(T));
    }
}

template <typename T, bool AHEAD, int V, int... R>
auto tile_of(isize rows, std::integer_sequence<int, R...>) {
    static constexpr decltype(&tile<T, 1, V, AHEAD>) tiles[] = {tile<T, R + 1, V, AHEAD>...};
    return tiles[rows - 1];
}

// the instance of `tile` for a number of rows and vectors
template <typename T, bool AHEAD>
auto tile_of(isize rows, isize vectors) {
    typedef std::make_integer_sequence<int, tile_rows> All;
    switch (vectors) {
        case 1:
            return tile_of<T, AHEAD, 1>(rows, All{});
        case 2:
            return tile_of<T, AHEAD, 2>(rows, All{});
        case 3:
            return tile_of<T, AHEAD, 3>(rows, All{});
        default:
            return tile_of<T, AHEAD, 4>(rows, All{});
    }
}

// Computes C (M, width) = A B or += A B for one panel of B, of at most tile_vectors vectors, as the
// sum of `sums` sums over equal parts of K. If AHEAD, each tile prefetches a part of the next
// panel.
template <typename T, bool AHEAD = false>
void panel_product(isize M, isize K, isize width, const Matrix<const T>& a, const T* b, isize b_row,
                   T* c, isize c_row, bool add, const T* next = nullptr, isize sums = 1) {
    const isize vectors = pieces(width, lanes<T>), tiles = pieces(M, tile_rows);
    // tiles of nearly equal heights: a low tile would wait for B instead of computing
    for (isize t = 0; t < tiles; t++) {
        const isize m = M * t / tiles, rows = M * (t + 1) / tiles - m;
        const isize begin = vectors * t / tiles, end = vectors * (t + 1) / tiles;
        const auto multiply = tile_of<T, AHEAD>(rows, vectors);
        for (isize j = 0; j < sums; j++) {  // one after the other: C stays in the first-level cache
            const isize k = K * j / sums, depth = K * (j + 1) / sums - k;
            multiply(a.from(m, k), b + k * b_row, b_row, depth, c + m * c_row, c_row, width,
                     add || j, next + k * b_row + begin * lanes<T>, end - begin);
        }
    }
}

// Copies (rows, cols) of a matrix into dense rows of to_row elements.
template <typename T>
void copy(Matrix<const T> from, isize rows, isize cols, T* to, isize to_row) {
    constexpr isize n = lanes<T>;
    if (from.col == 1) {
        for (isize k = 0; k < rows; k++) {
            for (isize c = 0; c < cols; c += n) __builtin_prefetch(from.at(k + rows_ahead, c));
            std::memcpy(to + k * to_row, from.at(k, 0), cols * sizeof(T));
        }
        return;
    }
    // contiguous columns are transposed in registers, a square at a time
    const isize whole_rows = from.row == 1 ? rows / n * n : 0, whole_cols = cols / n * n;
    for (isize c = 0; c < whole_cols; c += n)
        for (isize k = 0; k < whole_rows; k += n) {
            Vec<T> square[n];
            UNROLL
            for (int r = 0; r < n; r++) {
                square[r] = Vec<T>::load(from.at(k, c + r));
                __builtin_prefetch(from.at(k, c + n + r));  // of the next rows of squares
            }
            transpose(square);
            UNROLL
            for (int r = 0; r < n; r++) square[r].store(to + (k + r) * to_row + c);
        }
    for (isize k = 0; k < rows; k++)
        for (isize c = k < whole_rows ? whole_cols : 0; c < cols; c++)
            to[k * to_row + c] = *from.at(k, c);
}

}  // namespace SIMD

#endif
