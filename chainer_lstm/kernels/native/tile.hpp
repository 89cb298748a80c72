// The innermost loops of the products, and copies in the order in which these read.

namespace SIMD {

// rows and vectors of C that the registers hold
constexpr int tile_rows = VECTOR_BYTES == 64 ? 6 : 3;
constexpr int tile_vectors = 4;
constexpr int rows_ahead = 16;  // of short rows to be copied, that are brought nearer

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
Matrix<const T> transposed(Matrix<const T> m) {
    return {m.data, m.col, m.row};
}

// from memory into the second cache: the first has no room for what is not needed yet
INLINE void bring_nearer(const void* p) { __builtin_prefetch(p, 0, 2); }

// a piece of C (R rows, V vectors of which `width` elements are there) += A B, or = A B; if AHEAD,
// `vectors` of each row from next on, as far apart as those of B, are brought nearer
template <typename T, int R, int V, bool AHEAD>
void tile(Matrix<const T> a, const T* b, isize b_row, isize K, T* c, isize c_row, isize width,
          bool add, const T* next, isize vectors) {
    Vec<T> sum[R][V];
    UNROLL
    for (int r = 0; r < R; r++) UNROLL
    for (int v = 0; v < V; v++) sum[r][v] = T(0);
    UNROLL
    for (int r = 0; r < R && add; r++)  // what is added to at the end comes from memory meanwhile
        UNROLL
    for (int v = 0; v < V; v++) __builtin_prefetch(c + r * c_row + v * lanes<T>, 1);
    for (isize k = 0; k < K; k++) {
        Vec<T> row[V];
        UNROLL
        for (int v = 0; v < V; v++) row[v] = Vec<T>::load(b + k * b_row + v * lanes<T>);
        for (isize v = 0; AHEAD && v < vectors; v++) bring_nearer(next + k * b_row + v * lanes<T>);
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

template <typename T, bool AHEAD, int V, int... R>
auto tile_of(isize rows, std::integer_sequence<int, R...>) {
    static constexpr decltype(&tile<T, 1, V, AHEAD>) tiles[] = {tile<T, R + 1, V, AHEAD>...};
    return tiles[rows - 1];
}

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

// C (M, width) of one panel of at most tile_vectors vectors; if AHEAD, a panel of B to come is
// brought nearer meanwhile
template <typename T, bool AHEAD = false>
void panel_product(isize M, isize K, isize width, Matrix<const T> a, const T* b, isize b_row, T* c,
                   isize c_row, bool add, const T* next = nullptr) {
    const isize vectors = up(width, lanes<T>) / lanes<T>, tiles = up(M, tile_rows) / tile_rows;
    // as equally high as they can be: low tiles wait for memory
    for (isize t = 0; t < tiles; t++) {
        const isize m = M * t / tiles, rows = M * (t + 1) / tiles - m;
        const isize begin = vectors * t / tiles, end = vectors * (t + 1) / tiles;
        tile_of<T, AHEAD>(rows, vectors)(a.from(m, 0), b, b_row, K, c + m * c_row, c_row, width,
                                         add, next + begin * lanes<T>, end - begin);
    }
}

// (rows, cols) of a matrix to dense rows of to_row elements
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
