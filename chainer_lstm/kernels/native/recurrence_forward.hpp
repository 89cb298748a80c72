// One layer over all time steps, forward: see SequenceForward in arguments.hpp.
//
//   pack the thread's weights
//   for each chunk of steps:
//     gates of the chunk = x Wᵀ                  one product for up to chunk_rows rows
//     for each step of the chunk:
//       gates += h Uᵀ                            of the step before
//       activate the gates + b; c, h             the array code of cells/*.cuh, a vector at a time
//       barrier                                  the next product reads h of all units
//       the same for a second stage              of a cell in which o depends on the new c
//       h = m Vᵀ; barrier                        with a projection
#ifndef CHAINER_LSTM_RECURRENCE_FORWARD_HPP
#define CHAINER_LSTM_RECURRENCE_FORWARD_HPP

#include "recurrence.hpp"

namespace SIMD {

// The inputs of so many rows are multiplied together: more would not stay in the caches until their
// steps use them, fewer would load W more often.
constexpr isize chunk_rows = 128;

// from so many steps on, packing the recurrent weights pays even for a single row
constexpr isize steps_to_pack = 16;

// The weight matrices of the gates, read as one interleaved matrix (gates * units, K).
template <typename T, int G>
class GateRows {
public:
    explicit GateRows(const Rows<const T> (&of)[G]) : of_(of) {}

    // Returns whether the matrix can be streamed, as `columns`, although it is not joined.
    bool has_columns() const {
        const auto same = [&](const Rows<const T>& gate) { return gate.row == of_[0].row; };
        return G == 4 && std::all_of(of_, of_ + G, same);
    }

    Columns<T> columns() const {
        Columns<T> found;
        for (int g = 0; g < 4; g++) found.of[g] = of_[g % G].data;
        found.step = of_[0].row;
        return found;
    }

    // the address if memory has that order already, or null
    const T* joined(isize K) const {
        for (int g = 0; g < G; g++)
            if (of_[g].data != of_[0].data + g * K || of_[g].row != G * K) return nullptr;
        return of_[0].data;
    }

    // Packs panels [first, last) of the transposed matrix; squares are transposed in registers.
    void pack(const Packed<T>& packed, isize first, isize last) const {
        constexpr isize n = lanes<T>;
        for (isize p = first; p < last; p++) {
            const isize begin = packed.panels.begin(p), width = packed.panels.width(p);
            for (isize c = 0; c < width; c += n) {
                const T *of[n], *next[n];
                for (isize r = 0; r < n; r++) of[r] = row(begin + std::min(c + r, width - 1));
                for (isize r = 0; r < n; r++) next[r] = row(begin + std::min(c + n + r, width - 1));
                for (isize k = 0; k < packed.K; k += n) {
                    const isize depth = std::min(packed.K - k, n);
                    Vec<T> square[n];
                    UNROLL
                    for (int r = 0; r < n; r++) {
                        square[r] = load(of[r] + k, depth);
                        __builtin_prefetch(next[r] + k);
                    }
                    transpose(square);
                    T* const to = packed.at(p) + k * round_up(width, n) + c;
                    for (isize r = 0; r < depth; r++) square[r].store(to + r * round_up(width, n));
                }
            }
        }
    }

private:
    const Rows<const T>* of_;

    const T* row(isize n) const { return of_[n % G].data + n / G * of_[n % G].row; }
};

// The memory that the threads of a forward pass share.
template <typename T, typename Cell>
struct ForwardMemory {
    const isize padded;  // units
    // For so few rows packing a weight would take longer than multiplying by it. All rows are
    // multiplied by W together; the rows of a step by the other weights.
    const bool streams_inputs, streams_states;
    const isize chunk;   // steps whose inputs are multiplied together
    const isize spare;   // size of the gates of a chunk, if the caller does not keep gates
    const isize copied;  // size of an aligned copy of x, or 0
    Arena<T> arena;
    Weights<Cell, T> weights;
    Weights<Cell, T> masked;  // buffers of masked states, arranged as those of states
    T *W, *V, *x, *gates, *products;

    explicit ForwardMemory(const SequenceForward<T, Cell>& s)
        : padded(round_up(s.units, lanes<T>)),
          streams_inputs(s.rows <= 2 * streamed_rows),
          streams_states(streams_inputs && s.steps < steps_to_pack),
          chunk(std::max<isize>(chunk_rows / std::max<isize>(s.batch, 1), 1)),
          spare(s.gates ? 0 : chunk * s.batch * Cell::gates * s.units),
          copied(streams_inputs ? aligned_size<T>(s.rows, s.inputs) : 0),
          arena(packed_size<T, Cell>(s) + Cell::gates * s.inputs * padded + copied + spare +
                most_apart<Cell> * s.batch * s.units +
                count_of(s.masks) * (s.rows + s.batch) * s.units) {
        // weights and x come first, so that panels and rows are aligned
        for (int w = 0; w < Cell::weights; w++)
            weights[w] = arena.allocate(packed_size<T, Cell>(s, w));
        V = arena.allocate(packed_size<T, Cell>(s, Cell::weights));
        W = arena.allocate(Cell::gates * s.inputs * padded);
        x = arena.allocate(copied);
        gates = arena.allocate(spare);
        products = arena.allocate(most_apart<Cell> * s.batch * s.units);
        for (int w = 0; w < Cell::weights; w++)
            if (s.masks[w]) masked[w] = arena.allocate((s.rows + s.batch) * s.units);
    }
};

// The part of one thread in a forward pass.
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
          W(pack(s.W, s.inputs, memory.streams_inputs, memory.W)),
          U(pack_each<T, Cell>(
              [&](int w) {
                  const isize K = width_of<Cell>(s, products<Cell>[w].state);
                  T* const to = memory.weights[w];
                  return products<Cell>[w].gate == all_gates
                             ? pack(s.U, K, memory.streams_states, to)
                             : pack(s.weights[w], K, gates_of<Cell>(w), to);
              },
              std::make_integer_sequence<int, Cell::weights>{})),
          V(part.pack(worker, {s.V, 1, H}, s.V ? H : 0, part.outputs.first, part.outputs.last,
                      memory.V + H * part.outputs.first)) {}

