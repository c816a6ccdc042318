// Where a tensor's memory lives.
#pragma once

#include <cstdint>
#include <string>

namespace flambeau {

struct Device {
  enum class Type : uint8_t { Cpu, Cuda };
  Type type = Type::Cpu;
  int8_t index = -1;  // -1: the current device of that type

  bool is_cpu() const { return type == Type::Cpu; }
  bool operator==(const Device&) const = default;
};

// "cpu", "cuda", "cuda:1". parse_device raises RuntimeError for anything else.
std::string device_name(Device device);
Device parse_device(const std::string& name);

}  // namespace flambeau
