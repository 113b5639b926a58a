// A driver without a card: it answers as libcuda does for an sm_90, knows no kernel named by FAKE_MISSING, and counts contexts.
#include <stdlib.h>
#include <string.h>

static void *current;
static int card, context, module, function;

int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal + 40; return ordinal == 0 ? 0 : 101; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 9 : 0;
  return device == 40 && (attribute == 75 || attribute == 76) ? 0 : 1;
}
int cuDeviceGetName(char *out, int length, int device) { return device == 40 && length > 8 ? strcpy(out, "a driver"), 0 : 1; }
int cuDevicePrimaryCtxRetain(void **out, int device) { *out = &context; return device == 40 ? 0 : 101; }
int cuCtxGetCurrent(void **out) { *out = current; return 0; }
int cuCtxSetCurrent(void *to) { current = to; return to == &context ? 0 : 1; }
int cuModuleLoadData(void **out, const void *cubin) { *out = &module; return current == &context && !memcmp(cubin, "\177ELF", 4) ? 0 : 200; }
int cuModuleGetFunction(void **out, void *from, const char *name) {
  const char *missing = getenv("FAKE_MISSING");
  *out = &function;
  return from == &module && !(missing && !strcmp(missing, name)) ? 0 : 500;
}
int cuLaunchKernel(void) { return 1; }
int cuGetErrorString(int error, const char **text) { *text = error == 500 ? "named symbol not found" : "some other error"; return 0; }
