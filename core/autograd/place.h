// Where in the user's program something happened; cheap enough to keep for every node.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/object.h"

namespace flambeau {

class Storage;

// A position in a Python function: the code object (owned) and the instruction's offset.
struct Place {
  void* code = nullptr;
  int32_t offset = -1;

  Place() = default;
  Place(Place&& other) noexcept : code(std::exchange(other.code, nullptr)), offset(other.offset) {}
  Place& operator=(Place&& other) noexcept {
    std::swap(code, other.code);
    std::swap(offset, other.offset);
    return *this;
  }
  ~Place();
};

// The Python layer's part, set when the module is loaded.
struct Places {
  Place (*here)() = nullptr;
  void (*release)(void* code) = nullptr;
  Place (*copy)(const Place& place) = nullptr;
  Place (*user)() = nullptr;  // the nearest position outside this package
  std::string (*describe)(const Place& place) = nullptr;  // "train.py:12, in step"
};
extern Places places;

// Where the operator was called that computes without Python's lock now; its node takes it.
struct PendingPlace {
  void* code = nullptr;
  int32_t offset = -1;
};
extern thread_local PendingPlace pending_place;

// Remembers where a storage is being written in place, just before (the most recent writes only).
void note_write(const Storage& storage);
// "train.py:12, in step", or "" when it is no longer known.
std::string describe_write(const Storage& storage);

}  // namespace flambeau
