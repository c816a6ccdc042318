// Errors: one exception type that names the Python exception it becomes.
// Texts follow `op: what is required, got what; how to mend it`.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace flambeau {

enum class ErrorKind { Runtime, Value, Type, Index, NotImplemented, OutOfMemory, Overflow, Buffer };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& text) : std::runtime_error(text), kind(kind) {}
  ErrorKind kind;
};

// Joins anything that can be written to a stream.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

template <class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(ErrorKind kind, const Parts&... parts) {
  throw Error(kind, text(parts...));
}
template <class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(const Parts&... parts) {
  throw Error(ErrorKind::Runtime, text(parts...));
}

// require(condition, parts...): RuntimeError unless the condition holds.
#define require(condition, ...)                                           \
  do {                                                                    \
    if (__builtin_expect(!(condition), 0)) ::flambeau::fail(__VA_ARGS__); \
  } while (0)

}  // namespace flambeau
