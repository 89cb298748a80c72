// The Python module of the library: its kernels as functions of sizes and arrays.
//
// A function checks each array before it passes the address to its kernel, and lets other Python
// threads run during the call. If an array is not as expected, nothing is computed and the function
// returns False: Python finds the reason (kernels/boundary.py), or copies the array.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string>
#include <vector>

#include "common.hpp"

namespace {

constexpr int most_words = 64, most_arrays = 32;

enum Flags : std::int32_t { optional = 1, square = 2, written = 4, integers = 8 };

// The length of an axis: factor * sizes[size] + sizes[added], rounded up to a multiple; a negative
// `added` means no second summand.
struct Axis {
    std::int32_t factor, size, added, multiple;
};

// An argument as native.py packs it: the word of its address, the number of strides after it, the
// argument (or -1) that is None if this one is, and the axes.
struct Argument {
    std::int32_t word, strides, flags, partner, axes;
    Axis axis[2];
};

struct Function {
    Kernel* kernel;
    PyTypeObject* array_type;
    std::string dtype, kinds;  // kinds of the sizes: n an integer, d a number
    std::vector<Argument> arguments;
};

// The buffers of the arrays of a call, which are released at the end of the scope.
class Views {
public:
    ~Views() {
        while (count_) PyBuffer_Release(&all_[--count_]);
    }

    // null if the array has no such buffer, as a read-only array that is to be written
    const Py_buffer* add(PyObject* array, int request) {
        if (PyObject_GetBuffer(array, &all_[count_], request)) return PyErr_Clear(), nullptr;
        return &all_[count_++];
    }

private:
    Py_buffer all_[most_arrays];
    int count_ = 0;
};

bool take_sizes(const std::string& kinds, PyObject* sizes, isize* words) {
    if (PyTuple_GET_SIZE(sizes) != isize(kinds.size())) {
        PyErr_Format(PyExc_ValueError, "expected %zd sizes, got %zd", isize(kinds.size()),
                     PyTuple_GET_SIZE(sizes));
        return false;
    }
    for (std::size_t k = 0; k < kinds.size(); k++) {
        PyObject* const size = PyTuple_GET_ITEM(sizes, k);
        if (kinds[k] == 'n') {
            words[k] = PyNumber_AsSsize_t(size, PyExc_OverflowError);
        } else {
            const double number = PyFloat_AsDouble(size);
            std::memcpy(words + k, &number, sizeof number);
        }
    }
    return !PyErr_Occurred();
}

isize length(const Axis& axis, const isize* sizes) {
    const isize exact = axis.factor * sizes[axis.size] + (axis.added < 0 ? 0 : sizes[axis.added]);
    return (exact + axis.multiple - 1) / axis.multiple * axis.multiple;
}

// Returns whether numbers have one of these formats of Python's struct, in native byte order.
bool is_of(const Py_buffer& x, const char* formats) {
    const bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    const char* format = x.format;
    if (*format && std::strchr(little ? "@=<" : "@=>", *format)) format++;
    return *format && !format[1] && std::strchr(formats, *format);
}

// Takes the address and the strides of an array; returns false if it is not as expected.
bool take_array(const Argument& expected, const std::string& dtype, const Py_buffer& x,
                isize* words) {
    if (!is_of(x, expected.flags & integers ? "lq" : dtype.c_str())) return false;
    if (x.ndim != expected.axes) return false;
    for (int k = 0; k < x.ndim; k++)
        if (x.shape[k] != length(expected.axis[k], words)) return false;
    const isize size = x.itemsize;
    if (expected.flags & integers && size != sizeof(index64)) return false;
    words[expected.word] = reinterpret_cast<isize>(x.buf);
    if (!x.len) return true;  // an empty array is not read, whatever its strides are
    if (reinterpret_cast<std::uintptr_t>(x.buf) % size) return false;
    if (!expected.strides) return PyBuffer_IsContiguous(&x, 'C');
    for (int k = 0; k < 2; k++) {
        if (x.strides[k] % size) return false;
        const isize stride = x.strides[k] / size;
        if (k < expected.strides)
            words[expected.word + 1 + k] = stride;
        else if (stride != 1)
            return false;
    }
    return true;
}

// (sizes, *arrays) -> whether the kernel has run
PyObject* call(PyObject* self, PyObject* const* given, Py_ssize_t count) {
    const Function& f = *static_cast<Function*>(PyCapsule_GetPointer(self, nullptr));
    isize words[most_words] = {};
    if (count != 1 + isize(f.arguments.size())) Py_RETURN_FALSE;
    if (!take_sizes(f.kinds, given[0], words)) return nullptr;
    PyObject* const* const arrays = given + 1;
    Views views;
    for (std::size_t k = 0; k < f.arguments.size(); k++) {
        const Argument& expected = f.arguments[k];
        PyObject* const x = arrays[k];
        if (expected.partner >= 0 && (x == Py_None) != (arrays[expected.partner] == Py_None))
            Py_RETURN_FALSE;
        if (x == Py_None) {
            const bool fits = !(expected.flags & square) ||
                              length(expected.axis[0], words) == length(expected.axis[1], words);
            if (expected.flags & optional && fits) continue;
            Py_RETURN_FALSE;
        }
        if (Py_TYPE(x) != f.array_type) Py_RETURN_FALSE;
        const int request = expected.flags & written ? PyBUF_WRITABLE : 0;
        const Py_buffer* const view = views.add(x, PyBUF_STRIDES | PyBUF_FORMAT | request);
        if (!view || !take_array(expected, f.dtype, *view, words)) Py_RETURN_FALSE;
    }
    int failed;
    Py_BEGIN_ALLOW_THREADS;
    failed = f.kernel(words);
    Py_END_ALLOW_THREADS;
    if (!failed) Py_RETURN_TRUE;
    PyErr_SetString(PyExc_MemoryError, "no memory for packed weights");
    return nullptr;
}

PyMethodDef call_method = {
    "kernel",
    reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call)),
    METH_FASTCALL,
    "(sizes, *arrays) -> whether the kernel has run: it has not where an array does not fit",
};

