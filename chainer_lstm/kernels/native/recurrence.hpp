// One layer in one direction over all time steps, its input's product made.  Each thread owns some units: their part of
// the weights is packed once and stays in its caches. Threads wait for each other once a step, with peepholes twice.
//
// Where rows lie is packing.Rows: step k has n[k] rows from start[k] on, in the order of computation; buffers of states
// begin with `first` rows before the packed ones and hold the initial states from row `initial` on.

namespace SIMD {

template <typename T>
struct Sequence {
    isize steps;
    const std::int64_t *start, *n;
    isize batch, units, first, initial;
    Matrix<const T> U, P_i, P_f, P_o;  // (4H, H), (H, H); P.data null without peepholes

    bool peepholes() const { return P_i.data; }

    // the rows before step k: f(r, rows, at) for those from r on, which lie in a buffer from row `at` on
    template <typename F>
    void previous(isize k, const F& f) const {
        const isize known = k ? least(n[k - 1], n[k]) : 0;
        if (known) f(0, known, first + start[k - 1]);
        if (known < n[k]) f(known, n[k] - known, initial + known);
    }

    isize row_before(isize k, isize r) const {
        return k && r < n[k - 1] ? first + start[k - 1] + r : initial + r;
    }

    double work() const {
        double rows = 0;
        for (isize k = 0; k < steps; k++) rows += n[k];
        return rows * units * units * 8 / (steps ? steps : 1);  // of one step: that is what threads are woken for
    }
};

// units of a thread; whole vectors of gates (forward) or of units (backward)
struct Share {
    isize first, last;

    Share(isize units, isize step, const Worker& w) {
        const isize parts = up(units, step) / step;
        first = least(parts * w.id / w.count * step, units);
        last = least(parts * (w.id + 1) / w.count * step, units);
    }
};

// the weights of all threads, each in its owner's part
template <typename T>
class Room {
public:
    explicit Room(isize size)
        : next_(static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t(64)))), all_(next_) {}
    ~Room() { ::operator delete(all_, std::align_val_t(64)); }
    Room(const Room&) = delete;

    T* take(isize size) {
        T* const here = next_;
        next_ += size;
        return here;
    }

private:
    T *next_, *const all_;
};

// pre (P, 4H) becomes gates; h and c are buffers (P + B, H)
template <typename T>
void forward(const Sequence<T>& s, T* pre, T* h, T* c) {
    const isize H = s.units, padded = up(H, lanes<T>), K = s.peepholes() ? H : 0;
    Room<T> room(4 * H * padded + (3 * padded + 2 * s.batch) * K);
    T *const packed_U = room.take(4 * H * padded), *const packed_P = room.take(3 * K * padded);
    T *const pi = room.take(s.batch * K), *const pf = room.take(s.batch * K), *const po = pi;
    T *const inner_h = h + s.first * H, *const inner_c = c + s.first * H;

    Team::run(s.work(), [&](Worker& worker) {
        const Share mine(H, s.peepholes() ? lanes<T> : lanes<T> / 4, worker);
        const Packed<T> U(transposed(s.U), H, 4 * mine.first, 4 * mine.last, packed_U + 4 * H * mine.first);
        const auto peephole = [&](int which, Matrix<const T> P) {
            return Packed<T>(transposed(P), K, mine.first, mine.last, packed_P + (which * padded + mine.first) * K);
        };
        const Packed<T> P_i = peephole(0, s.P_i), P_f = peephole(1, s.P_f), P_o = peephole(2, s.P_o);

        for (isize k = 0; k < s.steps; k++) {
            T* const gates = pre + s.start[k] * 4 * H;
            T *const h_now = inner_h + s.start[k] * H, *const c_now = inner_c + s.start[k] * H;
            s.previous(k, [&](isize r, isize rows, isize at) {
                U.multiply(rows, {h + at * H, H, 1}, gates + r * 4 * H, 4 * H, true);
                P_i.multiply(rows, {c + at * H, H, 1}, pi + r * K, K, false);
                P_f.multiply(rows, {c + at * H, H, 1}, pf + r * K, K, false);
            });
            for (isize r = 0; r < s.n[k]; r++) {
                T *const row = gates + r * 4 * H, *const c_prev = c + s.row_before(k, r) * H;
                if (s.peepholes())
                    peephole_cell_fwd_row<T>(mine.first, mine.last, row, nullptr, nullptr, pi + r * H, pf + r * H,
                                             c_prev, row, c_now + r * H);
                else
                    lstm_fwd_row<T>(mine.first, mine.last, row, nullptr, nullptr, c_prev, row, c_now + r * H,
                                    h_now + r * H);
            }
            worker.wait_for_all();
            if (!s.peepholes()) continue;
            P_o.multiply(s.n[k], {c_now, H, 1}, po, H, false);
            for (isize r = 0; r < s.n[k]; r++)
                peephole_out_fwd_row<T>(mine.first, mine.last, gates + r * 4 * H, po + r * H, c_now + r * H,
                                        h_now + r * H);
            worker.wait_for_all();
        }
    });
}

