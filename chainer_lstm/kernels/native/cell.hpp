// What the templates over a cell need to know of it, and loops over its parts. cells/lstm.cuh shows
// what a cell is. The loops are unrolled by the compiler's front end: arrays of vectors become
// registers only if all their indices are constants.
#ifndef CHAINER_LSTM_CELL_HPP
#define CHAINER_LSTM_CELL_HPP

#include "simd.hpp"

#include "../../cells/cell.cuh"

namespace SIMD {

// f(k) for each k of a set
template <unsigned set, int K = 0, typename F>
INLINE void each_of(const F& f) {
    if constexpr ((set >> K & 1) != 0) f(std::integral_constant<int, K>{});
    if constexpr (set >> K > 1) each_of<set, K + 1>(f);
}

template <typename Cell>
constexpr int stages = std::is_same<typename Cell::Second, NoStage>::value ? 1 : 2;

template <typename Cell>
constexpr unsigned all_states = (1u << Cell::states) - 1;
template <typename Cell>
constexpr unsigned all_gates_of = (1u << Cell::gates) - 1;

// h: the output, of which gradients come at every step of a sequence
template <typename Cell>
constexpr int output_state = Cell::states - 1;

// A stage of a cell by its number.
template <typename Cell, int S>
struct Stage : std::conditional_t<S == 0, typename Cell::First, typename Cell::Second> {
    typedef std::conditional_t<S == 0, typename Cell::First, typename Cell::Second> Base;

    static constexpr int count = sizeof(Base::products) / sizeof(Product);  // of products

    static constexpr unsigned of_products() {
        unsigned set = 0;
        for (const Product& product : Base::products) set |= 1u << product.state;
        return set;
    }

    // states that products alone read; and those that are written up to the end of the stage
    static constexpr unsigned alone = of_products() & ~Base::reads;
    static constexpr unsigned written = Cell::First::writes | (S ? Base::writes : 0);
};

// the stage that writes the output
template <typename Cell>
constexpr int output_stage =
    Stage<Cell, stages<Cell> - 1>::Base::writes >> output_state<Cell> & 1 ? stages<Cell> - 1 : 0;

// the first weight of a stage
template <typename Cell, int S>
constexpr int first_weight = S == 0 ? 0 : Stage<Cell, 0>::count;

// the products of both stages, in order of their weights
template <typename Cell>
constexpr auto products = [] {
    constexpr int first = Stage<Cell, 0>::count;
    if constexpr (stages<Cell> == 1) {
        std::array<Product, first> all{};
        for (int k = 0; k < first; k++) all[k] = Cell::First::products[k];
        return all;
    } else {
        std::array<Product, first + Stage<Cell, 1>::count> all{};
        for (int k = 0; k < first; k++) all[k] = Cell::First::products[k];
        for (int k = first; k < int(all.size()); k++) all[k] = Cell::Second::products[k - first];
        return all;
    }
}();

template <typename Cell>
constexpr int weights = products<Cell>.size();

// how many columns of gates a product has for each unit, and all products together
template <typename Cell>
constexpr isize gates_of(const Product& product) {
    return product.gate == all_gates ? Cell::gates : 1;
}

template <typename Cell>
constexpr isize gates_of_products = [] {
    isize sum = 0;
    for (const Product& product : products<Cell>) sum += gates_of<Cell>(product);
    return sum;
}();

// f(k, state, gate) for the products of a stage, all constants
template <typename Cell, int S, typename F>
INLINE void each_product(const F& f) {
    repeat<Stage<Cell, S>::count>([&](auto k) __attribute__((always_inline)) {
        constexpr Product product = Stage<Cell, S>::products[k];
        static_assert(product.weight == first_weight<Cell, S> + k, "products in order of weights");
        f(k, std::integral_constant<int, product.state>{},
          std::integral_constant<int, product.gate>{});
    });
}

// Pointers by state, product or weight; null for what is not there.
template <typename T, int N>
struct Pointers {
    T* p[N] = {};

    INLINE T*& operator[](int k) { return p[k]; }
    INLINE T* operator[](int k) const { return p[k]; }

    INLINE Pointers<const T, N> read_only() const {
        Pointers<const T, N> found;
        repeat<N>([&](auto k) __attribute__((always_inline)) { found[k] = p[k]; });
        return found;
    }

    // the same, so many elements further
    INLINE Pointers operator+(isize offset) const {
        Pointers moved;
        repeat<N>([&](auto k)
                      __attribute__((always_inline)) { moved[k] = p[k] ? p[k] + offset : p[k]; });
        return moved;
    }
};

template <typename Cell, typename T>
using States = Pointers<T, Cell::states>;
template <typename Cell, int S, typename T>
using Products = Pointers<T, Stage<Cell, S>::count>;
template <typename Cell, typename T>
using Weights = Pointers<T, weights<Cell>>;

}  // namespace SIMD

#endif
