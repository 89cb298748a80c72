// Matrix products of few rows: C = A B, with B in panels that lie in memory as the innermost loop reads them.

namespace SIMD {

constexpr int tile_rows = VECTOR_BYTES == 64 ? 6 : 3;  // rows and vectors of C that the registers hold
constexpr int tile_vectors = 4;
constexpr isize block = 256;   // rows of a panel that the nearest caches hold,
constexpr isize high = 192;    // rows of A with them
constexpr isize few = 32, very_few = 4, few_block = 64;
constexpr isize most_panels = 6;  // and panels packed at once

inline isize least(isize a, isize b) { return a < b ? a : b; }

inline isize up(isize n, isize step) { return (n + step - 1) / step * step; }

// elements (k, n) of a matrix at data[k * row + n * col]
template <typename T>
struct Matrix {
    T* data;
    isize row, col;

    T* at(isize k, isize n) const { return data + k * row + n * col; }
    Matrix from(isize k, isize n) const { return {at(k, n), row, col}; }
};

template <typename T>
Matrix<const T> transposed(Matrix<const T> m) { return {m.data, m.col, m.row}; }

// a piece of C (R rows, V vectors of which `width` elements are there) += A B, or = A B
template <typename T, int R, int V, int AHEAD>
void tile(Matrix<const T> a, const T* b, isize b_row, isize K, T* c, isize c_row, isize width, bool add) {
    Vec<T> sum[R][V];
    UNROLL
    for (int r = 0; r < R; r++)
        UNROLL
        for (int v = 0; v < V; v++) sum[r][v] = T(0);
    for (isize k = 0; k < K; k++) {
        Vec<T> row[V];
        UNROLL
        for (int v = 0; v < V; v++) {
            row[v] = Vec<T>::load(b + k * b_row + v * lanes<T>);
            if (AHEAD) __builtin_prefetch(b + (k + AHEAD) * b_row + v * lanes<T>);
        }
        UNROLL
        for (int r = 0; r < R; r++) {
            const Vec<T> x(a.data[r * a.row + k * a.col]);
            UNROLL
            for (int v = 0; v < V; v++) sum[r][v] += x * row[v];
        }
    }
    // what is there is added last: a sum of short sums has the smaller error
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

template <typename T, int AHEAD, int V, int... R>
auto tile_of(isize rows, std::integer_sequence<int, R...>) {
    static constexpr decltype(&tile<T, 1, V, AHEAD>) tiles[] = {tile<T, R + 1, V, AHEAD>...};
    return tiles[rows - 1];
}

template <typename T, int AHEAD>
auto tile_of(isize rows, isize vectors) {
    typedef std::make_integer_sequence<int, tile_rows> All;
    switch (vectors) {
        case 1: return tile_of<T, AHEAD, 1>(rows, All{});
        case 2: return tile_of<T, AHEAD, 2>(rows, All{});
        case 3: return tile_of<T, AHEAD, 3>(rows, All{});
        default: return tile_of<T, AHEAD, 4>(rows, All{});
    }
}

// C (M, width) of one panel of at most tile_vectors vectors; AHEAD rows of B before they are needed they are asked for
template <typename T, int AHEAD = 0>
void panel_product(isize M, isize K, isize width, Matrix<const T> a, const T* b, isize b_row, T* c, isize c_row,
                   bool add) {
    const isize vectors = up(width, lanes<T>) / lanes<T>, tiles = up(M, tile_rows) / tile_rows;
    for (isize t = 0; t < tiles; t++) {  // as equally high as they can be: low tiles wait for memory
        const isize m = M * t / tiles, rows = M * (t + 1) / tiles - m;
        tile_of<T, AHEAD>(rows, vectors)(a.from(m, 0), b, b_row, K, c + m * c_row, c_row, width, add);
    }
}

// (rows, cols) of a matrix to dense rows of to_row elements
template <typename T>
void copy(Matrix<const T> from, isize rows, isize cols, T* to, isize to_row) {
    constexpr isize n = lanes<T>;
    if (from.col == 1) {
        for (isize k = 0; k < rows; k++) std::memcpy(to + k * to_row, from.at(k, 0), cols * sizeof(T));
        return;
    }
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
        for (isize c = k < whole_rows ? whole_cols : 0; c < cols; c++) to[k * to_row + c] = *from.at(k, c);
}

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

    static isize size(isize K, isize columns) { return K * up(columns, lanes<T>); }

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

// a piece of C (R, 4) = A Bᵀ, or += A Bᵀ, of rows in which the elements lie side by side
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
        typedef std::make_integer_sequence<int, tile_rows> All;
        const isize tiles = up(M, tile_rows) / tile_rows;
        for (isize n = panels.begin(first); n < panels.begin(last);) {
            const isize width = panels.begin(last) - n < 4 ? 1 : 4;
            for (isize t = 0; t < tiles; t++) {
                const isize m = M * t / tiles, rows = M * (t + 1) / tiles - m;
                dots_of<T>(rows, All{})(a.at(m, 0), a.row, b.at(0, n), width == 4 ? b.col : 0, K, c + m * N + n, N, width,
                                        add);
            }
            n += width;
        }
    });
}

// C (M, N) = A (M, K) B (K, N) + bias (N,), or without bias, or C += A B
template <typename T>
void product(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, const T* bias, bool add, T* c) {
    if (M == 0 || N == 0) return;
    if (M <= few && K && !bias && a.col == 1 && (b.col == 1 || (b.row == 1 && M <= very_few)))
        return product_of_few(M, N, K, a, b, add, c);
    // rows of A that do not lie in rows are copied: their lines would drive each other out of the caches
    const bool copy_a = a.col != 1 && K > 1;
    const isize threads = Team::limit(), blocks = up(K, block) / block;
    const Panels<T> panels(0, N, threads);
    const isize parts = M <= high ? 1 : up(up(M, high) / high, threads);
    const isize groups = parts > 1 ? 1 : up(up(panels.count, most_panels) / most_panels, threads);
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
                for (isize p = first; p < last; p++) {
                    const isize n = panels.begin(p), next = least(p + most_panels, last);
                    if ((p - first) % most_panels == 0) pack(panels, p, next, b.from(k, 0), depth, packed_b);
                    const isize done = panels.begin(p - (p - first) % most_panels);
                    const isize width = panels.width(p);
                    panel_product(rows, depth, width, rows_of_a, packed_b + (n - done) * depth, up(width, lanes<T>),
                                  c + m * N + n, N, add || bias || j);
                }
            }
        }
    });
}

}  // namespace SIMD
