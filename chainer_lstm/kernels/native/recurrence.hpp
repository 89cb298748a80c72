// One layer in one direction over all time steps: see STEPS in arguments.hpp.
#ifndef CHAINER_LSTM_RECURRENCE_HPP
#define CHAINER_LSTM_RECURRENCE_HPP

#include "arguments.hpp"
#include "product.hpp"
#include "stages.hpp"

namespace SIMD {

// The units of a thread, in whole blocks of `step`.
struct Share {
    isize first, last;

    Share(isize units, isize step, const Worker& w)
        : first(std::min(w.begin(pieces(units, step)) * step, units)),
          last(std::min(w.end(pieces(units, step)) * step, units)) {}
};

template <typename Cell>
constexpr int most_apart = std::max(Stage<Cell, 0>::apart, Stage<Cell, stages<Cell> - 1>::apart);

// Units are shared in steps of which the gates are whole vectors, and also the products to a single
// gate, where there are any.
template <typename T, typename Cell>
constexpr isize gates_step =
    most_apart<Cell> == 0 && lanes<T> % Cell::gates == 0 ? lanes<T> / Cell::gates : lanes<T>;

// bytes of weights that the second-level cache of each thread holds, or nearly
constexpr isize weights_in_cache = 1200000;

// of a state, by its number
template <typename Cell, typename Sequence>
isize width_of(const Sequence& s, int state) {
    return state == output_state<Cell> && s.V ? s.outputs : s.units;
}

// What a thread computes. Either some units of all rows: its part of the weights stays in its
// caches, and threads meet once a stage. Or, where the cache of each thread holds all the weights,
// all units of some rows, which need nothing of other threads.
template <typename T, typename Cell>
struct Part {
    bool by_rows;
    Share units, outputs;  // outputs: columns of the last state, as many as units unless projected
    isize first_row, last_row;

    template <typename Sequence>
    Part(const Sequence& s, isize step, const Worker& w)
        : by_rows(w.count > 1 && s.batch >= tile_rows * w.count &&
                  (Cell::gates + (s.V ? 1 : 0)) * s.units * width_of<Cell>(s, output_state<Cell>) *
                          isize(sizeof(T)) <=
                      weights_in_cache),
          units(s.units, step, by_rows ? Worker{0, 1} : w),
          outputs(width_of<Cell>(s, output_state<Cell>), lanes<T>, by_rows ? Worker{0, 1} : w),
          first_row(by_rows ? row(s, w, w.id) : 0),
          last_row(by_rows ? row(s, w, w.id + 1) : s.batch) {}

    // of the n rows of a step
    isize top(isize n) const { return std::min(first_row, n); }
    isize end(isize n) const { return std::min(last_row, n); }

    // Packs the columns [first, last) of B (K, N): those that the thread multiplies by, or, if all
    // threads multiply by the same ones, a part of them. Without memory they are streamed.
    Packed<T> pack(const Worker& w, Matrix<const T> b, isize K, isize first, isize last,
                   T* memory /*or null*/) const {
        const Packed<T> packed(b, Panels<T>(first, last), K, memory);
        const isize count = packed.panels.count;
        packed.pack(by_rows ? w.begin(count) : 0, by_rows ? w.end(count) : count);
        return packed;
    }

    // after packing: then all threads may multiply by what each has packed
    void meet_if_by_rows(Worker& w) const {
        if (by_rows) w.barrier();
    }

