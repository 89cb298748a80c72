// A stage of a single step, forward: see StepForward in arguments.hpp.
//
//   packed weights            few rows, see streaming.hpp          otherwise
//     gates = x Wᵀ              copy rows; barrier                   gates = x Wᵀ
//     gates += h Uᵀ             the thread's gates = x Wᵀ            gates += h Uᵀ
//     barrier                   the thread's gates += h Uᵀ           in a job for each product
//     the thread's c, h         the thread's c, h                    c, h in another
//
// The bias is added when the gates are activated.
#ifndef CHAINER_LSTM_STEP_FORWARD_HPP
#define CHAINER_LSTM_STEP_FORWARD_HPP

#include "recurrence.hpp"

namespace SIMD {

constexpr double work_of_a_unit = 100;

// `to` (batch, gates * units) = a weightᵀ, or += if `to` are the gates and it is not the product of
// x, which is the first and sets them.
template <typename T>
struct StepProduct {
    isize K, gates;
    Matrix<const T> a;
    const T *weight, *packed /*or null*/;
    T* to;
};

template <typename T, typename Cell, int S>
class ForwardStep {
public:
    explicit ForwardStep(const StepForward<T, Cell, S>& k)
        : k(k),
          arena((k.gates ? 0 : k.batch * G * k.units) + Stage::apart * k.batch * k.units),
          gates(k.gates ? k.gates : arena.allocate(k.batch * G * k.units)) {
        const isize size = k.batch * H;
        T* const to_one = arena.allocate(Stage::apart * size);
        if (S == 0) add({k.inputs, G, Matrix<const T>(k.x), k.W, k.packed_W, gates});
        each_product<Cell, S>([&](auto w, auto state, auto gate) {
            if (gate != all_gates) of_one[w] = to_one + Stage::place(w) * size;
            if (!k.weights[w]) return;
            const Matrix<const T> dense{k.before[state], H, 1};
            add({H, gates_of<Cell>(w),
                 Stage::alone >> state & 1 ? Matrix<const T>(k.alone[state]) : dense, k.weights[w],
                 k.packed[w], gate == all_gates ? gates : of_one[w]});
        });
    }

    void run() const {
        const auto all = [&](const auto& f) { return std::all_of(products, products + count, f); };
        const auto packed = [](const StepProduct<T>& p) { return p.packed != nullptr; };
        const auto streamed = [&](const StepProduct<T>& p) {
            return is_streamed<T>(k.batch, p.K, p.a, {p.weight, 1, p.K});
        };
        if (all(packed))
            multiply_panels();
        else if (all(streamed))
            stream();
        else
            multiply();
    }

private:
    typedef SIMD::Stage<Cell, S> Stage;
    static constexpr int G = Cell::gates;

    const StepForward<T, Cell, S>& k;
    const isize H = k.units;
    const T* const bias = S == 0 ? k.b : nullptr;
    Arena<T> arena;
    T* const gates;
    Weights<Cell, T> of_one;  // products to a single gate
    StepProduct<T> products[1 + Cell::weights];
    int count = 0;
    double work = 0;

    void add(const StepProduct<T>& product) {
        // fewer rows take as long: the time of loading the weights from memory
        constexpr isize least_rows = 4;
        work += 2.0 * std::max(k.batch, least_rows) * product.gates * H * product.K;
        products[count++] = product;
    }

    void multiply_panels() const {
        ThreadPool::run(work, [&](Worker& worker) {
            for (int p = 0; p < count; p++) {
                const auto& [K, n, a, weight, packed, to] = products[p];
                const Panels<T> panels(0, n * H);
                const isize first = worker.begin(panels.count), last = worker.end(panels.count);
                multiply_packed<T>(k.batch, K, a, packed, panels, first, last, adds(p), to);
            }
            worker.barrier();
            activate(Share(H, gates_step<T, Cell>, worker));
        });
    }

    // Each thread computes its units from the products to the states.
    void stream() const {
        isize size = 0, depth = 0;
        for (int p = 0; p < count; p++) {
            size += aligned_size<T>(k.batch, products[p].K);
            if (products[p].to == gates) depth += products[p].K;
        }
        // whether the first-level cache holds the rows of all products to the gates and four
        // columns: then they are summed up together
        const bool together = (k.batch + 4) * depth * isize(sizeof(T)) <= dots_bytes;
        Arena<T> copies(size);
        T* const copied = copies.allocate(0);
        ThreadPool::run(work, [&](Worker& worker) {
            const Share mine(H, gates_step<T, Cell>, worker);
            Term<T> terms[1 + Cell::weights];
            T* to = copied;
            for (int p = 0; p < count; p++) {
                const auto& [K, n, a, weight, packed, out] = products[p];
                terms[p] = {aligned(worker, k.batch, K, a, to), Matrix<const T>{weight, 1, K}, K};
                to += aligned_size<T>(k.batch, K);
            }
            if (size) worker.barrier();
            for (int p = 0, some; p < count; p += some) {
                const StepProduct<T>& product = products[p];
                const isize n = product.gates, first = n * mine.first, last = n * mine.last;
                some = 1;
                while (together && product.to == gates && p + some < count &&
                       products[p + some].to == gates)
                    some++;
                stream_columns<T>(k.batch, n * H, terms + p, some, adds(p), product.to, first,
                                  last);
            }
            activate(mine);
        });
    }

    void multiply() const {
        for (int p = 0; p < count; p++) {
            const auto& [K, n, a, weight, packed, to] = products[p];
            product<T>(k.batch, n * H, K, a, {weight, 1, K}, nullptr, adds(p), to);
        }
        ThreadPool::run(work_of_a_unit * k.batch * H, [&](Worker& worker) {
            activate({H, H, {0, 1}}, worker.begin(k.batch), worker.end(k.batch));
        });
    }

    bool adds(int p) const { return products[p].to == gates && (S > 0 || p > 0); }

    // units of rows [top, end)
    void activate(const Share& units, isize top, isize end) const {
        const Given<Cell, T> given{k.weights, k.noise, k.numbers.of};
        for (isize r = top; r < end; r++)
            forward_row<Cell, S, T>(units.first, units.last, {gates + r * G * H, nullptr, bias},
                                    of_one + r * H, given.of_row(r * H), k.before + r * H,
                                    k.gates ? gates + r * G * H : nullptr, k.now + r * H);
    }
    void activate(const Share& units) const { activate(units, 0, k.batch); }
};

template <typename T, typename Cell, int S>
void compute(const StepForward<T, Cell, S>& k) {
    ForwardStep<T, Cell, S>(k).run();
}

}  // namespace SIMD

#endif
