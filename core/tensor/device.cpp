#include "tensor/device.h"

#include "base/error.h"

namespace flambeau {

std::string device_name(Device device) {
  std::string name = device.is_cpu() ? "cpu" : "cuda";
  return device.index < 0 ? name : name + ":" + std::to_string(device.index);
}

Device parse_device(const std::string& name) {
  size_t colon = name.find(':');
  std::string type = name.substr(0, colon);
  Device device;
  bool known = type == "cpu" || type == "cuda";
  if (known && type == "cuda") device.type = Device::Type::Cuda;
  if (known && colon != std::string::npos) {
    std::string digits = name.substr(colon + 1);
    known = !digits.empty() && digits.size() <= 2 &&
            digits.find_first_not_of("0123456789") == std::string::npos;
    if (known) device.index = static_cast<int8_t>(std::stoi(digits));
  }
  require(known, "device: expected 'cpu', 'cuda' or 'cuda:N', got '", name,
          "'; Invalid device string");
  return device;
}

}  // namespace flambeau