    // after a stage: then all threads may read what each has computed
    void meet_if_by_units(Worker& w) const {
        if (!by_rows) w.barrier();
    }

private:
    // the first row of thread `id`, such that all threads have as many rows, counted over all steps
    template <typename Sequence>
    static isize row(const Sequence& s, const Worker& w, isize id) {
        const isize wanted = s.rows * id / w.count;
        isize row = 0;
        for (isize rows = 0; rows < wanted; row++)
            for (isize k = 0; k < s.steps; k++) rows += s.n[k] > row;
        return id == w.count ? s.batch : row;
    }
};

// The row of a buffer that is before row r of step k.
template <typename Sequence>
isize row_before(const Sequence& s, isize k, isize r) {
    return k && r < s.n[k - 1] ? s.first + s.start[k - 1] + r : s.initial + r;
}

// The rows before rows [top, end) of step k lie in at most two places: f(r, rows, at) for those
// from r on, which lie in a buffer from row `at` on.
template <typename Sequence, typename F>
void each_run_before(const Sequence& s, isize k, isize top, isize end, const F& f) {
    const isize known = k ? std::min<isize>(s.n[k - 1], end) : 0;
    if (top < known) f(top, known - top, s.first + s.start[k - 1] + top);
    top = std::max(top, known);
    if (top < end) f(top, end - top, s.initial + top);
}

// Floating point operations of one step: that is what threads are woken for.
template <typename Cell, typename Sequence>
double work_of_a_step(const Sequence& s, isize columns) {
    return 2.0 * Cell::gates * s.rows * s.units * columns / std::max<isize>(s.steps, 1);
}

// How many elements the weight of a product takes at most, packed for either direction; the last
// number, Cell::weights, is that of the projection.
template <typename T, typename Cell, typename Sequence>
isize packed_size(const Sequence& s, int weight) {
    const isize units = round_up(s.units, lanes<T>);
    if (weight == Cell::weights) return s.V ? units * round_up(s.outputs, lanes<T>) : 0;
    const isize width = width_of<Cell>(s, products<Cell>[weight].state);
    return gates_of<Cell>(weight) * units * round_up(width, lanes<T>);
}

template <typename T, typename Cell, typename Sequence>
isize packed_size(const Sequence& s) {
    isize sum = 0;
    for (int w = 0; w <= Cell::weights; w++) sum += packed_size<T, Cell>(s, w);
    return sum;
}

// The packed weights of the products of a cell: {pack(w)...}.
template <typename T, typename Cell>
using PackedWeights = std::array<Packed<T>, Cell::weights>;

template <typename T, typename Cell, typename F, int... W>
PackedWeights<T, Cell> pack_each(const F& pack, std::integer_sequence<int, W...>) {
    return {pack(W)...};
}

// so many rows at most have the inputs of their steps multiplied together: their gates stay in the
// caches until they are used
constexpr isize chunk_rows = 256;

// The memory that the threads of a forward pass share.
template <typename T, typename Cell>
struct ForwardMemory {
    const isize padded;   // units
    const bool streamed;  // so few rows in all that to pack the weights would take longer
    const isize chunk;    // steps whose inputs are multiplied together
    const isize spare;    // size of the gates of a chunk, where the caller keeps none
    Arena<T> arena;
    Weights<Cell, T> weights;
    Weights<Cell, T> masked;  // buffers of masked states, as those of states
    T *W, *V, *gates, *products;

