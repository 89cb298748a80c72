// Matrix products C = A B of many rows, by panels of B; few rows are in streaming.hpp.
//
// A panel is some vectors of columns of B, packed so that its rows follow each other in memory:
//
//                     panel
//                  ┌───┬───┬───┐
//               K  │   │   │   │ B         for each layer of K, at most two blocks of k_block:
//          K       ├───┼───┼───┤             for each group of panels:
//        ┌─────┐   │   │   │   │               pack the panels of the group; barrier
//   rows │     │   ├───┼───┼───┤               for each task, a block of rows of A:
//        ├─────┤   │   │   │   │                 for each few panels in the second-level cache:
//      M │  A  │   │   │ C │   │                   for each tile of rows:
//        └─────┘   └───┴───┴───┘                     for each panel: tile of C += rows * panel
//
// All threads read all panels of a group, so they meet between packing and multiplying. They take
// tasks from a counter: a thread that was late takes fewer.
#ifndef CHAINER_LSTM_PRODUCT_HPP
#define CHAINER_LSTM_PRODUCT_HPP

#include "streaming.hpp"

namespace SIMD {

// k_block: the most numbers that are added up in one sum, which bounds its rounding error.
// most_sums: the most such sums for which a panel of B is packed. row_block: the rows of A that are
// multiplied at a time; of most_sums * k_block floats each, 312 KiB, which a second-level cache
// holds beside some panels. It is a multiple of both heights of a tile, 6 and 3.
constexpr isize k_block = 416, most_sums = 2, row_block = 96;
// From so many rows of A on, the tiles share the prefetching of the next panel. With fewer, loading
// panels is most of the work, and the hardware prefetches them by itself.
constexpr isize rows_to_prefetch = 2 * tile_rows;
// bytes of B that are packed together for each thread: they stay in the caches near it
constexpr isize packed_together = 2 << 20;

// Panels of B (K, N), packed once for many products. Without memory B is not packed but streamed;
// then the rows of A are contiguous.
template <typename T>
class Packed {
public:
    const Panels<T> panels;
    const isize K;

    Packed(const Panels<T>& panels, isize K, T* memory)
        : panels(panels),
          K(K),
          streams_(false),
          sums_(pieces(std::max<isize>(K, 1), k_block)),
          memory_(memory) {}

    Packed(const Panels<T>& panels, isize K, const Columns<T>& streamed)
        : panels(panels), K(K), streams_(true), streamed_(streamed) {}

    // panels [first, last) of B
    void pack(Matrix<const T> b, isize first, isize last) const {
        SIMD::pack(panels, first, last, b, K, at(first));
    }

    T* at(isize p) const { return memory_ + (panels.begin(p) - panels.first) * K; }  // panel p

    // Computes the columns of panels [first, last) of C (M, N) = A B, or += A B; c points to column
    // 0. If AHEAD, each panel is prefetched while the one before it is multiplied. If `backward`,
    // the last panel comes first: the caches still hold the panels that were read last.
    template <bool AHEAD = true>
    void multiply(isize first, isize last, isize M, Matrix<const T> a, T* c, isize c_row, bool add,
                  bool backward = false) const {
        if (streams_) {
            const Term<T> product{a, streamed_, K};
            return stream_columns(M, c_row, &product, 1, add, c, panels.begin(first),
                                  panels.begin(last));
        }
        const auto multiply =
            AHEAD && M >= rows_to_prefetch ? panel_product<T, true> : panel_product<T, false>;
        for (isize i = first; i < last; i++) {
            const isize p = backward ? first + last - 1 - i : i;
            const isize width = panels.width(p), row = round_up(width, lanes<T>);
            multiply(M, K, width, a, at(p), row, c + panels.begin(p), c_row, add,
                     at(backward ? std::max(p - 1, first) : p + 1), sums_);
        }
    }

    // The same for many rows of A. Some panels, which the second-level cache holds beside A, are
    // multiplied by the rows of one tile after the other, so that A and C are read row by row.
    void multiply_rows(isize first, isize last, isize M, Matrix<const T> a, T* c, isize c_row,
                       bool add) const {
        const isize bytes = std::max<isize>(K, 1) * tile_vectors * sizeof(Vec<T>);
        const isize some = std::max<isize>(second_level_cache() / 2 / bytes, 1);
        const isize groups = pieces(last - first, some), tiles = pieces(M, tile_rows);
        for (isize g = 0; g < groups; g++)
            for (isize t = 0; t < tiles; t++) {
                const isize m = M * t / tiles, rows = M * (t + 1) / tiles - m;
                multiply<false>(first + (last - first) * g / groups,
                                first + (last - first) * (g + 1) / groups, rows, a.from(m, 0),
                                c + m * c_row, c_row, add);
            }
    }

