// Matrix products C = A B, made panel by panel of the columns of B.

namespace SIMD {

constexpr isize block = 256, high = 192, most_panels = 6;  // of K, of M, and panels of N that the caches hold together
constexpr isize few = 32, few_block = 64;                  // the most rows of A, and the block of K, without packing

// where the panels of the columns [first, last) begin: as equally wide as they can be, none empty
template <typename T>
struct Panels {
    isize first, last, vectors, count;

    Panels(isize first, isize last, isize multiple = 1)
        : first(first), last(last), vectors(up(last - first, lanes<T>) / lanes<T>),
          count(least(up(up(vectors, tile_vectors) / tile_vectors, multiple), vectors)) {}

    isize begin(isize p) const {
        return count ? least(first + vectors * p / count * lanes<T>, last) : first;
    }
    isize width(isize p) const { return begin(p + 1) - begin(p); }
};

// panels [first, last) of B (K, N) in memory, one after the other: K rows of whole vectors, zeros after their end
template <typename T>
void pack(const Panels<T>& panels, isize first, isize last, Matrix<const T> b, isize K, T* to) {
    const auto at = [&](isize p) { return to + (panels.begin(p) - panels.begin(first)) * K; };
    if (b.col == 1) {  // row by row, as it lies in memory
        for (isize k = 0; k < K; k++)
            for (isize p = first; p < last; p++) {
                const isize width = panels.width(p);
                std::memcpy(at(p) + k * up(width, lanes<T>), b.at(k, panels.begin(p)), width * sizeof(T));
            }
    } else {
        for (isize p = first; p < last; p++)
            copy(b.from(0, panels.begin(p)), K, panels.width(p), at(p), up(panels.width(p), lanes<T>));
    }
    for (isize p = first; p < last; p++) {
        const isize width = panels.width(p), row = up(width, lanes<T>);
        for (isize k = 0; width < row && k < K; k++) std::memset(at(p) + k * row + width, 0, (row - width) * sizeof(T));
    }
}

// columns [first, last) of B (K, N), packed once and multiplied by often
template <typename T>
class Packed {
public:
    Packed(Matrix<const T> b, isize K, isize first, isize last, T* room) : panels(first, last), K(K), room(room) {
        pack(panels, 0, panels.count, b, K, room);
    }