    explicit ForwardMemory(const SequenceForward<T, Cell>& s)
        : padded(round_up(s.units, lanes<T>)),
          streamed(s.rows <= 2 * streamed_rows),
          chunk(std::max<isize>(chunk_rows / std::max<isize>(s.batch, 1), 1)),
          spare(s.gates ? 0 : chunk * s.batch * Cell::gates * s.units),
          arena(packed_size<T, Cell>(s) + Cell::gates * s.inputs * padded + spare +
                most_apart<Cell> * s.batch * s.units +
                count_of(s.masks) * (s.rows + s.batch) * s.units) {
        // first the weights: their panels are aligned then
        for (int w = 0; w < Cell::weights; w++) weights[w] = arena.take(packed_size<T, Cell>(s, w));
        V = arena.take(packed_size<T, Cell>(s, Cell::weights));
        W = arena.take(Cell::gates * s.inputs * padded);
        gates = arena.take(spare);
        products = arena.take(most_apart<Cell> * s.batch * s.units);
        for (int w = 0; w < Cell::weights; w++)
            if (s.masks[w]) masked[w] = arena.take((s.rows + s.batch) * s.units);
    }
};

// What one thread does in a forward pass.
template <typename T, typename Cell>
class ForwardThread {
public:
    ForwardThread(const SequenceForward<T, Cell>& s, const ForwardMemory<T, Cell>& memory,
                  Worker& worker)
        : s(s),
          memory(memory),
          worker(worker),
          part(s, gates_step<T, Cell>, worker),
          gates_row(s.gates || !part.by_rows ? G * H : memory.chunk * G * H),
          W(pack(s.W, s.inputs, G, memory.W)),
          U(pack_each<T, Cell>(
              [&](int w) {
                  return pack(s.weights[w], width_of<Cell>(s, products<Cell>[w].state),
                              gates_of<Cell>(w), memory.weights[w]);
              },
              std::make_integer_sequence<int, Cell::weights>{})),
          V(part.pack(worker, {s.V, 1, H}, s.V ? H : 0, part.outputs.first, part.outputs.last,
                      memory.V + H * part.outputs.first)) {}

    void run() {
        part.meet_if_by_rows(worker);
        mask_initial_states();
        for (isize k = 0; k < s.steps; k++) {
            if (k % memory.chunk == 0) multiply_inputs(k);
            stage<0>(k);
            if constexpr (stages<Cell> == 2) stage<1>(k);
            if (s.V) project(k);
        }
    }

private:
    static constexpr int G = Cell::gates, h = output_state<Cell>;

    const SequenceForward<T, Cell>& s;
    const ForwardMemory<T, Cell>& memory;
    Worker& worker;
    const isize H = s.units;
    const Part<T, Cell> part;
    const isize gates_row;  // from one row of gates to the next
    const Given<Cell, T> given{s.weights, s.noise, s.numbers.of};
    const Packed<T> W;
    const PackedWeights<T, Cell> U;
    const Packed<T> V;

    // The thread's part of a weight (gates * H, K). That of a single gate is always packed: its
    // products are so narrow that sums across the lanes of vectors would take long.
    Packed<T> pack(const T* weight, isize K, isize gates, T* to) const {
        const isize first = gates * part.units.first, last = gates * part.units.last;
        T* const memory_of_part = memory.streamed && gates == G ? nullptr : to + first * K;
        return part.pack(worker, {weight, 1, K}, K, first, last, memory_of_part);
    }

    // Row 0 of step k among the gates. Where the caller keeps none, there are those of a chunk at a
    // time. Then each thread's rows lie together, for other threads may be in another chunk.
    T* gates_of_step(isize k) const {
        if (s.gates) return s.gates + s.start[k] * G * H;
        if (part.by_rows) return memory.gates + k % memory.chunk * G * H;
        return memory.gates + (s.start[k] - start_of_chunk(k)) * G * H;
    }

    // the first row of the steps of a chunk, which begins with its last step in reverse direction
    isize start_of_chunk(isize k) const {
        const isize from = k / memory.chunk * memory.chunk;
        return std::min(s.start[from], s.start[std::min(from + memory.chunk, s.steps) - 1]);
    }

    // The gates of a chunk of steps become x Wᵀ + b, panel by panel: each stays in the caches for
    // all rows.
    void multiply_inputs(isize from) {
        const isize to = std::min(from + memory.chunk, s.steps);
        isize rows = 0;
        for (isize k = from; k < to; k++) rows += s.n[k];
        for (isize p = 0; p < W.panels.count; p++) {
            if (!part.by_rows) {  // the rows of all steps lie together
                const isize start = start_of_chunk(from);
                multiply_panel(p, start, rows, s.gates ? s.gates + start * G * H : memory.gates);
                continue;
            }
            for (isize k = from; k < to; k++) {
                const isize top = part.top(s.n[k]), end = part.end(s.n[k]);
                multiply_panel(p, s.start[k] + top, end - top, gates_of_step(k) + top * gates_row);
            }
        }
    }

