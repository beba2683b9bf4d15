/* A CUDA driver without a GPU: memory is the host's, work waits in its stream until it is synchronised, and misuse has
   the real one's error codes. The environment says what there is: FAKE_DEVICES (1), FAKE_INIT (0, what cuInit returns),
   FAKE_CAPABILITY (90, ten times the compute capability), FAKE_FAIL (a function that always fails with 999). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALISED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
       INVALID_CONTEXT = 201, INVALID_HANDLE = 400, CAPTURE_UNSUPPORTED = 900, UNKNOWN = 999 };
typedef unsigned long long Address;
typedef void (*HostFunction)(void *);
typedef struct { void *to; const void *from; size_t size; HostFunction call; void *data; } Work;
typedef struct { Work *work; int count; } List;
typedef struct { List waiting, captured; int capturing; } Stream;
typedef struct { double time; int recorded; } Event;
#define MOST 4096
static void *memory[MOST]; static size_t sizes[MOST]; static int pinned[MOST];
static int initialised, context_mark, live;
static __thread int depth;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int failing(const char *function) {
    const char *name = getenv("FAKE_FAIL");
    return name && !strcmp(name, function);
}
#define ENTER if (failing(__func__)) return UNKNOWN; if (!initialised) return NOT_INITIALISED
#define IN_CONTEXT ENTER; if (!depth) return INVALID_CONTEXT
static void add(List *list, Work work) {
    list->work = realloc(list->work, sizeof(Work) * (list->count + 1));
    list->work[list->count++] = work;
}
static int put(Stream *stream, Work work) {
    if (!stream) return INVALID_HANDLE;
    add(stream->capturing ? &stream->captured : &stream->waiting, work);
    return OK;
}
static void run(List *list) {
    for (int i = 0; i < list->count; i++)
        if (list->work[i].call) list->work[i].call(list->work[i].data);
        else memcpy(list->work[i].to, list->work[i].from, list->work[i].size);
}
static int held(const void *place, size_t size, int kind) {
    for (int i = 0; i < MOST; i++)
        if (memory[i] && pinned[i] == kind && (char *)place >= (char *)memory[i]
            && (char *)place + size <= (char *)memory[i] + sizes[i]) return 1;
    return 0;
}
static int take(void **place, size_t size, int kind) {
    if (!size) return INVALID_VALUE;
    if (size > 1ull << 34) return OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < MOST && memory[i]) i++;
    int code = i == MOST || posix_memalign(place, 4096, size) ? OUT_OF_MEMORY : OK;
    if (!code) { memory[i] = *place; sizes[i] = size; pinned[i] = kind; live++; memset(*place, 0xA5, size); }
    pthread_mutex_unlock(&lock);
    return code;
}
static int give_back(void *place, int kind) {
    int code = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST && code; i++)
        if (memory[i] == place && place && pinned[i] == kind) { free(place); memory[i] = NULL; live--; code = OK; }
    pthread_mutex_unlock(&lock);
    return code;
}

int fake_live(void) { return live; }
int cuInit(unsigned flags) {
    int code = atoi(getenv("FAKE_INIT") ? getenv("FAKE_INIT") : "0");
    initialised = !code;
    return code;
}
int cuDriverGetVersion(int *version) { *version = 12040; return OK; }
int cuDeviceGetCount(int *count) { ENTER; *count = atoi(getenv("FAKE_DEVICES") ? getenv("FAKE_DEVICES") : "1"); return OK; }
int cuDeviceGet(int *device, int index) {
    int count, code = cuDeviceGetCount(&count);
    *device = index;
    return code ? code : index < count ? OK : INVALID_DEVICE;
}
int cuDeviceGetName(char *name, int size, int device) { ENTER; snprintf(name, size, "Fake GPU"); return OK; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { ENTER; *bytes = 16ull << 30; return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    ENTER;
    int capability = atoi(getenv("FAKE_CAPABILITY") ? getenv("FAKE_CAPABILITY") : "90");
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 1;
    return OK;
}
int cuDeviceComputeCapability(int *major, int *minor, int device) { *major = 9; *minor = 0; return OK; }
int cuDevicePrimaryCtxRetain(void **context, int device) { ENTER; *context = &context_mark; return OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { return OK; }
int cuCtxPushCurrent_v2(void *context) { ENTER; if (context != &context_mark) return INVALID_CONTEXT; depth++; return OK; }
int cuCtxPopCurrent_v2(void **context) { IN_CONTEXT; depth--; if (context) *context = &context_mark; return OK; }
int cuCtxGetCurrent(void **context) { *context = depth ? &context_mark : NULL; return OK; }
int cuCtxSetCurrent(void *context) { depth = context != NULL; return OK; }
int cuCtxGetDevice(int *device) { IN_CONTEXT; *device = 0; return OK; }
int cuCtxGetApiVersion(void *context, unsigned *version) { *version = 3020; return OK; }
int cuCtxSynchronize(void) { return OK; }
int cuMemAlloc_v2(Address *address, size_t size) { IN_CONTEXT; void *at; int c = take(&at, size, 0); if (!c) *address = (Address)at; return c; }
int cuMemFree_v2(Address address) { IN_CONTEXT; return give_back((void *)address, 0); }
int cuMemHostAlloc(void **place, size_t size, unsigned flags) { IN_CONTEXT; return take(place, size, 1); }
int cuMemFreeHost(void *place) { IN_CONTEXT; return give_back(place, 1); }
int cuMemGetInfo_v2(size_t *unused, size_t *total) { IN_CONTEXT; *unused = 15ull << 30; *total = 16ull << 30; return OK; }
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t size, Stream *stream) {
    IN_CONTEXT;
    if (!held((void *)to, size, 0) || !held(from, size, 1)) return INVALID_VALUE;
    return put(stream, (Work){(void *)to, from, size});
}
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, Stream *stream) {
    IN_CONTEXT;
    if (!held(to, size, 1) || !held((void *)from, size, 0)) return INVALID_VALUE;
    return put(stream, (Work){to, (void *)from, size});
}
int cuLaunchHostFunc(Stream *stream, HostFunction call, void *data) { IN_CONTEXT; return put(stream, (Work){0, 0, 0, call, data}); }
int cuStreamCreate(Stream **stream, unsigned flags) { IN_CONTEXT; *stream = calloc(1, sizeof(Stream)); live++; return OK; }
int cuStreamDestroy_v2(Stream *stream) { IN_CONTEXT; if (stream->waiting.count && !failing("cuStreamSynchronize")) return INVALID_HANDLE; free(stream); live--; return OK; }
int cuStreamQuery(Stream *stream) { return OK; }
int cuStreamIsCapturing(Stream *stream, int *status) { IN_CONTEXT; *status = stream->capturing; return OK; }
int cuStreamSynchronize(Stream *stream) {
    IN_CONTEXT;
    if (stream->capturing) return CAPTURE_UNSUPPORTED;
    List all = stream->waiting;
    stream->waiting = (List){0};
    run(&all);
    free(all.work);
    return OK;
}
int cuStreamBeginCapture_v2(Stream *stream, int mode) {
    IN_CONTEXT;
    if (mode != 1 || stream->capturing) return INVALID_VALUE;
    stream->capturing = 1;
    return OK;
}
int cuStreamEndCapture(Stream *stream, List **graph) {
    IN_CONTEXT;
    if (!stream->capturing) return INVALID_VALUE;
    stream->capturing = 0;
    *graph = malloc(sizeof(List));
    **graph = stream->captured;
    stream->captured = (List){0};
    live++;
    return OK;
}
int cuGraphInstantiateWithFlags(List **ready, List *graph, unsigned long long flags) {
    IN_CONTEXT;
    if (!graph) return INVALID_VALUE;
    *ready = calloc(1, sizeof(List));
    for (int i = 0; i < graph->count; i++) add(*ready, graph->work[i]);
    live++;
    return OK;
}
int cuGraphDestroy(List *graph) { free(graph->work); free(graph); live--; return OK; }
int cuGraphExecDestroy(List *graph) { IN_CONTEXT; free(graph->work); free(graph); live--; return OK; }
int cuGraphLaunch(List *graph, Stream *stream) {
    IN_CONTEXT;
    for (int i = 0; i < graph->count; i++) put(stream, graph->work[i]);
    return OK;
}
int cuEventCreate(Event **event, unsigned flags) { IN_CONTEXT; *event = calloc(1, sizeof(Event)); live++; return OK; }
int cuEventDestroy_v2(Event *event) { free(event); live--; return OK; }
int cuEventRecord(Event *event, Stream *stream) { static double now; IN_CONTEXT; event->time = now += 0.25; event->recorded = 1; return OK; }
int cuEventSynchronize(Event *event) { return event->recorded ? OK : INVALID_HANDLE; }
int cuEventElapsedTime_v2(float *milliseconds, Event *start, Event *end) {
    if (!start->recorded || !end->recorded) return INVALID_HANDLE;
    *milliseconds = (float)(end->time - start->time);
    return OK;
}
int cuGetErrorName(int code, const char **name) {
    *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == UNKNOWN ? "CUDA_ERROR_UNKNOWN"
          : code == INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT" : code == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE"
          : code == INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE" : "CUDA_ERROR_OTHER";
    return OK;
}
int cuGetErrorString(int code, const char **text) { return cuGetErrorName(code, text); }
int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status) {
    char newest[128];
    snprintf(newest, sizeof newest, "%s_v2", name);
    *function = dlsym(RTLD_DEFAULT, newest);
    if (!*function) *function = dlsym(RTLD_DEFAULT, name);
    if (status) *status = *function ? 0 : 1;
    return *function ? OK : 500;
}