// gates (P, 4H) become gpre; gh (P, H) or null; gh_now and gc (B, H), of the last states, become those of the first
template <typename T>
void backward(const Sequence<T>& s, T* gates, const T* c, const T* gh, isize gh_row, T* gh_now, T* gc) {
    const isize H = s.units, padded = up(H, lanes<T>), K = s.peepholes() ? H : 0;
    Room<T> room(4 * H * padded + 3 * padded * K);
    T *const packed_U = room.take(4 * H * padded), *const packed_P = room.take(3 * K * padded);

    Team::run(s.work(), [&](Worker& worker) {
        const Share mine(H, lanes<T>, worker);
        const Packed<T> U(s.U, 4 * H, mine.first, mine.last, packed_U + 4 * H * mine.first);
        const auto peephole = [&](int which, Matrix<const T> P) {
            return Packed<T>(P, K, mine.first, mine.last, packed_P + (which * padded + mine.first) * K);
        };
        const Packed<T> P_i = peephole(0, s.P_i), P_f = peephole(1, s.P_f), P_o = peephole(2, s.P_o);

        for (isize k = s.steps; k-- > 0;) {
            const isize n = s.n[k];
            T* const now = gates + s.start[k] * 4 * H;
            const T* const c_now = c + (s.first + s.start[k]) * H;
            const auto gate = [&](int g) { return Matrix<const T>{now + g, 4 * H, 4}; };
            const auto each_row = [&](const auto& f) {
                for (isize r = 0; r < n; r++)
                    f(now + r * 4 * H, c + s.row_before(k, r) * H, c_now + r * H,
                      gh ? gh + (s.start[k] + r) * gh_row : nullptr, gh_now + r * H, gc + r * H);
            };
            if (s.peepholes()) {
                each_row([&](T* g, const T*, const T* c_new, const T* gh, const T* gh_next, T* gc) {
                    peephole_out_bwd_row<T>(mine.first, mine.last, g, c_new, gc, gh_next, gh, nullptr, gc);
                });
                worker.wait_for_all();
                P_o.multiply(n, gate(3), gc, H, true);
                each_row([&](T* g, const T* c_prev, const T*, const T*, const T*, T* gc) {
                    peephole_cell_bwd_row<T>(mine.first, mine.last, g, c_prev, gc, nullptr, g, gc);
                });
            } else {
                each_row([&](T* g, const T* c_prev, const T* c_new, const T* gh, const T* gh_next, T* gc) {
                    lstm_bwd_row<T>(mine.first, mine.last, g, c_prev, c_new, gc, gh_next, gh, g, gc);
                });
            }
            worker.wait_for_all();
            U.multiply(n, {now, 4 * H, 1}, gh_now, H, false);
            P_i.multiply(n, gate(1), gc, H, true);
            P_f.multiply(n, gate(2), gc, H, true);
        }
    });
}

}  // namespace SIMD
