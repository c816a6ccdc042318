// Pages for machine code: written first, then made executable and no longer writable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

namespace flambeau::emitter {

// Held while code is written; a forked child finds it free.
std::mutex& writing_mutex();

// Owns whole pages with one piece of code; gives them back to a pool.
class ExecutableMemory {
 public:
  ExecutableMemory() = default;
  // Copies the code. Empty when the system refuses executable pages or the pool is exhausted.
  explicit ExecutableMemory(std::span<const uint8_t> code);
  ~ExecutableMemory();
  ExecutableMemory(ExecutableMemory&& other) noexcept;
  ExecutableMemory& operator=(ExecutableMemory&& other) noexcept;

  const void* entry() const { return start_; }
  std::span<const uint8_t> bytes() const { return {start_, size_}; }
  explicit operator bool() const { return start_ != nullptr; }

  // Bytes in use by all pieces of code, for tests of the bound.
  static size_t bytes_in_use();
  // Tests: pretend that the system refuses.
  static void refuse(bool on);

 private:
  uint8_t* start_ = nullptr;
  size_t pages_ = 0, size_ = 0;
};

}  // namespace flambeau::emitter