    void multiply_panel(isize p, isize start, isize rows, T* to) {
        const isize begin = W.panels.begin(p), width = W.panels.width(p);
        for (isize r = 0; r < rows; r++)
            std::memcpy(to + r * gates_row + begin, s.b + begin, width * sizeof(T));
        const Matrix<const T> x{s.x.data + start * s.x.row, s.x.row, 1};
        W.multiply(p, p + 1, 0, W.blocks, rows, x, to, gates_row, true);
    }

    void mask_initial_states() {
        if (!count_of(s.masks)) return;
        each_product<Cell, 0>([&](auto w, auto state, auto) {
            for (isize r = part.first_row; r < part.last_row; r++) mask(w, state, r, s.initial + r);
        });
        part.meet_if_by_units(worker);
    }

    // The masked state of the thread's units in row r of a step, which is row `at` of the buffer.
    void mask(int w, int state, isize r, isize at) {
        if (!s.masks[w]) return;
        multiply_row<T>(part.units.first, part.units.last, s.masks[w] + r * H,
                        s.states[state] + at * H, memory.masked[w] + at * H);
    }

    template <int S>
    void stage(isize k) {
        const isize top = part.top(s.n[k]), end = part.end(s.n[k]);
        multiply_states<S>(k, top, end);
        activate<S>(k, top, end);
        part.meet_if_by_units(worker);
    }

    // Products to all gates are added to these, those to a single gate are kept apart.
    template <int S>
    void multiply_states(isize k, isize top, isize end) {
        T* const gates = gates_of_step(k);
        each_product<Cell, S>([&](auto w, auto state, auto gate) {
            const isize K = width_of<Cell>(s, state);
            const auto multiply = [&](isize r, isize rows, isize at) {
                const T* const of = s.masks[w] ? memory.masked[w] : s.states[state];
                const Matrix<const T> a{of + at * K, K, 1};
                if (gate == all_gates)
                    U[w].multiply(rows, a, gates + r * gates_row, gates_row, true);
                else
                    U[w].multiply(rows, a, product<S>(w) + r * H, H, false);
            };
            if (S == 0)
                each_run_before(s, k, top, end, multiply);
            else
                multiply(top, end - top, s.first + s.start[k] + top);
        });
    }

    template <int S>
    void activate(isize k, isize top, isize end) {
        const bool keep = s.gates || S + 1 < stages<Cell>;
        Weights<Cell, const T> products;
        each_of<Stage<Cell, S>::to_one>([&](auto w) { products[w] = product<S>(w); });
        for (isize r = top; r < end; r++) {
            T* const gates = gates_of_step(k) + r * gates_row;
            const isize row = s.first + s.start[k] + r;
            const isize before = S == 0 ? row_before(s, k, r) : row;
            const isize packed = s.start[k] + r;
            States<Cell, T> now = s.states + row * H;
            if (s.V) now[h] = s.m + packed * H;
            forward_row<Cell, S, T>(part.units.first, part.units.last, {gates}, products + r * H,
                                    given.of_row(packed * H), s.states + before * H,
                                    keep ? gates : nullptr, now);
            if (S + 1 == stages<Cell>)
                each_product<Cell, 0>([&](auto w, auto state, auto) { mask(w, state, r, row); });
        }
    }

    // h = m Vᵀ, after all threads have computed m
    void project(isize k) {
        const isize top = part.top(s.n[k]), end = part.end(s.n[k]), P = s.outputs;
        const Matrix<const T> m{s.m + (s.start[k] + top) * H, H, 1};
        V.multiply(end - top, m, s.states[h] + (s.first + s.start[k] + top) * P, P, false);
        part.meet_if_by_units(worker);
    }