void destroy(PyObject* capsule) {
    auto* const f = static_cast<Function*>(PyCapsule_GetPointer(capsule, nullptr));
    Py_DECREF(f->array_type);
    delete f;
}

PyObject* function(PyObject*, PyObject* given) {
    unsigned long long address;
    const char *dtype, *kinds;
    Py_buffer table;
    PyTypeObject* array_type;
    if (!PyArg_ParseTuple(given, "Kssy*O!", &address, &dtype, &kinds, &table, &PyType_Type,
                          &array_type))
        return nullptr;
    const auto* const first = static_cast<const Argument*>(table.buf);
    auto* const f = new Function{reinterpret_cast<Kernel*>(address),
                                 array_type,
                                 dtype,
                                 kinds,
                                 {first, first + table.len / sizeof(Argument)}};
    PyBuffer_Release(&table);
    Py_INCREF(array_type);
    bool fits = f->arguments.size() <= most_arrays && f->kinds.size() <= most_words;
    for (const Argument& argument : f->arguments)
        fits = fits && argument.word + argument.strides < most_words;
    PyObject* const capsule = PyCapsule_New(f, nullptr, destroy);
    PyObject* const made = capsule && fits ? PyCFunction_New(&call_method, capsule) : nullptr;
    Py_XDECREF(capsule);
    if (!fits) PyErr_SetString(PyExc_ValueError, "expected a kernel of fewer arguments");
    return made;
}

PyMethodDef methods[] = {
    {"function", function, METH_VARARGS,
     "(address, dtype, kinds, arguments, array type) -> a kernel as a function"},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", nullptr, 0, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__native() { return PyModuleDef_Init(&module); }
