// What every processor of the architecture has.
#include "common.hpp"

#define SIMD baseline
#define VECTOR_BYTES 16
#include "kernels.hpp"
