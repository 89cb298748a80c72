// Properties of a cell for the templates over cells, and loops over its parts. See cells/lstm.cuh
// for an example of a cell. The loops are unrolled by templates: arrays of vectors become registers
// only if all their indices are constants.
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

// [0, n) as a set
constexpr unsigned all_of(int n) { return (1u << n) - 1; }

constexpr int size_of(unsigned set) { return set ? (set & 1) + size_of(set >> 1) : 0; }

template <typename Cell>
constexpr int stages = std::is_same<typename Cell::Second, NoStage>::value ? 1 : 2;

// h: the output, with respect to which gradients come at every step of a sequence
template <typename Cell>
constexpr int output_state = Cell::states - 1;

// The set of the weights or states of a stage's products of a kind; or only of products to all
// gates.
template <typename Stage>
constexpr unsigned set_of_products(int Product::* member, Kind kind, bool to_all_only = false) {
    unsigned set = 0;
    for (const Product& product : Stage::products)
        if (product.kind == kind && (!to_all_only || product.gate == all_gates))
            set |= 1u << product.*member;
    return set;
}

// A stage of a cell by its number.
template <typename Cell, int S>
struct Stage : std::conditional_t<S == 0, typename Cell::First, typename Cell::Second> {
    typedef std::conditional_t<S == 0, typename Cell::First, typename Cell::Second> Base;

    // sets of weights: matrices, and diagonal products
    static constexpr unsigned weights = set_of_products<Base>(&Product::weight, matrix),
                              to_all = set_of_products<Base>(&Product::weight, matrix, true),
                              to_one = weights & ~to_all,
                              added = set_of_products<Base>(&Product::weight, diagonal),
                              diagonals =
                                  added | set_of_products<Base>(&Product::weight, diagonal_of_new);
    // products to a single gate are kept apart until they are added: their number, and the place of
    // each
    static constexpr int apart = size_of(to_one);
    static constexpr int place(int weight) { return size_of(to_one & all_of(weight)); }

    static constexpr unsigned multiplied = set_of_products<Base>(&Product::state, matrix);
    // states that only products read, and states that are written up to the end of the stage
    static constexpr unsigned alone = multiplied & ~Base::reads;
    static constexpr unsigned written = Cell::First::writes | (S ? Base::writes : 0);
};

// the product of each weight of a cell
template <typename Cell>
constexpr auto products = [] {
    std::array<Product, Cell::weights> all{};
    for (const Product& product : Cell::First::products) all[product.weight] = product;
    if constexpr (stages<Cell> == 2)
        for (const Product& product : Cell::Second::products) all[product.weight] = product;
    return all;
}();

// the number of gates of each unit to which the matrix product of a weight is added
template <typename Cell>
constexpr isize gates_of(int weight) {
    if (products<Cell>[weight].kind != matrix) return 0;
    return products<Cell>[weight].gate == all_gates ? Cell::gates : 1;
}

// f(weight, state, gate) for the matrix products of a stage, all constants
template <typename Cell, int S, typename F>
INLINE void each_product(const F& f) {
    each_of<Stage<Cell, S>::weights>([&](auto w) __attribute__((always_inline)) {
        constexpr Product product = products<Cell>[w];
        f(w, std::integral_constant<int, product.state>{},
          std::integral_constant<int, product.gate>{});
    });
}

// Pointers by state or by weight; null for a state or weight that is not given.
template <typename T, int N>
struct Pointers {
    T* p[N] = {};

    INLINE T*& operator[](int k) { return p[k]; }
    INLINE T* operator[](int k) const { return p[k]; }

    // the same pointers, `offset` elements further
    INLINE Pointers operator+(isize offset) const {
        Pointers moved;
        for (int k = 0; k < N; k++) moved[k] = p[k] ? p[k] + offset : p[k];
        return moved;
    }

    INLINE operator Pointers<const T, N>() const {
        Pointers<const T, N> found;
        for (int k = 0; k < N; k++) found[k] = p[k];
        return found;
    }
};

// how many are not null
template <typename T, int N>
isize count_of(const Pointers<T, N>& pointers) {
    return N - std::count(pointers.p, pointers.p + N, nullptr);
}

template <typename Cell, typename T>
using States = Pointers<T, Cell::states>;
template <typename Cell, typename T>
using Weights = Pointers<T, Cell::weights>;
template <typename Cell, typename T>
using Noise = Pointers<T, std::max(Cell::noise, 1)>;

// The numbers of a kernel: the values for noise that is not given, then the numbers of the cell.
template <typename Cell>
struct Numbers {
    double of[std::max(Cell::noise + Cell::numbers, 1)];
};

}  // namespace SIMD

#endif