    template <int S>
    T* product(int w) const {
        return memory.products + Stage<Cell, S>::place(w) * s.batch * H;
    }
};

template <typename T, typename Cell>
void compute(const SequenceForward<T, Cell>& s) {
    const ForwardMemory<T, Cell> memory(s);
    ThreadPool::run(work_of_a_step<Cell>(s, width_of<Cell>(s, output_state<Cell>) + s.inputs),
                    [&](Worker& worker) { ForwardThread<T, Cell>(s, memory, worker).run(); });
}

// The states whose gradients are not zero after the array code of a stage, backward.
template <typename Cell, int S>
constexpr unsigned live_gradients() {
    unsigned live = all_of(Cell::states);
    if constexpr (S + 1 < stages<Cell>) live = live_gradients<Cell, S + 1>();
    return (live & ~Stage<Cell, S>::Base::writes) | Stage<Cell, S>::Base::reads;
}

// Whether the gradient through the product of a weight is added to that of its state, or is the
// first part of it.
template <typename Cell, int S>
constexpr bool adds(unsigned live, int weight) {
    for (const Product& product : Stage<Cell, S>::products)
        if (product.weight < weight) live |= 1u << product.state;
    return live >> products<Cell>[weight].state & 1;
}

// The memory that the threads of a backward pass share.
template <typename T, typename Cell>
struct BackwardMemory {
    Arena<T> arena;
    Weights<Cell, T> weights;
    T *V, *gm, *masked;  // gm (B, H): with respect to m of a step; masked (B, H): of masked states

    explicit BackwardMemory(const SequenceBackward<T, Cell>& s)
        : arena(packed_size<T, Cell>(s) +
                ((s.V ? 1 : 0) + (count_of(s.masks) ? 1 : 0)) * s.batch * s.units) {
        for (int w = 0; w < Cell::weights; w++) weights[w] = arena.take(packed_size<T, Cell>(s, w));
        V = arena.take(packed_size<T, Cell>(s, Cell::weights));
        gm = arena.take(s.V ? s.batch * s.units : 0);
        masked = arena.take(count_of(s.masks) ? s.batch * s.units : 0);
    }
};

// What one thread does in a backward pass.
template <typename T, typename Cell>
class BackwardThread {
public:
    BackwardThread(const SequenceBackward<T, Cell>& s, const BackwardMemory<T, Cell>& memory,
                   Worker& worker)
        : s(s),
          memory(memory),
          worker(worker),
          part(s, lanes<T>, worker),
          U(pack_each<T, Cell>(
              [&](int w) {
                  const isize K = gates_of<Cell>(w) * H;
                  const int state = products<Cell>[w].state;
                  const Share& columns = state == h ? part.outputs : part.units;
                  return part.pack(worker, {s.weights[w], width_of<Cell>(s, state), 1}, K,
                                   columns.first, columns.last,
                                   memory.weights[w] + K * columns.first);
              },
              std::make_integer_sequence<int, Cell::weights>{})),
          V(part.pack(worker, {s.V, H, 1}, s.V ? s.outputs : 0, part.units.first, part.units.last,
                      memory.V + s.outputs * part.units.first)) {}

    void run() {
        part.meet_if_by_rows(worker);
        for (isize k = s.steps; k-- > 0;) {
            if (s.V) project(k);
            if constexpr (stages<Cell> == 2) stage<1>(k);
            stage<0>(k);
        }
    }

private:
    static constexpr int G = Cell::gates, h = output_state<Cell>;
    // the stage that writes the output, to which the gradients of every step come
    static constexpr int output_stage =
        Stage<Cell, stages<Cell> - 1>::Base::writes >> h & 1 ? stages<Cell> - 1 : 0;

