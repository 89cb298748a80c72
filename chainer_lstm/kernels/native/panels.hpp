// Panels of the columns of a matrix: the form in which products read their second matrix.
//
//      B (K, N)                 panels, one after the other in memory
//   ┌───┬───┬──┐                 ┌───┐ ┌───┐ ┌───┐
//   │ 0 │ 1 │2 │     ──pack──>   │ 0 │ │ 1 │ │2 0│  the last is filled up with zeros
//   └───┴───┴──┘                 └───┘ └───┘ └───┘
#ifndef CHAINER_LSTM_PANELS_HPP
#define CHAINER_LSTM_PANELS_HPP

#include "tile.hpp"

namespace SIMD {

// The panels of the columns [first, last) of a matrix: 1 to tile_vectors whole vectors each, nearly
// equally wide. If there are enough vectors, their number is a multiple of `multiple`, so that as
// many threads get equal parts.
template <typename T>
struct Panels {
    isize first, last, vectors, count;

    Panels(isize first, isize last, isize multiple = 1)
        : first(first),
          last(last),
          vectors(pieces(last - first, lanes<T>)),
          count(std::min(round_up(pieces(vectors, tile_vectors), multiple), vectors)) {}

    isize begin(isize p) const {
        return count ? std::min(first + vectors * p / count * lanes<T>, last) : first;
    }
    isize width(isize p) const { return begin(p + 1) - begin(p); }
};

// Copies the panels [first, last) of B (K, N), one after the other: K rows of whole vectors each,
// with zeros after the end of the columns.
template <typename T>
void pack(const Panels<T>& panels, isize first, isize last, Matrix<const T> b, isize K, T* to) {
    const auto at = [&](isize p) { return to + (panels.begin(p) - panels.begin(first)) * K; };
    for (isize p = first; p < last; p++)
        copy(b.from(0, panels.begin(p)), K, panels.width(p), at(p),
             round_up(panels.width(p), lanes<T>));
    for (isize p = first; p < last; p++) {
        const isize width = panels.width(p), row = round_up(width, lanes<T>);
        for (isize k = 0; width < row && k < K; k++)
            std::memset(at(p) + k * row + width, 0, (row - width) * sizeof(T));
    }
}

// Memory of one allocation, which is handed out piece by piece and freed as a whole.
template <typename T>
class Arena {
public:
    explicit Arena(isize size)
        : bytes_(size * sizeof(T)),
          alignment_{bytes_ < huge_page ? 64 : huge_page},
          all_(size ? static_cast<T*>(::operator new(bytes_, alignment_)) : nullptr),
          next_(all_) {
#ifdef MADV_HUGEPAGE
        // huge pages: the addresses of so few pages stay in the processor's table
        if (bytes_ >= huge_page) madvise(all_, bytes_, MADV_HUGEPAGE);
#endif
    }
    ~Arena() { ::operator delete(all_, alignment_); }
    Arena(const Arena&) = delete;

    T* allocate(isize size) {
        T* const here = next_;
        next_ += size;
        return here;
    }

private:
    static constexpr std::size_t huge_page = 2 << 20;
    const std::size_t bytes_;
    const std::align_val_t alignment_;
    T *const all_, *next_;
};

}  // namespace SIMD

#endif
