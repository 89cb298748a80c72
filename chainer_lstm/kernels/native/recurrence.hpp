// One layer in one direction over all time steps.
//
// Where rows lie is packing.Rows: step k has n[k] rows from start[k] on, in the order of
// computation; buffers of states begin with `first` rows before the packed ones and hold the
// initial states from row `initial` on.

namespace SIMD {

// so few that their pre-activations stay in the caches until they are used
constexpr isize span_rows = 256;

template <typename T>
struct Sequence {
    isize steps;
    const index64 *start, *n;
    isize batch, units, rows, first, initial;
    Matrix<const T> U, P_i, P_f, P_o;  // (4H, H), (H, H); P.data null without peepholes

    bool peepholes() const { return P_i.data; }

    // steps whose inputs are multiplied together
    isize span() const { return batch < span_rows ? span_rows / (batch + !batch) : 1; }

    // of the steps together with step k, the one whose rows are the first
    isize first_of_span(isize k) const {
        const isize from = k / span() * span(), last = least(from + span(), steps) - 1;
        return start[from] < start[last] ? from : last;
    }

    // the rows before those of step k in [top, end): f(r, rows, at) for those from r on, which lie
    // in a buffer from row `at` on
    template <typename F>
    void previous(isize k, isize top, isize end, const F& f) const {
        const isize known = k ? least(n[k - 1], end) : 0;
        if (top < known) f(top, known - top, first + start[k - 1] + top);
        if (top < known) top = known;
        if (top < end) f(top, end - top, initial + top);
    }

    isize row_before(isize k, isize r) const {
        return k && r < n[k - 1] ? first + start[k - 1] + r : initial + r;
    }

    // of one step: that is what threads are woken for
    double work(isize inputs = 0) const {
        return 8.0 * rows * units * (units + inputs) / (steps ? steps : 1);
    }

    // so few rows in all that to pack the weights would take longer
    bool few() const { return rows <= 2 * SIMD::few; }
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

// bytes that each thread's second cache keeps, or nearly
constexpr isize weights_in_cache = 1200000;

// What a thread computes, by weights that are packed once.  Either some units of all rows: their
// part of the weights stays in its caches, and threads wait for each other once a step, with
// peepholes twice.  Or, where each thread's cache holds all the weights, all units of some rows,
// which need nothing of other threads.
template <typename T>
struct Part {
    bool by_rows;
    Share units;
    isize first_row, last_row;

    Part(const Sequence<T>& s, isize step, const Worker& w)
        : by_rows(w.count > 1 && s.batch >= tile_rows * w.count &&
                  4 * s.units * s.units * isize(sizeof(T)) <= weights_in_cache),
          units(s.units, step, by_rows ? Worker{0, 1} : w),
          first_row(by_rows ? row(s, w, w.id) : 0),
          last_row(by_rows ? row(s, w, w.id + 1) : s.batch) {}

    // of the n rows of a step
    isize top(isize n) const { return least(first_row, n); }
    isize end(isize n) const { return least(last_row, n); }

    // panels of the weights, packed by the threads that multiply by them; or unpacked, without room
    Packed<T> packed(const Worker& w, Matrix<const T> b, isize K, isize first, isize last,
                     T* room /*or null*/) const {
        const Packed<T> all(b, Panels<T>(first, last), K, room);
        const isize count = all.panels.count;
        all.pack(by_rows ? count * w.id / w.count : 0,
                 by_rows ? count * (w.id + 1) / w.count : count);
        return all;
    }