    // columns [first, last) of C (M, N) = A B, or += A B; c points to column 0
    void multiply(isize M, Matrix<const T> a, T* c, isize c_row, bool add) const {
        for (isize p = 0; p < panels.count; p++) {
            const isize width = panels.width(p), row = up(width, lanes<T>);
            const T* b = room + (panels.begin(p) - panels.first) * K;
            for (isize k = 0; k < K; k += block)
                panel_product(M, least(K - k, block), width, a.from(0, k), b + k * row, row,
                              c + panels.begin(p), c_row, add || k > 0);
        }
    }

private:
    Panels<T> panels;
    isize K;
    T* room;
};

// a piece of C (R, width), width at most 4, = A Bᵀ or += A Bᵀ, for rows of A and B whose elements lie side by side
template <typename T, int R>
void dots(const T* a, isize a_row, const T* b, isize b_row, isize K, T* c, isize c_row, isize width, bool add) {
    Vec<T> sum[R][4];
    UNROLL
    for (int r = 0; r < R; r++)
        UNROLL
        for (int n = 0; n < 4; n++) sum[r][n] = T(0);
    const auto step = [&](isize k, isize left) __attribute__((always_inline)) {
        Vec<T> row[4];
        UNROLL
        for (int n = 0; n < 4; n++) row[n] = load(b + n * b_row + k, left);
        UNROLL
        for (int r = 0; r < R; r++) {
            const Vec<T> x = load(a + r * a_row + k, left);
            UNROLL
            for (int n = 0; n < 4; n++) sum[r][n] += x * row[n];
        }
    };
    isize k = 0;
    for (; k + lanes<T> <= K; k += lanes<T>) step(k, lanes<T>);
    if (k < K) step(k, K - k);
    for (int r = 0; r < R; r++) {
        T parts[lanes<T>];
        sum_of_four(sum[r]).store(parts);
        for (isize n = 0; n < width; n++) {
            T total = parts[n];
            for (int j = 4; j < lanes<T>; j += 4) total += parts[j + n];
            c[r * c_row + n] = add ? c[r * c_row + n] + total : total;
        }
    }
}

template <typename T, int... R>
auto dots_of(isize rows, std::integer_sequence<int, R...>) {
    static constexpr decltype(&dots<T, 1>) all[] = {dots<T, R + 1>...};
    return all[rows - 1];
}

// the same as product for so few rows of A that packing B would take longer than multiplying by it
template <typename T>
void product_of_few(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, bool add, T* c) {
    const isize threads = Team::limit();
    const Panels<T> panels(0, N, threads);
    Team::run(2.0 * M * N * K, [&](Worker& w) {
        const isize first = panels.count * w.id / w.count, last = panels.count * (w.id + 1) / w.count;
        if (b.col == 1) {
            for (isize k = 0; k < K; k += few_block)
                for (isize p = first; p < last; p++) {
                    const isize n = panels.begin(p), depth = least(K - k, few_block);
                    const isize width = panels.width(p), row = up(width, lanes<T>);
                    T* const to = c + n;
                    if (width == row) {
                        panel_product<T, 16>(M, depth, width, a.from(0, k), b.at(k, n), b.row, to, N, add || k);
                    } else {  // a vector would reach beyond the end of B
                        alignas(64) T packed[few_block * tile_vectors * lanes<T>];
                        pack(panels, p, p + 1, b.from(k, 0), depth, packed);
                        panel_product(M, depth, width, a.from(0, k), packed, row, to, N, add || k);
                    }
                }
            return;
        }
        const auto dots = dots_of<T>(M, std::make_integer_sequence<int, tile_rows>{});
        isize n = panels.begin(first);
        for (; n + 4 <= panels.begin(last); n += 4) dots(a.data, a.row, b.at(0, n), b.col, K, c + n, N, 4, add);
        for (; n < panels.begin(last); n++) dots(a.data, a.row, b.at(0, n), 0, K, c + n, N, 1, add);
    });
}

// C (M, N) = A (M, K) B (K, N) + bias (N,), or without bias, or C += A B
template <typename T>
void product(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, const T* bias, bool add, T* c) {
    if (M == 0 || N == 0) return;
    if (M <= few && K && a.col == 1 && (b.col == 1 || (b.row == 1 && M <= tile_rows))) {
        for (isize m = 0; bias && m < M; m++) std::memcpy(c + m * N, bias, N * sizeof(T));
        return product_of_few(M, N, K, a, b, add || bias, c);
    }
    // rows of A that do not lie in rows are copied: their lines would drive each other out of the caches
    const bool copy_a = a.col != 1 && K > 1;
    const isize threads = Team::limit(), blocks = up(K, block) / block;
    const Panels<T> panels(0, N, threads);
    // a task is a part of the rows and, where these are too few for all threads, a group of the panels
    const isize wanted = up(M, high) / high, parts = wanted < threads ? wanted : up(wanted, threads);
    const isize groups = parts < threads ? least(up(2 * threads, parts) / parts, panels.count) : 1;
    Tasks tasks(parts * groups);
    Team::run(2.0 * M * N * K, [&](Worker&) {
        alignas(64) static thread_local T packed_b[block * most_panels * tile_vectors * lanes<T>];
        alignas(64) static thread_local T copied_a[block * high];
        for (isize task; tasks.next(task);) {
            const isize m = M * (task / groups) / parts, rows = M * (task / groups + 1) / parts - m;
            const isize first = panels.count * (task % groups) / groups;
            const isize last = panels.count * (task % groups + 1) / groups;
            const isize begin = panels.begin(first), width = panels.begin(last) - begin;
            for (isize r = m; r < m + rows && !add && (bias || K == 0); r++) {
                if (bias)
                    std::memcpy(c + r * N + begin, bias + begin, width * sizeof(T));
                else
                    std::memset(c + r * N + begin, 0, width * sizeof(T));
            }
            for (isize j = 0; j < blocks; j++) {
                const isize k = K * j / blocks, depth = K * (j + 1) / blocks - k;
                Matrix<const T> rows_of_a = a.from(m, k);
                if (copy_a) {
                    copy(transposed(rows_of_a), depth, rows, copied_a, rows);
                    rows_of_a = {copied_a, 1, rows};
                }
                for (isize some = first; some < last; some += most_panels) {
                    const isize end = least(some + most_panels, last);
                    pack(panels, some, end, b.from(k, 0), depth, packed_b);
                    for (isize p = some; p < end; p++) {
                        const isize n = panels.begin(p), width = panels.width(p);
                        const T* const packed = packed_b + (n - panels.begin(some)) * depth;
                        panel_product(rows, depth, width, rows_of_a, packed, up(width, lanes<T>), c + m * N + n, N,
                                      add || bias || j);
                    }
                }
            }
        }
    });
}

}  // namespace SIMD
