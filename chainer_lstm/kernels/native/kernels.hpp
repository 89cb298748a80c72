// The kernels of one instruction set, by name. Each takes the address of its arguments
// (arguments.hpp) and returns 0, or 1 if there was no memory.
#ifndef CHAINER_LSTM_KERNELS_HPP
#define CHAINER_LSTM_KERNELS_HPP

#include "embedding.hpp"
#include "normalized_lstm.hpp"
#include "recurrence_backward.hpp"
#include "recurrence_forward.hpp"
#include "step_forward.hpp"
#include "updates.hpp"

namespace SIMD {

template <typename T>
void compute(const Matmul<T>& k) {
    product<T>(k.M, k.N, k.K, k.a, k.b, k.bias, false, k.out);
}

template <typename T>
void compute(const Pack<T>& k) {
    const Panels<T> panels(0, k.columns);
    ThreadPool::run(double(k.columns) * k.depth, [&](Worker& worker) {
        const isize first = worker.begin(panels.count), last = worker.end(panels.count);
        pack(panels, first, last, {k.weight, 1, k.depth}, k.depth,
             k.packed + panels.begin(first) * k.depth);
    });
}

template <typename T>
void compute(const CopyGates<T>& k) {
    ThreadPool::run(work_of_an_update * 4 * k.units * k.columns, [&](Worker& worker) {
        for (isize u = worker.begin(k.units); u < worker.end(k.units); u++)
            for (int g = 0; g < 4; g++)
                std::memcpy(k.to[g].data + u * k.to[g].row, k.from[g].data + u * k.from[g].row,
                            k.columns * sizeof(T));
    });
}

constexpr double work_of_an_exponential = 20;

template <typename T>
void compute(const Exponentials<T>& k) {
    const isize V = k.classes;
    ThreadPool::run(work_of_an_exponential * k.rows * V, [&](Worker& worker) {
        const isize end = worker.end(k.rows);
        for (isize r = worker.begin(k.rows); r < end; r++)
            exponentials_row(V, k.x + r * V, k.y ? k.y + r * V : k.y, k.maxima[r], k.sums[r]);
    });
}

template <typename T, typename Cell, int S>
void compute(const StageForward<T, Cell, S>& k) {
    constexpr int G = Cell::gates;
    const Given<Cell, T> given{k.products, k.noise, k.numbers.of};
    ThreadPool::run(work_of_a_unit * k.batch * k.units, [&](Worker& worker) {
        if (S > 0) {  // no bias, which repeats for each row: treat all rows as one long row
            const Share mine(k.batch * k.units, lanes<T>, worker);
            return forward_row<Cell, S, T>(mine.first, mine.last, {k.gates}, k.products, given,
                                           k.before, k.gates, k.now);
        }
        const isize end = worker.end(k.batch);
        for (isize r = worker.begin(k.batch); r < end; r++) {
            const isize u = r * k.units;
            const Summands<T> sum{k.xw + G * u, k.hu ? k.hu + G * u : k.hu, k.b};
            forward_row<Cell, S, T>(0, k.units, sum, k.products + u, given.of_row(u), k.before + u,
                                    k.gates + G * u, k.now + u);
        }
    });
}

template <typename T, typename Cell, int S>
void compute(const StageBackward<T, Cell, S>& k) {
    const Given<Cell, T> given{k.weights, k.noise, k.numbers.of};
    ThreadPool::run(work_of_a_unit * k.batch * k.units, [&](Worker& worker) {
        // without diagonal weights, which repeat for each row, treat all rows as one long row
        constexpr bool by_rows = Stage<Cell, S>::diagonals != 0;
        const isize rows = by_rows ? k.batch : 1, width = by_rows ? k.units : k.batch * k.units;
        const Share mine(width, lanes<T>, worker);
        for (isize u = 0; u < rows * width; u += width)
            backward_row<Cell, S, T>(mine.first, mine.last, k.gates + Cell::gates * u,
                                     given.of_row(u), k.before + u, k.now + u, k.gradients + u,
                                     nullptr, k.gpre + Cell::gates * u, k.out + u);
    });
}

// Computes gpre and the gradients of array code, then the gradients through the products.
template <typename T, typename Cell, int S>
void compute(const StepBackward<T, Cell, S>& k) {
    typedef Stage<Cell, S> Stage;
    constexpr int G = Cell::gates;
    const isize batch = k.batch, H = k.units, N = G * H;
    const Matrix<const T> gpre{k.gpre, N, 1};
    const Given<Cell, T> given{k.weights, k.noise, k.numbers.of};
    const auto each_to_all = [&](const auto& f) {  // f(columns, weight, to, add)
        if (k.W) f(k.inputs, k.W, k.gx, false);
        each_product<Cell, S>([&](auto w, auto state, auto gate) {
            if (gate == all_gates && k.weights[w])
                f(H, k.weights[w], k.out[state], adds<Cell, S>(Stage::reads, w));
        });
    };
    double work = 0;
    each_to_all([&](isize columns, const T*, T*, bool) { work += 2.0 * batch * N * columns; });
    if (work > 0 && is_streamed(batch, N, gpre, {k.W, k.inputs, 1})) {
        ThreadPool::run(work, [&](Worker& worker) {
            const Share mine(H, lanes<T>, worker);
            for (isize u = 0; u < batch * H; u += H)
                backward_row<Cell, S, T>(mine.first, mine.last, k.gates + G * u, given.of_row(u),
                                         k.before + u, k.now + u, k.gradients + u, nullptr,
                                         k.gpre + G * u, k.out + u);
            worker.barrier();
            each_to_all([&](isize columns, const T* weight, T* to, bool add) {
                stream_part<T>(worker, batch, columns, N, gpre, {weight, columns, 1}, add, to);
            });
        });
    } else {
        compute(StageBackward<T, Cell, S>{batch, H, k.numbers, k.gates, k.weights, k.noise,
                                          k.before, k.now, k.gradients, k.gpre, k.out});
        each_to_all([&](isize columns, const T* weight, T* to, bool add) {
            product<T>(batch, columns, N, gpre, {weight, columns, 1}, nullptr, add, to);
        });
    }
    each_product<Cell, S>([&](auto w, auto state, auto gate) {
        if (gate == all_gates || !k.weights[w]) return;
        // packed densely: a product streams its weight only if its rows are dense
        Arena<T> arena(batch * H);
        T* const of_gate = arena.allocate(batch * H);
        for (isize u = 0; u < batch * H; u++) of_gate[u] = k.gpre[u * G + gate];
        product<T>(batch, H, H, {of_gate, H, 1}, {k.weights[w], H, 1}, nullptr,
                   adds<Cell, S>(Stage::reads, w), k.out[state]);
    });
}

template <typename Arguments>
int entry(const void* packed) {
    const FlushDenormals flush;
    Arguments arguments;
    static_assert(std::is_trivially_copyable<Arguments>::value, "copied from Python's bytes");
    std::memcpy(&arguments, packed, sizeof arguments);
    try {
        compute(arguments);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

template <typename T>
Kernel* find(const char* wanted) {
    Kernel* found = nullptr;
    each_kernel<T>([&](const char* name, auto arguments) {
        if (!std::strcmp(name, wanted)) found = entry<decltype(arguments)>;
    });
    return found;
}

Kernel* find(const char* wanted, char dtype) {
    return dtype == 'd' ? find<double>(wanted) : find<float>(wanted);
}

}  // namespace SIMD

#endif
