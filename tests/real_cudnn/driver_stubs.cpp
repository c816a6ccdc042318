#include <cstdlib>

// Functions of the driver that cuDNN calls while it builds a plan. Objects are never used.

#define STUB extern "C" __attribute__((visibility("default"))) int

namespace {
int made(void** object) {
  static char something;
  *object = &something;
  return 0;
}
constexpr int kNotSupported = 801;
}  // namespace

STUB cuLibraryLoadData(void** library, ...) { return made(library); }
STUB cuLibraryLoadFromFile(void** library, ...) { return made(library); }
STUB cuLibraryGetKernel(void** kernel, ...) { return made(kernel); }
STUB cuLibraryUnload(void*) { return 0; }
STUB cuKernelGetFunction(void** function, ...) { return made(function); }
STUB cuKernelSetAttribute(int, ...) { return 0; }
STUB cuKernelGetAttribute(int* value, ...) {
  *value = 128;
  return 0;
}
STUB cuOccupancyMaxPotentialClusterSize(int* size, ...) {
  *size = 8;
  return 0;
}
STUB cuCtxGetLimit(size_t*, ...) { return kNotSupported; }
STUB cuStreamGetCtx(void*, ...) { return kNotSupported; }
STUB cuGetExportTable(const void**, ...) { return kNotSupported; }
STUB cuLinkCreate_v2(unsigned, ...) { return kNotSupported; }
STUB cuLinkCreate(unsigned, ...) { return kNotSupported; }
STUB cuLinkAddData_v2(void*, ...) { return kNotSupported; }
STUB cuLinkAddData(void*, ...) { return kNotSupported; }
STUB cuLinkComplete(void*, ...) { return kNotSupported; }
STUB cuLinkDestroy(void*) { return kNotSupported; }
STUB cuLaunchCooperativeKernel(void*, ...) { return kNotSupported; }
STUB cuLaunchKernelEx(void*, ...) { return kNotSupported; }
STUB cuTensorMapEncodeIm2col(void*, ...) { return kNotSupported; }
STUB cuTensorMapEncodeTiled(void*, ...) { return kNotSupported; }
STUB cuCtxPushCurrent(void*) { return 0; }
STUB cuCtxPopCurrent(void** context) { return made(context); }
