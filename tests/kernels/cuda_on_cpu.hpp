// Enough of CUDA for a kernel without __syncthreads to be plain C++: its threads run one after the
// other.
#define __device__
#define __global__

struct Dim3 {
    unsigned x;
};

static Dim3 gridDim, blockDim, blockIdx, threadIdx;

// CUDA's overloads; <cmath> has them too, but takes ten times as long to compile as everything else
extern "C" double tanh(double);

static inline float tanh(float x) { return __builtin_tanhf(x); }

// Runs all threads of a kernel, in either order.  -> whether its argument has so many bytes
template <typename Arguments>
bool run(void (*kernel)(Arguments), unsigned grid, unsigned block, const void* arguments,
         unsigned long bytes, bool backwards) {
    if (bytes != sizeof(Arguments)) return false;
    gridDim.x = grid;
    blockDim.x = block;
    const unsigned threads = grid * block;
    for (unsigned t = 0; t < threads; t++) {
        const unsigned thread = backwards ? threads - 1 - t : t;
        blockIdx.x = thread / block;
        threadIdx.x = thread % block;
        kernel(*(const Arguments*)arguments);
    }
    return true;
}

#define LAUNCHER(kernel)                                                               \
    extern "C" bool run_##kernel(unsigned grid, unsigned block, const void* arguments, \
                                 unsigned long bytes, bool backwards) {                \
        return run(kernel, grid, block, arguments, bytes, backwards);                  \
    }
