// What Python sees of the library.
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

// the index-th of names such as "a, i, f, o", or nothing
std::string word(const std::string& names, int index) {
    std::size_t begin = 0;
    for (; index > 0; index--) begin = names.find(", ", begin) + 2;
    return names.substr(begin, names.find(", ", begin) - begin);
}

// Visits arguments and writes their declarations, as boundary.Kernel.members.
struct Declarations {
    std::string text;

    static std::string written(const SIMD::Name& name) {
        std::string found = name.before + word(name.list, name.index) + name.after;
        for (char& letter : found)
            if (name.lower && 'A' <= letter && letter <= 'Z') letter += 'a' - 'A';
        return found;
    }

    void add(const char* kind, const std::string& name) {
        text += (text.empty() ? "" : " ") + (kind + name) + ";";
    }

    void size(const SIMD::Name& name, isize&) { add("isize ", written(name)); }
    void array(const SIMD::Name& name, float*&) { add("T *", written(name)); }
    void array(const SIMD::Name& name, const float*&) { add("const T *", written(name)); }
    void array(const SIMD::Name& name, const index64*&) { add("const index64 *", written(name)); }
    void rows(const SIMD::Name& name, SIMD::Matrix<const float>&) {
        add("const T *", written(name));
        add("isize ", written(name) + "_row");
    }
    void matrix(const SIMD::Name& name, SIMD::Matrix<const float>& matrix) {
        rows(name, matrix);
        add("isize ", written(name) + "_col");
    }
};

// Writes a cell as boundary.description does.
template <typename Cell>
struct Description {
    std::string text;

    Description() {
        add("gates", set(Cell::Gate_names, (1u << Cell::gates) - 1));
        add("states", set(Cell::State_names, SIMD::all_states<Cell>));
        stage<0>();
        if constexpr (SIMD::stages<Cell> == 2) stage<1>();
    }

    void add(const char* name, const std::string& value) {
        text += (text.empty() ? "" : "; ") + (name + value);
    }

    static std::string set(const char* names, unsigned members) {
        std::string found;
        for (int k = 0; members >> k; k++)
            if (members >> k & 1) found += " " + word(names, k);
        return found;
    }

    template <int S>
    void stage() {
        typedef SIMD::Stage<Cell, S> Stage;
        for (const Product& product : Stage::products)
            add("product",
                " " + word(Cell::Weight_names, product.weight) + " " +
                    word(Cell::State_names, product.state) + " " +
                    (product.gate == all_gates ? "all" : word(Cell::Gate_names, product.gate)));
        add("owns", set(Cell::Gate_names, Stage::owns));
        add("reads", set(Cell::State_names, Stage::reads));
        add("writes", set(Cell::State_names, Stage::writes));
        add("needs", set(Cell::State_names, Stage::needs));
    }
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// the k-th best instruction set that this processor has, or null
const char* chainer_lstm_instruction_set(int k) {
    for (int j = 0; j < count; j++)
        if (sets[j].here() && k-- == 0) return sets[j].name;
    return nullptr;
}

// the declarations of a kernel's arguments, or null; valid until the next call
const char* chainer_lstm_arguments(const char* kernel) {
    static std::string text;
    bool found = false;
    SIMD::each_kernel<float>([&](const char* name, auto type) {
        if (std::strcmp(name, kernel)) return;
        typename decltype(type)::type arguments{};
        Declarations declarations;
        arguments.visit(declarations);
        text = declarations.text;
        found = true;
    });
    return found ? text.c_str() : nullptr;
}

// the description of a cell, or null; valid until the next call
const char* chainer_lstm_cell(const char* cell) {
    static std::string text;
#define CHAINER_LSTM_DESCRIBE(name, Cell) \
    if (!std::strcmp(cell, #name)) return (text = Description<Cell>().text).c_str();
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
}
#pragma GCC visibility pop
