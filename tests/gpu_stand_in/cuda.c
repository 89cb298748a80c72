// The CUDA runtime and driver of a machine with one H100, for CuPy on a machine without a GPU:
// calls are recorded, memory of the host is in the place of the device's, and nothing is computed.
// What is not here succeeds and does nothing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, COOPERATIVE_TOO_LARGE = 720 };
enum { CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901 };
enum { MULTIPROCESSORS = 132, MOST_SHARED = 232448, SHARED = 49152, MOST_CALLS = 1 << 20 };

typedef int Status;
typedef void* Handle;

// The names of launches, copies and synchronizations in order.  Names are never freed.
const char* calls[MOST_CALLS];
int n_calls;
// Set from Python: blocks of a kernel that a multiprocessor can hold, and 1000 times CUDA's
// version.
int occupancy = 1, version;

// The stream that is captured, the nodes of its graph, and whether a call has failed since.
static struct {
    Handle stream;
    int nodes, invalid;
} capture;

void record(const char* name) {
    if (capture.stream)
        capture.nodes++;
    else if (n_calls < MOST_CALLS)
        calls[n_calls++] = name;
}

// Record a call on a stream: in the graph if that is captured.  ``record`` alone is for libraries,
// whose stream is not known here.
static void record_on(Handle stream, const char* name) {
    const Handle captured = capture.stream;
    if (stream != captured) capture.stream = NULL;
    record(name);
    capture.stream = captured;
}

Status succeed(void) { return SUCCESS; }

// Runtime

Status cudaGetDevice(int* device) { return *device = 0, SUCCESS; }

Status cudaGetDeviceCount(int* count) { return *count = 1, SUCCESS; }

Status cudaRuntimeGetVersion(int* found) { return *found = version, SUCCESS; }

Status cudaDriverGetVersion(int* found) { return *found = version, SUCCESS; }

Status cudaDeviceGetAttribute(int* value, int attribute, int device) {
    static const struct {
        int attribute, value;
    } known[] = {
        {1, 1024},              // MaxThreadsPerBlock
        {8, SHARED},            // MaxSharedMemoryPerBlock
        {10, 32},               // WarpSize
        {16, MULTIPROCESSORS},  // MultiProcessorCount
        {38, 50 << 20},         // L2CacheSize
        {39, 2048},             // MaxThreadsPerMultiProcessor
        {75, 9},                // ComputeCapabilityMajor
        {76, 0},                // ComputeCapabilityMinor
        {95, 1},                // CooperativeLaunch
        {97, MOST_SHARED},      // MaxSharedMemoryPerBlockOptin
    };
    *value = 0;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (known[k].attribute == attribute) *value = known[k].value;
    return SUCCESS;
}

Status cudaGetDeviceProperties(char* properties, int device) {
    memset(properties, 0, 600);  // less than any version has
    strcpy(properties, "stand-in");
    return SUCCESS;
}

Status cudaGetDeviceProperties_v2(char* properties, int device) {
    return cudaGetDeviceProperties(properties, device);
}

Status cudaDeviceGetPCIBusId(char* id, int size, int device) {
    return strncpy(id, "0000:00:00.0", size), SUCCESS;
}

Status cudaDeviceCanAccessPeer(int* can, int device, int peer) { return *can = 0, SUCCESS; }

Status cudaMemGetInfo(size_t* free, size_t* total) { return *free = *total = 80ull << 30, SUCCESS; }

Status cudaMalloc(void** memory, size_t size) {
    const size_t alignment = 512, bytes = (size + alignment) / alignment * alignment;
    if (posix_memalign(memory, alignment, bytes)) return OUT_OF_MEMORY;
    return memset(*memory, 0, bytes), SUCCESS;
}

Status cudaHostAlloc(void** memory, size_t size, unsigned flags) {
    return *memory = calloc(1, size), *memory ? SUCCESS : OUT_OF_MEMORY;
}

Status cudaFree(void* memory) { return free(memory), SUCCESS; }

Status cudaFreeHost(void* memory) { return free(memory), SUCCESS; }

Status cudaPointerGetAttributes(int* attributes, const void* memory) {
    memset(attributes, 0, 32);
    return attributes[0] = 2, SUCCESS;  // memory of the device
}

// A device that computes nothing has nothing but zeros for the host.
static Status copy(void* to, size_t size, int kind, const char* const* names, Handle stream) {
    record_on(stream, names[kind]);
    if (kind == 2) memset(to, 0, size);
    return SUCCESS;
}

Status cudaMemcpy(void* to, const void* from, size_t size, int kind) {
    static const char* const names[] = {"[copy]", "[waiting copy to device]",
                                        "[waiting copy to host]", "[copy]", "[copy]"};
    return copy(to, size, kind, names, NULL);
}

Status cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, Handle stream) {
    static const char* const names[] = {"[copy]", "[copy to device]", "[copy to host]", "[copy]",
                                        "[copy]"};
    return copy(to, size, kind, names, stream);
}

Status cudaMemset(void* memory, int value, size_t size) {
    return record_on(NULL, "[fill]"), SUCCESS;
}

Status cudaMemsetAsync(void* memory, int value, size_t size, Handle stream) {
    return record_on(stream, "[fill]"), SUCCESS;
}

// Nothing that is captured can be waited for.
static Status synchronize(int captured) {
    if (captured) return capture.invalid = 1, CAPTURE_UNSUPPORTED;
    return record_on(NULL, "[synchronization]"), SUCCESS;
}