    void wait(Worker& w) const {
        if (!by_rows) w.wait_for_all();
    }

private:
    // the row with which the id-th thread's begin, such that all have as many rows of all steps
    static isize row(const Sequence<T>& s, const Worker& w, isize id) {
        const auto before = [&](isize r) {
            isize rows = 0;
            for (isize k = 0; k < s.steps; k++) rows += least(s.n[k], r);
            return rows;
        };
        isize low = 0, high = s.batch;
        for (const isize wanted = before(high) * id / w.count; low < high;) {
            const isize middle = (low + high) / 2;
            if (before(middle) < wanted)
                low = middle + 1;
            else
                high = middle;
        }
        return id == w.count ? s.batch : low;
    }
};

template <typename T>
struct Inputs {
    isize size;
    Matrix<const T> x, W;  // (P, I), (4H, I)
    const T* b;
};

// gates (P, 4H) are written where they are wanted; h and c are buffers (P + B, H)
template <typename T>
void forward(const Sequence<T>& s, const Inputs<T>& in, T* gates /*or null*/, T* h, T* c) {
    const isize H = s.units, I = in.size, padded = up(H, lanes<T>), K = s.peepholes() ? H : 0,
                span = s.span();
    const isize spare = gates ? 0 : span * s.batch * 4 * H;
    Room<T> room(4 * (H + I) * padded + (3 * padded + 2 * s.batch) * K + spare);
    T *const packed_U = room.take(4 * H * padded), *const packed_P = room.take(3 * K * padded);
    T *const packed_W = room.take(4 * I * padded), *const spare_gates = room.take(spare);
    T *const pi = room.take(s.batch * K), *const pf = room.take(s.batch * K), *const po = pi;
    T *const inner_h = h + s.first * H, *const inner_c = c + s.first * H;

    Team::run(s.work(I), [&](Worker& worker) {
        const Part<T> part(s, s.peepholes() ? lanes<T> : lanes<T> / 4, worker);
        const Share mine = part.units;
        const auto packed = [&](Matrix<const T> m, isize K, T* room) {
            return part.packed(worker, transposed(m), K, 4 * mine.first, 4 * mine.last,
                               s.few() ? nullptr : room + 4 * K * mine.first);
        };
        const Packed<T> W = packed(in.W, I, packed_W), U = packed(s.U, H, packed_U);
        const auto peephole = [&](int which, Matrix<const T> P) {
            return part.packed(worker, transposed(P), K, mine.first, mine.last,
                               packed_P + (which * padded + mine.first) * K);
        };
        const Packed<T> P_i = peephole(0, s.P_i), P_f = peephole(1, s.P_f),
                        P_o = peephole(2, s.P_o);

        // row 0 of step k among the gates.  If nobody wants these, there are those of a span at a
        // time, and each thread's rows lie together, for other threads may be in another span
        const isize gates_row = gates || !part.by_rows ? 4 * H : span * 4 * H;
        const auto gates_of = [&](isize k) {
            return gates ? gates + s.start[k] * 4 * H
                   : part.by_rows
                       ? spare_gates + k % span * 4 * H
                       : spare_gates + (s.start[k] - s.start[s.first_of_span(k)]) * 4 * H;
        };
        const auto multiply_inputs = [&](isize p, isize at, isize rows, T* to) {
            const isize begin = W.panels.begin(p), width = W.panels.width(p);
            for (isize r = 0; r < rows; r++)
                std::memcpy(to + r * gates_row + begin, in.b + begin, width * sizeof(T));
            W.multiply(p, p + 1, 0, W.blocks, rows, in.x.from(at, 0), to, gates_row, true);
        };
        const auto multiply_inputs_of_span = [&](isize from) {
            const isize to = least(from + span, s.steps), first = s.first_of_span(from);
            isize rows = 0;
            for (isize k = from; k < to; k++) rows += s.n[k];
            for (isize p = 0; p < W.panels.count; p++) {
                // all lie together
                if (!part.by_rows) multiply_inputs(p, s.start[first], rows, gates_of(first));
                for (isize k = from; part.by_rows && k < to; k++) {
                    const isize top = part.top(s.n[k]);
                    multiply_inputs(p, s.start[k] + top, part.end(s.n[k]) - top,
                                    gates_of(k) + top * gates_row);
                }
            }
        };

        if (part.by_rows) worker.wait_for_all();
        for (isize k = 0; k < s.steps; k++) {
            if (k % span == 0) multiply_inputs_of_span(k);
            const isize top = part.top(s.n[k]), end = part.end(s.n[k]);
            T* const now = gates_of(k);
            T *const h_now = inner_h + s.start[k] * H, *const c_now = inner_c + s.start[k] * H;
            s.previous(k, top, end, [&](isize r, isize rows, isize at) {
                U.multiply(rows, {h + at * H, H, 1}, now + r * gates_row, gates_row, true);
                P_i.multiply(rows, {c + at * H, H, 1}, pi + r * K, K, false);
                P_f.multiply(rows, {c + at * H, H, 1}, pf + r * K, K, false);
            });
            for (isize r = top; r < end; r++) {
                T *const row = now + r * gates_row, *const c_prev = c + s.row_before(k, r) * H;
                if (s.peepholes())
                    peephole_cell_fwd_row<T>(mine.first, mine.last, row, nullptr, nullptr,
                                             pi + r * H, pf + r * H, c_prev, row, c_now + r * H);
                else
                    lstm_fwd_row<T>(mine.first, mine.last, row, nullptr, nullptr, c_prev,
                                    gates ? row : nullptr, c_now + r * H, h_now + r * H);
            }
            part.wait(worker);
            if (!s.peepholes()) continue;
            P_o.multiply(end - top, {c_now + top * H, H, 1}, po + top * H, H, false);
            for (isize r = top; r < end; r++)
                peephole_out_fwd_row<T>(mine.first, mine.last, now + r * gates_row, po + r * H,
                                        c_now + r * H, h_now + r * H);
            part.wait(worker);
        }
    });
}

// gates (P, 4H) become gpre; gh (P, H) or null; gh_now and gc (B, H), of the last states, become
// those of the first
template <typename T>
void backward(const Sequence<T>& s, T* gates, const T* c, const T* gh, isize gh_row, T* gh_now,
              T* gc) {
    const isize H = s.units, padded = up(H, lanes<T>), K = s.peepholes() ? H : 0;
    Room<T> room(4 * H * padded + 3 * padded * K);
    T *const packed_U = room.take(4 * H * padded), *const packed_P = room.take(3 * K * padded);

    Team::run(s.work(), [&](Worker& worker) {
        const Part<T> part(s, lanes<T>, worker);
        const Share mine = part.units;
        const auto U =
            part.packed(worker, s.U, 4 * H, mine.first, mine.last, packed_U + 4 * H * mine.first);
        const auto peephole = [&](int which, Matrix<const T> P) {
            return part.packed(worker, P, K, mine.first, mine.last,
                               packed_P + (which * padded + mine.first) * K);
        };
        const Packed<T> P_i = peephole(0, s.P_i), P_f = peephole(1, s.P_f),
                        P_o = peephole(2, s.P_o);

        if (part.by_rows) worker.wait_for_all();
        for (isize k = s.steps; k-- > 0;) {
            const isize top = part.top(s.n[k]), end = part.end(s.n[k]), n = end - top;
            T* const now = gates + s.start[k] * 4 * H;
            const T* const c_now = c + (s.first + s.start[k]) * H;
            const auto gate = [&](int g) {
                return Matrix<const T>{now + top * 4 * H + g, 4 * H, 4};
            };
            const auto each_row = [&](const auto& f) {
                for (isize r = top; r < end; r++)
                    f(now + r * 4 * H, c + s.row_before(k, r) * H, c_now + r * H,
                      gh ? gh + (s.start[k] + r) * gh_row : nullptr, gh_now + r * H, gc + r * H);
            };
            if (s.peepholes()) {
                each_row([&](T* g, const T*, const T* c_new, const T* gh, const T* gh_next, T* gc) {
                    peephole_out_bwd_row<T>(mine.first, mine.last, g, c_new, gc, gh_next, gh,
                                            nullptr, gc);
                });
                part.wait(worker);
                P_o.multiply(n, gate(3), gc + top * H, H, true);
                each_row([&](T* g, const T* c_prev, const T*, const T*, const T*, T* gc) {
                    peephole_cell_bwd_row<T>(mine.first, mine.last, g, c_prev, gc, nullptr, g, gc);
                });
            } else {
                each_row([&](T* g, const T* c_prev, const T* c_new, const T* gh, const T* gh_next,
                             T* gc) {
                    lstm_bwd_row<T>(mine.first, mine.last, g, c_prev, c_new, gc, gh_next, gh, g,
                                    gc);
                });
            }
            part.wait(worker);
            U.multiply(n, {now + top * 4 * H, 4 * H, 1}, gh_now + top * H, H, false);
            P_i.multiply(n, gate(1), gc + top * H, H, true);
            P_f.multiply(n, gate(2), gc + top * H, H, true);
        }
    });
}

}  // namespace SIMD
