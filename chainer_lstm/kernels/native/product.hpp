// Matrix products C = A B, panel by panel of the columns of B.
#ifndef CHAINER_LSTM_PRODUCT_HPP
#define CHAINER_LSTM_PRODUCT_HPP

#include "streaming.hpp"

namespace SIMD {

// The block of K, of which a panel of B stays in the second-level cache, and the rows of A that are
// multiplied by it at a time.
constexpr isize k_block = 416, row_block = 96;
// So many rows of A share the prefetching of a panel. Fewer would load little else, and the
// hardware prefetches what lies in a row by itself.
constexpr isize rows_to_prefetch = 2 * tile_rows;
// how many blocks of panels are packed together at most, and of how many panels side by side
constexpr isize most_packed = 96, least_wide = 16;

// Panels of B (K, N), packed once for many products, with K in equal blocks. Or, without memory for
// that, streamed: then each column of B lies in a row, and A is dense.
template <typename T>
class Packed {
public:
    const Panels<T> panels;
    const isize K, blocks;

    Packed(Matrix<const T> b, const Panels<T>& panels, isize K, T* memory /*or null*/)
        : panels(panels), K(K), blocks(pieces(K, k_block)), b_(b), memory_(memory) {}

    // panels [first, last)
    void pack(isize first, isize last) const {
        if (memory_) SIMD::pack(panels, first, last, b_, K, at(first));
    }

    isize start(isize j) const { return K * j / blocks; }  // of block j

    T* at(isize p) const { return memory_ + (panels.begin(p) - panels.first) * K; }  // panel p

    // Columns of panels [first, last) of C (M, N) = A B, or += A B, by the blocks [from, to) of K;
    // A begins with these, c points to column 0. If `backward`, the last panel comes first.
    void multiply(isize first, isize last, isize from, isize to, isize M, Matrix<const T> a, T* c,
                  isize c_row, bool add, bool backward = false) const {
        if (!memory_)
            return stream_columns(M, c_row, K, a, b_, add, c, panels.begin(first),
                                  panels.begin(last));
        for (isize i = first; i < last; i++) {
            const isize p = backward ? first + last - 1 - i : i;
            const isize width = panels.width(p), row = round_up(width, lanes<T>);
            const T* const next = at(backward ? std::max(p - 1, first) : p + 1);
            for (isize j = from; j < to; j++) {
                const isize k = start(j), depth = start(j + 1) - k;
                const T* const b = at(p) + k * row;
                const auto multiply =
                    M < rows_to_prefetch ? panel_product<T> : panel_product<T, true>;
                multiply(M, depth, width, a.from(0, k - start(from)), b, row, c + panels.begin(p),
                         c_row, add || j > from, j + 1 < blocks ? b + depth * row : next);
            }
        }
    }

    // all of C
    void multiply(isize M, Matrix<const T> a, T* c, isize c_row, bool add, bool backward) const {
        multiply(0, panels.count, 0, blocks, M, a, c, c_row, add, backward);
    }

private:
    Matrix<const T> b_;
    T* memory_;
};

// C (M, N) = A (M, K) B (K, N) + bias (N,), or without bias, or C += A B; B is packed as a whole.
template <typename T>
void packed_product(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, const T* bias,
                    bool add, T* c, isize c_row) {
    // Columns of A that lie in rows are copied: with a stride of a power of two, their cache lines
    // would evict each other.
    const bool copy_a = a.col != 1 && K > 1;
    const isize threads = ThreadPool::limit();
    const Panels<T> panels(0, N, threads);
    // A task is a part of the rows and, where these are too few for all threads, a group of panels.
    const isize wanted = pieces(M, row_block),
                parts = wanted < threads ? wanted : round_up(wanted, threads);
    const isize groups = parts < threads ? std::min(pieces(2 * threads, parts), panels.count) : 1;
    Arena<T> arena(panels.vectors * lanes<T> * K);
    const Packed<T> packed(b, panels, K, arena.take(0));
    Tasks tasks(parts * groups);
    ThreadPool::run(2.0 * M * N * K, [&](Worker& w) {
        alignas(64) static thread_local T copied_a[k_block * row_block];
        packed.pack(w.begin(panels.count), w.end(panels.count));
        w.barrier();
        for (isize task; tasks.next(task);) {
            const isize m = M * (task / groups) / parts, rows = M * (task / groups + 1) / parts - m;
            const isize first = panels.count * (task % groups) / groups;
            const isize last = panels.count * (task % groups + 1) / groups;
            const isize begin = panels.begin(first), width = panels.begin(last) - begin;
            for (isize r = m; r < m + rows && !add && (bias || K == 0); r++) {
                if (bias)
                    std::memcpy(c + r * c_row + begin, bias + begin, width * sizeof(T));
                else
                    std::memset(c + r * c_row + begin, 0, width * sizeof(T));
            }
            // Block by block of K, or panel by panel: so the larger one of A and C is read once.
            const isize step = copy_a || K > N ? 1 : packed.blocks;
            for (isize j = 0; j < packed.blocks; j += step) {
                Matrix<const T> rows_of_a = a.from(m, packed.start(j));
                if (copy_a) {
                    copy(transposed(rows_of_a), packed.start(j + 1) - packed.start(j), rows,
                         copied_a, rows);
                    rows_of_a = {copied_a, 1, rows};
                }
                packed.multiply(first, last, j, j + step, rows, rows_of_a, c + m * c_row, c_row,
                                add || bias || j);
            }
        }
    });
}

// The same for any B, which is packed in parts that the caches hold.
template <typename T>
void product(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, const T* bias,
             bool add, T* c) {
    if (M == 0 || N == 0) return;
    if (is_streamed(M, K, a, b)) {
        for (isize m = 0; bias && m < M; m++) std::memcpy(c + m * N, bias, N * sizeof(T));
        return ThreadPool::run(2.0 * M * N * K,
                               [&](Worker& w) { stream_part(w, M, N, K, a, b, add || bias, c); });
    }
    constexpr isize panel = tile_vectors * lanes<T>;
    const isize panels = pieces(N, panel), blocks = pieces(std::max<isize>(K, 1), k_block);
    const isize deep = std::min(blocks, most_packed / std::min(panels, least_wide)),
                broad = most_packed / deep;
    const isize layers = pieces(blocks, deep), groups = pieces(panels, broad);
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
