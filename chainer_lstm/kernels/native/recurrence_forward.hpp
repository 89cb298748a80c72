// One layer over all time steps, forward: see SequenceForward in arguments.hpp.
#ifndef CHAINER_LSTM_RECURRENCE_FORWARD_HPP
#define CHAINER_LSTM_RECURRENCE_FORWARD_HPP

#include "recurrence.hpp"

namespace SIMD {

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
    ThreadPool::run(
        work_of_a_step<Cell>(s, width_of<Cell>(s, output_state<Cell>) + s.inputs),
        [&](Worker& worker) { ForwardThread<T, Cell>(s, memory, worker).run(); }, s.steps);
}

}  // namespace SIMD

#endif
