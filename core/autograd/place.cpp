#include "autograd/place.h"

#include <array>

#include "ops/primitive.h"

namespace flambeau {

Places places;
thread_local PendingPlace pending_place;

Place::~Place() {
  if (code) places.release(code);
}

namespace {
struct Write {
  const Storage* storage = nullptr;
  uint32_t version = 0;
  Place place;
};
constexpr uint32_t kWrites = 256;
// Leaked on purpose: code objects must not be released after the interpreter is gone.
std::array<Write, kWrites>& writes = *new std::array<Write, kWrites>;
uint32_t next_write = 0;
}  // namespace

void note_write(const Storage& storage) {
  if (mode.without_gil) return;
  Write& write = writes[next_write++ % kWrites];
  write.storage = &storage;
  write.version = storage.version() + 1;
  write.place = places.here();
}

std::string describe_write(const Storage& storage) {
  // Latest first: older ones may be of a storage that had the same address.
  for (uint32_t age = 1; age <= kWrites; ++age) {
    const Write& write = writes[(next_write - age) % kWrites];
    if (write.storage == &storage && write.version == storage.version()) {
      return places.describe(write.place);
    }
  }
  return "";
}

}  // namespace flambeau
