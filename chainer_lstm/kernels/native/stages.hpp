// The stages of a cell over the units of a row, a vector at a time, with the array code of
// cells/*.cuh. Every pointer is to unit 0 of the row.
#ifndef CHAINER_LSTM_STAGES_HPP
#define CHAINER_LSTM_STAGES_HPP

#include "cell.hpp"
#include "vectors.hpp"

namespace SIMD {

// The summands of the gates before activation: in the first stage the product of x, the product of
// a state to all gates, and the bias; in the second stage the gates of the first.
template <typename T>
struct Summands {
    const T* gates;
    const T *hu = nullptr, *b = nullptr;
};

// The arguments of array code besides gates and states; numbers as in Numbers.
template <typename Cell, typename T>
struct Given {
    Weights<Cell, const T> weights;  // of diagonal products
    Noise<Cell, const T> noise;
    const double* numbers;

    // the arguments of another row, which has the same weights
    Given of_row(isize offset) const { return {weights, noise + offset, numbers}; }

    template <int S>
    INLINE More<Cell, Vec<T>, double> load(isize u, isize n) const {
        More<Cell, Vec<T>, double> more;
        each_of<Stage<Cell, S>::diagonals>([&](auto w) __attribute__((always_inline)) {
            more.weights[w] = load_or_zero(weights[w], u, n);
        });
        repeat<Cell::noise>([&](auto k) __attribute__((always_inline)) {
            more.noise[k] = noise[k] ? SIMD::load(noise[k] + u, n) : Vec<T>(T(numbers[k]));
        });
        more.numbers = numbers + Cell::noise;
        return more;
    }
};

// Computes units [first, last); `products` are the products to a single gate, by weight.
template <typename Cell, int S, typename T>
void forward_row(isize first, isize last, const Summands<T>& sum,
                 const Weights<Cell, const T>& products, const Given<Cell, T>& given,
                 const States<Cell, const T>& before, T* gates /*or null*/,
                 const States<Cell, T>& now) {
    typedef Stage<Cell, S> Stage;
    constexpr int G = Cell::gates;
    each_vector<T>(first, last, [&](isize u, isize n) __attribute__((always_inline)) {
        Vec<T> g[G], old_states[Cell::states], new_states[Cell::states];
        load_gates(sum.gates + G * u, g, n);
        const auto add = [&](const T* summands /*or null*/) __attribute__((always_inline)) {
            if (S > 0 || !summands) return;
            Vec<T> more[G];
            load_gates(summands + G * u, more, n);
            repeat<G>([&](auto k) __attribute__((always_inline)) { g[k] += more[k]; });
        };
        add(sum.hu);
        add(sum.b);
        each_product<Cell, S>([&](auto w, auto, auto gate) __attribute__((always_inline)) {
            if constexpr (gate != all_gates) g[gate] += load(products[w] + u, n);
        });
        each_of<Stage::reads>([&](auto s) __attribute__((always_inline)) {
            old_states[s] = load_or_zero(before[s], u, n);
        });
        const More<Cell, Vec<T>, double> more = given.template load<S>(u, n);
        each_of<Stage::added>([&](auto w) __attribute__((always_inline)) {
            constexpr Product product = SIMD::products<Cell>[w];
            g[product.gate] += more.weights[w] * old_states[product.state];
        });
        Stage::forward(g, old_states, new_states, more);
        if (gates) store_gates(gates + G * u, g, n);
        each_of<Stage::writes>(
            [&](auto s) __attribute__((always_inline)) { store(now[s] + u, new_states[s], n); });
    });
}

// Computes units [first, last). The gates that the stage owns are written to gpre, which may be
// `gates`. Gradients and `output` may be null; `output` is added to the gradient of the output.
template <typename Cell, int S, typename T>
void backward_row(isize first, isize last, const T* gates, const Given<Cell, T>& given,
                  const States<Cell, const T>& before, const States<Cell, const T>& now,
                  const States<Cell, const T>& gradients, const T* output /*or null*/, T* gpre,
                  const States<Cell, T>& out) {
    typedef Stage<Cell, S> Stage;
    constexpr int G = Cell::gates;
    each_vector<T>(first, last, [&](isize u, isize n) __attribute__((always_inline)) {
        Vec<T> g[G], pre[G], old_states[Cell::states], new_states[Cell::states], grad[Cell::states];
        load_gates(gates + G * u, g, n);
        each_of<Stage::reads>([&](auto s) __attribute__((always_inline)) {
            old_states[s] = load_or_zero(before[s], u, n);
        });
        each_of<Stage::needs>(
            [&](auto s) __attribute__((always_inline)) { new_states[s] = load(now[s] + u, n); });
        each_of<Stage::written>([&](auto s) __attribute__((always_inline)) {
            grad[s] = load_or_zero(gradients[s], u, n);
            if constexpr (s == output_state<Cell>) grad[s] += load_or_zero(output, u, n);
        });
        const More<Cell, Vec<T>, double> more = given.template load<S>(u, n);
        Stage::backward(g, old_states, new_states, grad, pre, more);
        each_of<Stage::added>([&](auto w) __attribute__((always_inline)) {
            constexpr Product product = products<Cell>[w];
            grad[product.state] += pre[product.gate] * more.weights[w];
        });
        constexpr unsigned others = all_of(G) & ~Stage::owns;
        if constexpr (others != 0) {
            if (gpre != gates) load_gates(gpre + G * u, g, n);
            each_of<others>([&](auto k) __attribute__((always_inline)) { pre[k] = g[k]; });
        }
        store_gates(gpre + G * u, pre, n);
        each_of<Stage::reads>([&](auto s) __attribute__((always_inline)) {
            if (out[s]) store(out[s] + u, grad[s], n);
        });
    });
}

}  // namespace SIMD

#endif
