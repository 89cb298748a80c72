// The C functions that Python calls: instruction sets, kernels by name, threads.
#include <string>

#include "arguments.hpp"

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

// The text of a stage: its sets as numbers whose bits are members, then its products.
template <typename Stage>
std::string description() {
    std::string text = "; stage";
    for (unsigned set : {Stage::owns, Stage::reads, Stage::writes, Stage::needs})
        text += " " + std::to_string(set);
    for (const Product& product : Stage::products)
        for (int index : {product.weight, product.state, product.gate, int(product.kind)})
            text += " " + std::to_string(index);
    return text;
}

// The text of a cell, as boundary.description returns it.
template <typename Cell>
std::string description_of_cell() {
    std::string text = "gates " + std::string(Cell::Gate_names) + "; states " + Cell::State_names +
                       "; weights " + Cell::Weight_names + "; noise " + Cell::Noise_names +
                       "; numbers " + Cell::Number_names + description<typename Cell::First>();
    if constexpr (SIMD::stages<Cell> == 2) text += description<typename Cell::Second>();
    return text;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// the k-th best instruction set that this processor has, or null
const char* chainer_lstm_instruction_set(int k) {
    for (int j = 0; j < count; j++)
        if (sets[j].here() && k-- == 0) return sets[j].name;
    return nullptr;
}

// the declarations of a kernel's arguments, or null
const char* chainer_lstm_arguments(const char* kernel) {
    const char* text = nullptr;
    SIMD::each_kernel<float>([&](const char* name, auto arguments) {
        if (!std::strcmp(name, kernel)) text = decltype(arguments)::text;
    });
    return text;
}

// the description of a cell, or null; valid until the next call
const char* chainer_lstm_cell(const char* cell) {
    static std::string text;
#define CHAINER_LSTM_DESCRIBE(name, Cell) \
    if (!std::strcmp(cell, #name)) return (text = description_of_cell<Cell>()).c_str();
    CHAINER_LSTM_CELLS(CHAINER_LSTM_DESCRIBE)
    return nullptr;
}

Kernel* chainer_lstm_kernel(const char* instruction_set, const char* name, char dtype) {
    for (int j = 0; j < count; j++)
        if (!std::strcmp(sets[j].name, instruction_set)) return sets[j].find(name, dtype);
    return nullptr;
}

int chainer_lstm_get_num_threads() { return ThreadPool::limit(); }

void chainer_lstm_set_num_threads(int threads) { ThreadPool::set_limit(threads); }

void chainer_lstm_set_num_cores(int cores) { ThreadPool::set_cores(cores); }

void chainer_lstm_force_threads(int threads) { ThreadPool::force(threads); }
}
#pragma GCC visibility pop