    // all of C
    void multiply(isize M, Matrix<const T> a, T* c, isize c_row, bool add, bool backward) const {
        multiply(0, panels.count, M, a, c, c_row, add, backward);
    }

private:
    const bool streams_;
    const isize sums_ = 1;
    const Columns<T> streamed_{};
    T* const memory_ = nullptr;
};

// Computes C (M, N) = A (M, K) B (K, N) + bias (N,) or null, or C += A B; packs B as a whole.
template <typename T>
void packed_product(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, const T* bias,
                    bool add, T* c, isize c_row) {
    // A transposed A is copied: with a stride of a power of two, its cache lines would evict each
    // other.
    const bool copy_a = a.col != 1 && K > 1;
    const isize threads = ThreadPool::count(2.0 * M * N * K);
    const Panels<T> panels(0, N, threads);
    // A task is a part of the rows and, if there are too few rows for all threads, a group of
    // panels.
    const isize wanted = pieces(M, row_block),
                parts = wanted < threads ? wanted : round_up(wanted, threads);
    const isize groups = parts < threads ? std::min(pieces(2 * threads, parts), panels.count) : 1;
    Arena<T> arena(panels.vectors * lanes<T> * K);
    const Packed<T> packed(panels, K, arena.allocate(0));
    Tasks tasks(parts * groups);
    ThreadPool::run(2.0 * M * N * K, [&](Worker& w) {
        alignas(64) static thread_local T copied_a[most_sums * k_block * row_block];
        packed.pack(b, w.begin(panels.count), w.end(panels.count));
        w.barrier();
        for (isize task; tasks.next(task);) {
            const isize m = M * (task / groups) / parts, rows = M * (task / groups + 1) / parts - m;
            const isize first = panels.count * (task % groups) / groups;
            const isize last = panels.count * (task % groups + 1) / groups;
            const isize begin = panels.begin(first), width = panels.begin(last) - begin;
            for (isize r = m; r < m + rows && bias; r++)
                std::memcpy(c + r * c_row + begin, bias + begin, width * sizeof(T));
            Matrix<const T> rows_of_a = a.from(m, 0);
            if (copy_a) {
                copy(transposed(rows_of_a), K, rows, copied_a, rows);
                rows_of_a = {copied_a, 1, rows};
            }
            packed.multiply_rows(first, last, rows, rows_of_a, c + m * c_row, c_row, add || bias);
        }
    });
}

// The same for B of any size, packed in parts that fit the caches; or streamed, for few rows.
template <typename T>
void product(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, const T* bias,
             bool add, T* c) {
    if (M == 0 || N == 0) return;
    if (is_streamed(M, K, a, b)) {
        for (isize m = 0; bias && m < M; m++) std::memcpy(c + m * N, bias, N * sizeof(T));
        const isize size = b.col == 1 ? 0 : aligned_size<T>(M, K);
        Arena<T> arena(size);
        T* const memory = arena.allocate(0);
        return ThreadPool::run(2.0 * M * N * K, [&](Worker& w) {
            const Matrix<const T> rows = size ? aligned(w, M, K, a, memory) : a;
            if (size) w.barrier();
            stream_part(w, M, N, K, rows, b, add || bias, c);
        });
    }
    constexpr isize panel = tile_vectors * lanes<T>;
    // layers of K do not depend on the number of threads, so that results do not either
    const isize layers = pieces(std::max<isize>(K, 1), most_sums * k_block);
    const isize bytes = pieces(K, layers) * panel * sizeof(T);
    const isize broad =
        std::max<isize>(ThreadPool::limit() * packed_together / std::max<isize>(bytes, 1), 1);
    const isize panels = pieces(N, panel), groups = pieces(panels, broad);
    for (isize j = 0; j < layers; j++)
        for (isize g = 0; g < groups; g++) {
            const isize k = K * j / layers, depth = K * (j + 1) / layers - k;
            const isize n = panels * g / groups * panel,
                        end = std::min(panels * (g + 1) / groups * panel, N);
            packed_product(M, end - n, depth, a.from(0, k), b.from(k, n),
                           bias && !j ? bias + n : nullptr, add || j, c + n, N);
        }
}

}  // namespace SIMD

#endif
