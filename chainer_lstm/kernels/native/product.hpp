// Matrix products C = A B, made panel by panel of the columns of B.

namespace SIMD {

// the blocks of K, and the rows of A and panels of B that are multiplied by each other at a time
constexpr isize block = 416, high = 96, most_panels = 6;
// blocks of panels that are packed together, of as many panels at least
constexpr isize most_packed = 96, wide = 16;
// without packing: the most rows of A, the block of K, and the K from which on sums across vectors
// do not matter
constexpr isize few = 32, few_block = 128, few_long = 300;

// where the panels of the columns [first, last) begin: as equally wide as they can be, none empty
template <typename T>
struct Panels {
    isize first, last, vectors, count;

    Panels(isize first, isize last, isize multiple = 1)
        : first(first),
          last(last),
          vectors(up(last - first, lanes<T>) / lanes<T>),
          count(least(up(up(vectors, tile_vectors) / tile_vectors, multiple), vectors)) {}

    isize begin(isize p) const {
        return count ? least(first + vectors * p / count * lanes<T>, last) : first;
    }
    isize width(isize p) const { return begin(p + 1) - begin(p); }
};

// panels [first, last) of B (K, N) in memory, one after the other: K rows of whole vectors, zeros
// after their end
template <typename T>
void pack(const Panels<T>& panels, isize first, isize last, Matrix<const T> b, isize K, T* to) {
    const auto at = [&](isize p) { return to + (panels.begin(p) - panels.begin(first)) * K; };
    if (b.col == 1) {  // row by row, as it lies in memory
        for (isize k = 0; k < K; k++)
            for (isize p = first; p < last; p++) {
                const isize width = panels.width(p);
                std::memcpy(at(p) + k * up(width, lanes<T>), b.at(k, panels.begin(p)),
                            width * sizeof(T));
            }
    } else {
        for (isize p = first; p < last; p++)
            copy(b.from(0, panels.begin(p)), K, panels.width(p), at(p),
                 up(panels.width(p), lanes<T>));
    }
    for (isize p = first; p < last; p++) {
        const isize width = panels.width(p), row = up(width, lanes<T>);
        for (isize k = 0; width < row && k < K; k++)
            std::memset(at(p) + k * row + width, 0, (row - width) * sizeof(T));
    }
}

// a piece of C (R, width), width 4 or 1, = A Bᵀ or += A Bᵀ, for rows of A and B whose elements lie
// side by side; meanwhile a row of B to come is brought nearer
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
        bring_nearer(next + k);
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

// columns of panels [first, last) of C = A B or += A B for few rows of A and rows of B that lie in
// rows
template <typename T>
void rows_of_few(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, bool add, T* c,
                 const Panels<T>& panels, isize first, isize last) {
    // summed up in the thread's own memory: lines of C with parts of two threads would go to and
    // fro
    constexpr isize most = tile_vectors * lanes<T>, sum_row = most_panels * most;
    alignas(64) static thread_local T sum[few * sum_row], packed[few_block * most];
    for (isize some = first; some < last; some += most_panels) {
        const isize end = least(some + most_panels, last), begin = panels.begin(some);
        for (isize k = 0; k < K; k += few_block)
            for (isize p = some; p < end; p++) {
                const isize n = panels.begin(p), width = panels.width(p), row = up(width, lanes<T>);
                const isize depth = least(K - k, few_block);
                T* const to = sum + n - begin;
                if (width == row || (k + depth < K && b.row >= lanes<T>)) {
                    panel_product<T, true>(M, depth, row, a.from(0, k), b.at(k, n), b.row, to,
                                           sum_row, k, b.at(k + few_block, n));
                } else {  // a vector may reach beyond the end of B
                    pack(panels, p, p + 1, b.from(k, 0), depth, packed);
                    panel_product(M, depth, row, a.from(0, k), packed, row, to, sum_row, k);
                }
            }
        for (isize m = 0; m < M; m++)
            for (isize n = begin; n < panels.begin(end); n++)
                c[m * N + n] = sum[m * sum_row + n - begin] + (add ? c[m * N + n] : T(0));
    }
}

// columns [first, last) of C = A B or += A B for few rows of A and columns of B that lie in rows
template <typename T>
void columns_of_few(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, bool add, T* c,
                    isize first, isize last) {
    const isize tiles = up(M, tile_rows) / tile_rows;
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

// memory for packed weights, given out piece by piece
template <typename T>
class Room {
public:
    explicit Room(isize size)
        : bytes_(size * sizeof(T)),
          alignment_{bytes_ < huge_page ? 64 : huge_page},
          all_(static_cast<T*>(::operator new(bytes_, alignment_))),
          next_(all_) {
#ifdef MADV_HUGEPAGE
        // addresses in large pages are found sooner
        if (bytes_ >= huge_page) madvise(all_, bytes_, MADV_HUGEPAGE);
#endif
    }
    ~Room() { ::operator delete(all_, alignment_); }
    Room(const Room&) = delete;

    T* take(isize size) {
        T* const here = next_;
        next_ += size;
        return here;
    }

private:
    static constexpr std::size_t huge_page = 2 << 20;
    const std::size_t bytes_;
    const std::align_val_t alignment_;
    T *const all_, *next_;
};

// panels of B (K, N) that are multiplied by often, packed in memory with K in equal blocks; or,
// without room for that, as they lie there in columns: A must then be dense
template <typename T>
class Packed {
public:
    const Panels<T> panels;
    const isize K, blocks;

    Packed(Matrix<const T> b, const Panels<T>& panels, isize K, T* room /*or null*/)
        : panels(panels), K(K), blocks(up(K, block) / block), b(b), room(room) {}

    // panels [first, last)
    void pack(isize first, isize last) const {
        if (room) SIMD::pack(panels, first, last, b, K, at(first));
    }

    isize start(isize j) const { return K * j / blocks; }  // of block j

    // columns of panels [first, last) of C (M, N) = A B, or += A B, by blocks [from, to) of B, with
    // which A begins; c points to column 0
    void multiply(isize first, isize last, isize from, isize to, isize M, Matrix<const T> a, T* c,
                  isize c_row, bool add) const {
        if (!room)
            return columns_of_few(M, c_row, K, a, b, add, c, panels.begin(first),
                                  panels.begin(last));
        for (isize p = first; p < last; p++) {
            const isize width = panels.width(p), row = up(width, lanes<T>);
            for (isize j = from; j < to; j++) {
                const isize k = start(j), depth = start(j + 1) - k;
                const T* const b = at(p) + k * row;
                panel_product<T, true>(M, depth, width, a.from(0, k - start(from)), b, row,
                                       c + panels.begin(p), c_row, add || j > from,
                                       b + depth * row);
            }
        }
    }

    // all of C
    void multiply(isize M, Matrix<const T> a, T* c, isize c_row, bool add) const {
        multiply(0, panels.count, 0, blocks, M, a, c, c_row, add);
    }

private:
    Matrix<const T> b;
    T* room;

    T* at(isize p) const { return room + (panels.begin(p) - panels.first) * K; }
};

// whether A has so few rows that packing B would take longer than multiplying by it
template <typename T>
bool of_few(isize M, isize K, Matrix<const T> a, Matrix<const T> b) {
    return M <= few && K && a.col == 1 &&
           (b.col == 1 || (b.row == 1 && (M <= tile_rows || K >= few_long)));
}

// a thread's part of C = A B or += A B then
template <typename T>
void part_of_few(const Worker& w, isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b,
                 bool add, T* c) {
    const Panels<T> panels(0, N, w.count);
    const isize first = panels.count * w.id / w.count, last = panels.count * (w.id + 1) / w.count;
    if (b.col == 1)
        rows_of_few(M, N, K, a, b, add, c, panels, first, last);
    else
        columns_of_few(M, N, K, a, b, add, c, panels.begin(first), panels.begin(last));
}

// C (M, N) = A (M, K) B (K, N) + bias (N,), or without bias, or C += A B
template <typename T>
void packed_product(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, const T* bias,
                    bool add, T* c, isize c_row) {
    // rows of A that do not lie in rows are copied: their lines would drive each other out of the
    // caches
    const bool copy_a = a.col != 1 && K > 1;
    const isize threads = Team::limit();
    const Panels<T> panels(0, N, threads);
    // a task is a part of the rows and, where these are too few for all threads, a group of the
    // panels
    const isize wanted = up(M, high) / high,
                parts = wanted < threads ? wanted : up(wanted, threads);
    const isize groups = parts < threads ? least(up(2 * threads, parts) / parts, panels.count) : 1;
    Room<T> room(panels.vectors * lanes<T> * K);
    const Packed<T> packed(b, panels, K, room.take(0));
    Tasks tasks(parts * groups);
    Team::run(2.0 * M * N * K, [&](Worker& w) {
        alignas(64) static thread_local T copied_a[block * high];
        packed.pack(panels.count * w.id / w.count, panels.count * (w.id + 1) / w.count);
        w.wait_for_all();
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
            // block by block, or panel by panel, so that the larger one of A and C is gone through
            // once
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

// the same for any B, packed in parts that the caches hold
template <typename T>
void product(isize M, isize N, isize K, Matrix<const T> a, Matrix<const T> b, const T* bias,
             bool add, T* c) {
    if (M == 0 || N == 0) return;
    if (of_few(M, K, a, b)) {
        for (isize m = 0; bias && m < M; m++) std::memcpy(c + m * N, bias, N * sizeof(T));
        return Team::run(2.0 * M * N * K,
                         [&](Worker& w) { part_of_few(w, M, N, K, a, b, add || bias, c); });
    }
    constexpr isize panel = tile_vectors * lanes<T>;
    const isize panels = up(N, panel) / panel, blocks = up(K + !K, block) / block;
    const isize deep = least(blocks, most_packed / least(panels, wide)), broad = most_packed / deep;
    const isize layers = up(blocks, deep) / deep, groups = up(panels, broad) / broad;
    for (isize j = 0; j < layers; j++)
        for (isize g = 0; g < groups; g++) {
            const isize k = K * j / layers, depth = K * (j + 1) / layers - k;
            const isize n = panels * g / groups * panel,
                        end = least(panels * (g + 1) / groups * panel, N);
            packed_product(M, end - n, depth, a.from(0, k), b.from(k, n),
                           bias && !j ? bias + n : nullptr, add || j, c + n, N);
        }
}

}  // namespace SIMD