    void run() {
        if (memory.copied) {
            x = aligned(worker, s.rows, s.inputs, x, memory.x);
            worker.barrier();
        } else {
            part.meet_if_by_rows(worker);
        }
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
    Matrix<const T> x = s.x;

    // The thread's part of a weight (gates * H, K), packed.
    Packed<T> pack(const T* weight, isize K, isize gates, T* to) const {
        const isize first = gates * part.units.first, last = gates * part.units.last;
        return part.pack(worker, {weight, 1, K}, K, first, last, to + first * K);
    }

    // The same for a weight with a matrix for each gate, packed or streamed. Weights of a single
    // gate are never streamed: their products are so narrow that sums across the lanes of vectors
    // take longer.
    Packed<T> pack(const Rows<const T> (&weight)[G], isize K, bool streamed, T* to) const {
        const GateRows<T, G> rows(weight);
        const T* const joined = rows.joined(K);
        const isize first = G * part.units.first, last = G * part.units.last;
        if (streamed && rows.has_columns()) return {Panels<T>(first, last), K, rows.columns()};
        if (streamed && joined) return {Panels<T>(first, last), K, Columns<T>({joined, 1, K})};
        if (joined) return pack(joined, K, G, to);
        return part.pack(
            worker, K, first, last, to + first * K,
            [&](const Packed<T>& packed, isize p, isize end) { rows.pack(packed, p, end); });
    }

    // Row 0 of step k among the gates. If the caller does not keep gates, memory holds those of one
    // chunk; by rows, sequence after sequence, since other threads may be in another chunk.
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

    // Sets the gates of a chunk of steps to x Wᵀ, panel by panel: a panel stays in the caches for
    // all rows.
    void multiply_inputs(isize from) {
        const isize to = std::min(from + memory.chunk, s.steps);
        isize rows = 0;
        for (isize k = from; k < to; k++) rows += s.n[k];
        for (isize p = 0; p < W.panels.count; p++) {
            const auto multiply = [&](isize start, isize count, T* gates) {
                W.multiply(p, p + 1, count, x.from(start, 0), gates, gates_row, false);
            };
            if (!part.by_rows) {  // the rows of all steps are contiguous
                const isize start = start_of_chunk(from);
                multiply(start, rows, s.gates ? s.gates + start * G * H : memory.gates);
                continue;
            }
            for (isize k = from; k < to; k++) {
                const isize top = part.top(s.n[k]), end = part.end(s.n[k]);
                multiply(s.start[k] + top, end - top, gates_of_step(k) + top * gates_row);
            }
        }
    }

    void mask_initial_states() {
        if (!count_of(s.masks)) return;
        each_product<Cell, 0>([&](auto w, auto state, auto) {
            for (isize r = part.first_row; r < part.last_row; r++) mask(w, state, r, s.initial + r);
        });
        part.meet_if_by_units(worker);
    }

    // Masks the state of the thread's units in row r of a step, which is row `at` of the buffer.
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

    // Adds products to all gates to the gates; keeps products to a single gate apart.
    template <int S>
    void multiply_states(isize k, isize top, isize end) {
        T* const gates = gates_of_step(k);
        each_product<Cell, S>([&](auto w, auto state, auto gate) {
            const isize K = width_of<Cell>(s, state);
            const auto multiply = [&](isize r, isize rows, isize at) {
                const T* const of = s.masks[w] ? memory.masked[w] : s.states[state];
                const Matrix<const T> a{of + at * K, K, 1};
                if (gate == all_gates)
                    U[w].multiply(rows, a, gates + r * gates_row, gates_row, true, k % 2);
                else
                    U[w].multiply(rows, a, product<S>(w) + r * H, H, false, k % 2);
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
            forward_row<Cell, S, T>(part.units.first, part.units.last, {gates, nullptr, s.b},
                                    products + r * H, given.of_row(packed * H),
                                    s.states + before * H, keep ? gates : nullptr, now);
            if (S + 1 == stages<Cell>)
                each_product<Cell, 0>([&](auto w, auto state, auto) { mask(w, state, r, row); });
        }
    }

    // h = m Vᵀ, after all threads have computed m
    void project(isize k) {
        const isize top = part.top(s.n[k]), end = part.end(s.n[k]), P = s.outputs;
        const Matrix<const T> m{s.m + (s.start[k] + top) * H, H, 1};
        V.multiply(end - top, m, s.states[h] + (s.first + s.start[k] + top) * P, P, false, k % 2);
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
