// What Python sees of the library.
#include <cstring>

#include "common.hpp"

namespace baseline {
Kernel* find(const char* name, char dtype);
}
namespace avx2 {
Kernel* find(const char* name, char dtype);
}
namespace avx512 {
Kernel* find(const char* name, char dtype);
}

namespace {

struct InstructionSet {
    const char* name;
    bool (*here)();
    Kernel* (*find)(const char*, char);
};

// the best first
const InstructionSet sets[] = {
#if defined(__x86_64__)
    {"avx512",
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
     },
     avx512::find},
    {"avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); },
     avx2::find},
#endif
    {"baseline", [] { return true; }, baseline::find},
};
constexpr int count = sizeof(sets) / sizeof(sets[0]);

struct Declaration {
    const char *kernel, *arguments;
};

#define CHAINER_LSTM_DECLARATION(name, ...) {#name, #__VA_ARGS__},
const Declaration declarations[] = {CHAINER_LSTM_KERNELS(CHAINER_LSTM_DECLARATION)};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// the k-th best instruction set that this processor has, or null
const char* chainer_lstm_instruction_set(int k) {
    for (int j = 0; j < count; j++)
        if (sets[j].here() && k-- == 0) return sets[j].name;
    return nullptr;
}

// the declarations in the struct of a kernel's arguments, or null
const char* chainer_lstm_arguments(const char* kernel) {
    for (const Declaration& d : declarations)
        if (!std::strcmp(d.kernel, kernel)) return d.arguments;
    return nullptr;
}

Kernel* chainer_lstm_kernel(const char* instruction_set, const char* name, char dtype) {
    for (int j = 0; j < count; j++)
        if (!std::strcmp(sets[j].name, instruction_set)) return sets[j].find(name, dtype);
    return nullptr;
}

int chainer_lstm_get_num_threads() { return Team::limit(); }

void chainer_lstm_set_num_threads(int threads) { Team::set_limit(threads); }
}
#pragma GCC visibility pop
