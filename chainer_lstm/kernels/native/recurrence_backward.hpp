// One layer over all time steps, backward: see SequenceBackward in arguments.hpp.
//
//   pack the thread's weights
//   for each step, the last one first:
//     gm = (gradient of h) V                     with a projection; barrier before it
//     gates = gradients before activation        the array code of cells/*.cuh, in place
//     barrier                                    the product reads the gates of all units
//     gradient of h = gates U                    of the step before
//
// The gradients of x, W, U and b are products over all steps, which Python calls afterwards.
#ifndef CHAINER_LSTM_RECURRENCE_BACKWARD_HPP
#define CHAINER_LSTM_RECURRENCE_BACKWARD_HPP

#include "recurrence.hpp"

namespace SIMD {

// The set of the states whose gradients are not zero after the array code of a stage, backward.
template <typename Cell, int S>
constexpr unsigned live_gradients() {
    unsigned live = all_of(Cell::states);
    if constexpr (S + 1 < stages<Cell>) live = live_gradients<Cell, S + 1>();
    return (live & ~Stage<Cell, S>::Base::writes) | Stage<Cell, S>::Base::reads;
}

// Returns whether the gradient through the product of a weight is added to the gradient of its
// state; otherwise it is the first part of it.
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
        for (int w = 0; w < Cell::weights; w++)
            weights[w] = arena.allocate(packed_size<T, Cell>(s, w));
        V = arena.allocate(packed_size<T, Cell>(s, Cell::weights));
        gm = arena.allocate(s.V ? s.batch * s.units : 0);
        masked = arena.allocate(count_of(s.masks) ? s.batch * s.units : 0);
    }
};

// The part of one thread in a backward pass.
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
            if (s.cells.data) add_cells(k);
            if constexpr (stages<Cell> == 2) stage<1>(k);
            stage<0>(k);
        }
    }

private:
    static constexpr int G = Cell::gates, h = output_state<Cell>;
    // the stage that writes the output; it adds the gradient of the output at every step
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

    // Computes the gradient with respect to m: the whole gradient with respect to h times V.
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
        part.meet_if_by_units(worker);  // the product reads `total` of all outputs
        const Matrix<const T> total{s.total + (s.start[k] + top) * P, P, 1};
        V.multiply(end - top, total, memory.gm + top * H, H, false, k % 2);
    }

    // No barrier: only this thread reads its units of the gradient with respect to the first state.
    void add_cells(isize k) {
        for (isize r = part.top(s.n[k]); r < part.end(s.n[k]); r++) {
            const T* const cells = s.cells.data + (s.start[k] + r) * s.cells.row;
            T* const to = s.gradients[0] + r * H;
            for (isize u = part.units.first; u < part.units.last; u++) to[u] += cells[u];
        }
    }

    template <int S>
    void stage(isize k) {
        const isize top = part.top(s.n[k]), end = part.end(s.n[k]);
        differentiate<S>(k, top, end);
        part.meet_if_by_units(worker);
        multiply_gates<S>(k, top, end);
    }

    // Replaces the gates of the stage by the gradients before activation.
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

    // Adds the gradients through the products to those of the states before the stage.
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
            if (!s.masks[w]) return U[w].multiply(end - top, a, to, row, add, k % 2);
            T* const masked = memory.masked + top * H;
            U[w].multiply(end - top, a, masked, H, false, k % 2);
            for (isize r = top; r < end; r++)
                multiply_row<T>(part.units.first, part.units.last, s.masks[w] + r * H,
                                memory.masked + r * H, s.gradients[state] + r * H, add);
        });
    }
};

template <typename T, typename Cell>
void compute(const SequenceBackward<T, Cell>& s) {
    const BackwardMemory<T, Cell> memory(s);
    ThreadPool::run(
        work_of_a_step<Cell>(s, width_of<Cell>(s, output_state<Cell>)),
        [&](Worker& worker) { BackwardThread<T, Cell>(s, memory, worker).run(); }, s.steps);
}

}  // namespace SIMD

#endif