Status cudaStreamSynchronize(Handle stream) {
    return synchronize(stream && stream == capture.stream);
}

Status cudaEventSynchronize(Handle event) { return synchronize(0); }

Status cudaDeviceSynchronize(void) { return synchronize(capture.stream != NULL); }

static Status create(Handle* handle) {
    static size_t last = 0x1000;  // never looked at
    return *handle = (Handle)(last += 16), SUCCESS;
}

Status cudaStreamCreate(Handle* stream) { return create(stream); }

Status cudaStreamCreateWithFlags(Handle* stream, unsigned flags) { return create(stream); }

Status cudaStreamCreateWithPriority(Handle* stream, unsigned flags, int priority) {
    return create(stream);
}

// Graphs

Status cudaStreamBeginCapture(Handle stream, int mode) {
    if (!stream || capture.stream) return capture.invalid = 1, CAPTURE_UNSUPPORTED;
    capture.stream = stream;
    return capture.nodes = capture.invalid = 0, SUCCESS;
}

Status cudaStreamIsCapturing(Handle stream, int* status) {
    return *status = stream && stream == capture.stream, SUCCESS;
}

Status cudaStreamEndCapture(Handle stream, char** graph) {
    if (!stream || stream != capture.stream) return INVALID_VALUE;
    capture.stream = NULL;
    if (capture.invalid) return *graph = NULL, CAPTURE_INVALIDATED;
    *graph = malloc(40);  // never freed, as all names
    return snprintf(*graph, 40, "graph of %d nodes", capture.nodes), SUCCESS;
}

Status cudaGraphInstantiate(char** executable, char* graph, unsigned long long flags) {
    return *executable = graph, SUCCESS;
}

Status cudaGraphLaunch(char* executable, Handle stream) {
    return record_on(stream, executable), SUCCESS;
}

Status cudaEventCreate(Handle* event) { return create(event); }

Status cudaEventCreateWithFlags(Handle* event, unsigned flags) { return create(event); }

Status cudaEventElapsedTime(float* milliseconds, Handle start, Handle end) {
    return *milliseconds = 1, SUCCESS;
}

const char* cudaGetErrorString(int error) { return "an error of the stand-in"; }

const char* cudaGetErrorName(int error) { return "stand-in"; }

// Driver

typedef struct {
    char name[160];
    int shared;  // that a block may have beyond its static memory
} Function;

Status cuCtxGetCurrent(Handle* context) { return create(context); }

Status cuCtxSetCurrent(Handle context) { return SUCCESS; }

Status cuCtxGetDevice(int* device) { return *device = 0, SUCCESS; }

Status cuStreamGetCtx(Handle stream, Handle* context) { return create(context); }

Status cuModuleLoad(Handle* module, const char* file) { return create(module); }

Status cuModuleLoadData(Handle* module, const void* image) { return create(module); }

Status cuModuleUnload(Handle module) { return SUCCESS; }

Status cuModuleGetFunction(Function** function, Handle module, const char* name) {
    *function = calloc(1, sizeof **function);
    (*function)->shared = SHARED;
    return strncpy((*function)->name, name, sizeof(*function)->name - 1), SUCCESS;
}

Status cuFuncGetAttribute(int* value, int attribute, Function* function) {
    return *value = 0, SUCCESS;
}

Status cuFuncSetAttribute(Function* function, int attribute, int value) {
    if (attribute == 8) {  // MAX_DYNAMIC_SHARED_SIZE_BYTES
        if (value > MOST_SHARED) return INVALID_VALUE;
        function->shared = value;
    }
    return SUCCESS;
}

Status cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function* function, int threads,
                                                   size_t shared) {
    return *blocks = occupancy, SUCCESS;
}

Status cuLaunchKernel(Function* function, unsigned x, unsigned y, unsigned z, unsigned threads,
                      unsigned threads_y, unsigned threads_z, unsigned shared, Handle stream,
                      void** arguments, void** extra) {
    if (!x || !y || !z || !threads || threads * threads_y * threads_z > 1024) return INVALID_VALUE;
    if (shared > (unsigned)function->shared) return INVALID_VALUE;
    return record_on(stream, function->name), SUCCESS;
}

Status cuLaunchCooperativeKernel(Function* function, unsigned x, unsigned y, unsigned z,
                                 unsigned threads, unsigned threads_y, unsigned threads_z,
                                 unsigned shared, Handle stream, void** arguments) {
    if (x * y * z > (unsigned)(MULTIPROCESSORS * occupancy)) return COOPERATIVE_TOO_LARGE;
    return cuLaunchKernel(function, x, y, z, threads, threads_y, threads_z, shared, stream,
                          arguments, NULL);
}

Status cuGetErrorName(int error, const char** name) { return *name = "stand-in", SUCCESS; }

Status cuGetErrorString(int error, const char** text) {
    return *text = "an error of the stand-in", SUCCESS;
}

// CuPy looks for these functions and does not call them.
Status cuLinkCreate_v2(void) { return INVALID_VALUE; }

Status cuLinkAddData_v2(void) { return INVALID_VALUE; }

Status cuLinkAddFile_v2(void) { return INVALID_VALUE; }

Status cuLinkComplete(void) { return INVALID_VALUE; }

Status cuLinkDestroy(void) { return SUCCESS; }

Status cuModuleGetGlobal_v2(void) { return INVALID_VALUE; }

Status cuOccupancyMaxPotentialBlockSize(int* grid, int* block) {
    return *grid = *block = 1, SUCCESS;
}