    const SequenceBackward<T, Cell>& s;
    const BackwardMemory<T, Cell>& memory;
    Worker& worker;
    const isize H = s.units;
    const Part<T, Cell> part;
    const Given<Cell, T> given{s.weights, s.noise, s.numbers.of};
    const PackedWeights<T, Cell> U;
    const Packed<T> V;

    // The gradient with respect to m is that with respect to h, in all, times V.
    void project(isize k) {
        const isize top = part.top(s.n[k]), end = part.end(s.n[k]), P = s.outputs;
        const isize first = part.outputs.first, count = part.outputs.last - first;
        for (isize r = top; r < end; r++) {
            const T* const later = s.gradients[h] + r * P + first;
            T* const total = s.total + (s.start[k] + r) * P + first;
            std::memcpy(total, later, count * sizeof(T));
            if (!s.output.data) continue;
            const T* const output = s.output.data + (s.start[k] + r) * s.output.row + first;
            for (isize c = 0; c < count; c++) total[c] += output[c];
        }
        part.meet_if_by_units(worker);
        const Matrix<const T> total{s.total + (s.start[k] + top) * P, P, 1};
        V.multiply(end - top, total, memory.gm + top * H, H, false);
    }

    template <int S>
    void stage(isize k) {
        const isize top = part.top(s.n[k]), end = part.end(s.n[k]);
        differentiate<S>(k, top, end);
        part.meet_if_by_units(worker);
        multiply_gates<S>(k, top, end);
    }

    // The gates of the stage become gradients before activation, in place.
    template <int S>
    void differentiate(isize k, isize top, isize end) {
        const Rows<const T>& output = s.output;
        for (isize r = top; r < end; r++) {
            T* const gates = s.gates + (s.start[k] + r) * G * H;
            const isize row = s.first + s.start[k] + r;
            const isize before = S == 0 ? row_before(s, k, r) : row;
            const bool has_output = S == output_stage && output.data && !s.V;
            States<Cell, T> gradients = s.gradients + r * H;
            if (s.V) gradients[h] = memory.gm + r * H;
            backward_row<Cell, S, T>(
                part.units.first, part.units.last, gates, given.of_row((s.start[k] + r) * H),
                s.states + before * H, s.states + row * H, gradients,
                has_output ? output.data + (s.start[k] + r) * output.row : nullptr, gates,
                s.gradients + r * H);
        }
    }

    // Gradients through the products come to the states before the stage.
    template <int S>
    void multiply_gates(isize k, isize top, isize end) {
        constexpr unsigned live = live_gradients<Cell, S>();
        static_assert(S > 0 || (live | Stage<Cell, S>::multiplied) == all_of(Cell::states),
                      "a state that no stage reads: its gradient would not be written");
        T* const gates = s.gates + (s.start[k] + top) * G * H;
        each_product<Cell, S>([&](auto w, auto state, auto gate) {
            constexpr bool to_all = gate == all_gates;
            const Matrix<const T> a{gates + (to_all ? 0 : gate), G * H, to_all ? 1 : G};
            constexpr bool add = adds<Cell, S>(live, w);
            const isize row = width_of<Cell>(s, state);
            T* const to = s.gradients[state] + top * row;
            if (!s.masks[w]) return U[w].multiply(end - top, a, to, row, add);
            T* const masked = memory.masked + top * H;
            U[w].multiply(end - top, a, masked, H, false);
            for (isize r = top; r < end; r++)
                multiply_row<T>(part.units.first, part.units.last, s.masks[w] + r * H,
                                memory.masked + r * H, s.gradients[state] + r * H, add);
        });
    }
};

template <typename T, typename Cell>
void compute(const SequenceBackward<T, Cell>& s) {
    const BackwardMemory<T, Cell> memory(s);
    ThreadPool::run(work_of_a_step<Cell>(s, width_of<Cell>(s, output_state<Cell>)),
                    [&](Worker& worker) { BackwardThread<T, Cell>(s, memory, worker).run(); });
}

}  // namespace SIMD

#endif
