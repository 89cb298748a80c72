// Enough of CUDA for a kernel without __syncthreads to be plain C++: its threads run one after the
// other.
#include <type_traits>
#include <utility>

#define __device__
#define __global__

struct Dim3 {
    unsigned x;
};

static Dim3 gridDim, blockDim, blockIdx, threadIdx;

// CUDA's overloads; <cmath> has them too, but takes ten times as long to compile as everything else
extern "C" double tanh(double);

static inline float tanh(float x) { return __builtin_tanhf(x); }

// What Python passes, by kind: 'a' an array, '0' a null pointer, 'i' an integer of 8 bytes.
template <typename A>
bool fits(char kind) {
    return std::is_pointer<A>::value ? kind == 'a' || kind == '0'
                                     : std::is_integral<A>::value && sizeof(A) == 8 && kind == 'i';
}

// The place of the first argument that does not fit the kernel's, or -1 after all threads ran, in
// either order.
template <typename... A, std::size_t... I>
int run(void (*kernel)(A...), const char* kinds, void** args, bool backwards,
        std::index_sequence<I...>) {
    for (std::size_t i = 0; i <= sizeof...(A); i++)
        if ((kinds[i] == 0) != (i == sizeof...(A))) return i;
    const bool fit[] = {fits<A>(kinds[I])...};
    for (std::size_t i = 0; i < sizeof...(A); i++)
        if (!fit[i]) return i;
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned t = 0; t < threads; t++) {
        const unsigned thread = backwards ? threads - 1 - t : t;
        blockIdx.x = thread / blockDim.x;
        threadIdx.x = thread % blockDim.x;
        kernel(*(A*)args[I]...);
    }
    return -1;
}

template <typename... A>
int run(void (*kernel)(A...), unsigned grid, unsigned block, const char* kinds, void** args,
        bool backwards) {
    gridDim.x = grid;
    blockDim.x = block;
    return run(kernel, kinds, args, backwards, std::index_sequence_for<A...>());
}

#define LAUNCHER(kernel)                                                                       \
    extern "C" int run_##kernel(unsigned grid, unsigned block, const char* kinds, void** args, \
                                bool backwards) {                                              \
        return run(kernel, grid, block, kinds, args, backwards);                               \
    }
