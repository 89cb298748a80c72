// The arguments of every kernel, one struct each: Python fills it and passes its address.
//
// The text of these declarations is part of the library. kernels/boundary.py has the shape of every
// array and compares names, order and constness with this text when it loads the library, so a
// library whose kernels have other arguments is refused instead of reading other memory. Every
// member is a size or a pointer: there is no padding.
#ifndef CHAINER_LSTM_ARGUMENTS_HPP
#define CHAINER_LSTM_ARGUMENTS_HPP

#include <cstddef>
#include <cstdint>

typedef std::ptrdiff_t isize;
typedef std::int64_t index64;

// Stages have the arguments of the CUDA kernels of the same names in cells.cu.
#define CHAINER_LSTM_KERNELS(KERNEL)                                                               \
    KERNEL(matmul, isize M, N, K; const T* a; isize a_row, a_col; const T* b; isize b_row, b_col;  \
           const T* bias; T * out;)                                                                \
    KERNEL(sequence_forward, isize steps, batch, units, inputs, rows, first, initial;              \
           const index64* start, *n; const T* U, *P_i, *P_f, *P_o; const T* x; isize x_row;        \
           const T* W, *b; T * gates, *h, *c;)                                                     \
    KERNEL(recur_backward, isize steps, batch, units, rows, first, initial;                        \
           const index64* start, *n; const T* U, *P_i, *P_f, *P_o, *c; const T* gh; isize gh_row;  \
           T * gates, *gh_last, *gc_last;)                                                         \
    KERNEL(lstm_fwd, isize batch, units; const T* xw, *hu, *b, *c_prev; T * gates, *c, *h;)        \
    KERNEL(lstm_bwd, isize batch, units; const T* gates, *c_prev, *c, *gc, *gh;                    \
           T * gpre, *gc_prev;)                                                                    \
    KERNEL(lstm_step_fwd, isize batch, units, inputs; const T* x; isize x_row; const T* W, *b;     \
           const T* h; isize h_row; const T* U, *c_prev; T * gates, *c, *h_new;)                   \
    KERNEL(lstm_step_bwd, isize batch, units, inputs;                                              \
           const T* gates, *c_prev, *c, *gc, *gh, *W, *U; T * gpre, *gc_prev, *gx, *gh_prev;)      \
    KERNEL(peephole_cell_fwd, isize batch, units; const T* xw, *hu, *b, *pi, *pf, *c_prev;         \
           T * gates, *c;)                                                                         \
    KERNEL(peephole_out_fwd, isize batch, units; T * gates; const T* po, *c; T * h;)               \
    KERNEL(peephole_out_bwd, isize batch, units; const T* gates, *c, *gc, *gh; T * go, *gc_sum;)   \
    KERNEL(peephole_cell_bwd, isize batch, units; const T* gates, *c_prev, *gc, *go;               \
           T * gpre, *gc_prev;)                                                                    \
    KERNEL(peephole_step_fwd, isize batch, units, inputs; const T* x; isize x_row; const T* W, *b; \
           const T* h; isize h_row; const T* U, *P_i, *P_f, *c_prev; T * gates, *c;)               \
    KERNEL(peephole_step_bwd, isize batch, units, inputs;                                          \
           const T* gates, *c_prev, *gc, *go, *W, *U, *P_i, *P_f;                                  \
           T * gpre, *gc_prev, *gx, *gh_prev;)                                                     \
    KERNEL(peephole_output_fwd, isize batch, units; const T* c, *P_o; T * gates, *h;)              \
    KERNEL(peephole_output_bwd, isize batch, units; const T* gates, *c, *gh, *P_o; T * go, *gc;)   \
    KERNEL(exponentials, isize rows, classes; const T* x; T * y, *maxima, *sums;)

#define CHAINER_LSTM_STRUCT(name, ...) \
    template <typename T>              \
    struct name##_arguments {          \
        __VA_ARGS__                    \
    };
CHAINER_LSTM_KERNELS(CHAINER_LSTM_STRUCT)
#undef CHAINER_LSTM_STRUCT

#endif
