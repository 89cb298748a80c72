// One layer in one direction over all time steps, the parts that forward and backward share: see
// STEPS in arguments.hpp.
//
// Threads share the work of all steps in one of two ways, see Part:
//
//     by units, each thread some columns           by rows, each thread some sequences
//              thread 0 │ thread 1                          ┌──────────────┐
//          h   ┌────────┼────────┐                      h   │   thread 0   │
//              │        │        │                          ├──────────────┤
//              └────────┼────────┘                          │   thread 1   │
//        weights of the thread's units                      └──────────────┘
//        stay in its own cache                    every thread reads all weights, so they have to
//        barrier after every stage                fit its cache; no barriers after packing
#ifndef CHAINER_LSTM_RECURRENCE_HPP
#define CHAINER_LSTM_RECURRENCE_HPP

#include "arguments.hpp"
#include "product.hpp"
#include "stages.hpp"

namespace SIMD {

// The units of a thread, a multiple of `step` except at the end.
struct Share {
    isize first, last;

    Share(isize units, isize step, const Worker& w)
        : first(std::min(w.begin(pieces(units, step)) * step, units)),
          last(std::min(w.end(pieces(units, step)) * step, units)) {}
};

template <typename Cell>
constexpr int most_apart = std::max(Stage<Cell, 0>::apart, Stage<Cell, stages<Cell> - 1>::apart);

// Threads get multiples of so many units: their gates are whole vectors, and so are the products to
// a single gate, if the cell has any.
template <typename T, typename Cell>
constexpr isize gates_step =
    most_apart<Cell> == 0 && lanes<T> % Cell::gates == 0 ? lanes<T> / Cell::gates : lanes<T>;

// Bytes of weights that the second-level cache of each thread holds; the rest is for states and
// gates.
inline isize weights_in_cache() { return second_level_cache() / 4 * 3; }

// the number of columns of a state
template <typename Cell, typename Sequence>
isize width_of(const Sequence& s, int state) {
    return state == output_state<Cell> && s.V ? s.outputs : s.units;
}

// The part of a thread. By units: some units of all rows; its part of the weights stays in its
// caches, and threads meet once a stage. By rows: all units of some rows, without data from other
// threads; for weights that the cache of each thread holds as a whole.
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
                      weights_in_cache()),
          units(s.units, step, by_rows ? Worker{0, 1} : w),
          outputs(width_of<Cell>(s, output_state<Cell>), lanes<T>, by_rows ? Worker{0, 1} : w),
          first_row(by_rows ? row(s, w, w.id) : 0),
          last_row(by_rows ? row(s, w, w.id + 1) : s.batch) {}

    // of the n rows of a step
    isize top(isize n) const { return std::min(first_row, n); }
    isize end(isize n) const { return std::min(last_row, n); }

    // Packs the columns [first, last) of B (K, N) that the thread multiplies by; by rows, all
    // threads multiply by all columns, and each packs a part of them.
    Packed<T> pack(const Worker& w, Matrix<const T> b, isize K, isize first, isize last,
                   T* memory) const {
        return pack(w, K, first, last, memory,
                    [&](const Packed<T>& to, isize begin, isize end) { to.pack(b, begin, end); });
    }

    // The same for B that `fill` packs: fill(to, first, last) for some panels.
    template <typename Fill>
    Packed<T> pack(const Worker& w, isize K, isize first, isize last, T* memory,
                   const Fill& fill) const {
        const Packed<T> packed(Panels<T>(first, last), K, memory);
        const isize count = packed.panels.count;
        fill(packed, by_rows ? w.begin(count) : 0, by_rows ? w.end(count) : count);
        return packed;
    }

    // After packing: by rows, a thread multiplies by panels that other threads have packed.
    void meet_if_by_rows(Worker& w) const {
        if (by_rows) w.barrier();
    }

    // After a stage: by units, a thread reads states that other threads have computed.
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

// Calls f(r, rows, at) for the runs of rows whose states before step k are contiguous in a buffer,
// from row `at` on: sequences that have begun, then those that begin at step k.
template <typename Sequence, typename F>
void each_run_before(const Sequence& s, isize k, isize top, isize end, const F& f) {
    const isize known = k ? std::min<isize>(s.n[k - 1], end) : 0;
    if (top < known) f(top, known - top, s.first + s.start[k - 1] + top);
    top = std::max(top, known);
    if (top < end) f(top, end - top, s.initial + top);
}

// Floating point operations of one step, from which the number of threads is chosen. Fewer than
// four rows count as four: their step takes as long as loading the weights from the caches.
template <typename Cell, typename Sequence>
double work_of_a_step(const Sequence& s, isize columns) {
    const double rows = std::max(double(s.rows) / std::max<isize>(s.steps, 1), 4.0);
    return 2.0 * Cell::gates * rows * s.units * columns;
}

// The most elements of a packed weight of a product, in either direction; Cell::weights is the
// number of the projection's weight.
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

}  // namespace SIMD

#endif
