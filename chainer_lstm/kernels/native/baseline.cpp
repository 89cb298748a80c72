// What every processor of the architecture has.
#include "kernels.hpp"
