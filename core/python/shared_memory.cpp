// Memory that two processes share: what loader workers hand over batches in.
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "python/common.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

struct Mapping {
  void* address;
  size_t bytes;
};

// A loan of part of a mapping. Its end is told to the other process through a byte in the memory.
struct Loan {
  Ref<Storage> memory;
  char* flag;
  pid_t borrower;
};

void unmap(void* owner) {
  std::unique_ptr<Mapping> mapping(static_cast<Mapping*>(owner));
  munmap(mapping->address, mapping->bytes);
}

void end_loan(void* owner) {
  std::unique_ptr<Loan> loan(static_cast<Loan*>(owner));
  // A forked child has a copy of the loan, which is not its to end.
  if (getpid() == loan->borrower) __atomic_store_n(loan->flag, 0, __ATOMIC_RELEASE);
}

TensorRef bytes_of(Ref<Storage> storage) {
  int64_t count = storage->bytes();
  return Tensor::view(std::move(storage), {count}, {1}, 0, DType::UInt8);
}

TensorRef map_file(int descriptor, size_t bytes) {
  int flags = MAP_SHARED;
#ifdef MAP_POPULATE
  flags |= MAP_POPULATE;  // enters all pages at once, which saves a fault on each
#endif
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0);
  if (address == MAP_FAILED) {
    fail(ErrorKind::Runtime, "map_file: cannot map ", bytes, " bytes: ", strerror(errno));
  }
  auto mapping = std::make_unique<Mapping>(Mapping{address, bytes});
  return bytes_of(Storage::wrap(address, bytes, mapping.release(), unmap));
}

TensorRef lend(const Ref<Storage>& memory, size_t start, size_t bytes, size_t flag) {
  size_t total = memory->bytes();
  require(flag < total && start <= total && bytes <= total - start,
          "lend: the part must lie within the ", total, " bytes of the memory");
  char* base = memory->data();
  auto loan = std::make_unique<Loan>(Loan{memory, base + flag, getpid()});
  __atomic_store_n(loan->flag, 1, __ATOMIC_RELEASE);
  return bytes_of(Storage::wrap(base + start, bytes, loan.release(), end_loan));
}

template <class Function>
nb::object wrapped(Function function) {
  PyObject* result = guarded([&]() -> PyObject* { return wrap(function()); });
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

}  // namespace

void bind_shared_memory(nb::module_& module) {
  module.def(
      "map_file",
      [](int descriptor, size_t bytes) {
        return wrapped([&] { return map_file(descriptor, bytes); });
      },
      "map_file(descriptor, bytes): a file's memory, shared, as a tensor of bytes.");
  module.def(
      "lend",
      [](nb::handle memory, size_t start, size_t bytes, size_t flag) {
        return wrapped([&] {
          require(is_tensor(memory.ptr()), "lend: expected a tensor");
          return lend(unwrap(memory.ptr())->storage(), start, bytes, flag);
        });
      },
      "lend(memory, start, bytes, flag): part of the memory as a tensor of bytes. Byte `flag` of\n"
      "the memory is 1 from now on, and 0 when nothing uses the part any more in this process.");
}

}  // namespace flambeau::python
