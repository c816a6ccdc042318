#include "cuda/module.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "cuda/device.h"
#include "cuda/disk_cache.h"
#include "cuda/nvrtc.h"

namespace flambeau::cuda {

namespace {

// The functions of this process, by device and what they were made from.
struct Table {
  std::mutex mutex;
  std::unordered_map<std::string, const Function*> by_source;
  std::unordered_map<uint64_t, const Function*> by_file;  // of KernelFile::get
  std::deque<Function> functions;
};
Table& table() {
  static auto* const functions = new Table;
  return *functions;
}

std::string architecture_of(int device) {
  const Properties& gpu = properties(device);
  const int own = gpu.major * 10 + gpu.minor;
  int best = 0;
  for (int known : nvrtc_architectures()) {
    if (known <= own && known > best) best = known;
  }
  require(best, "cuda: NVRTC cannot compile for ", gpu.name, " (compute capability ", gpu.major,
          ".", gpu.minor, "); update it with pip install --upgrade \"flambeau[cuda]\"");
  // Machine code runs on later GPUs of its generation. For those after, the driver translates PTX.
  return (best / 10 == gpu.major ? "sm_" : "compute_") + std::to_string(best);
}

std::string cached_cubin(const std::string& source, const std::string& label,
                         const std::string& architecture) {
  const auto [major, minor] = nvrtc_version();
  std::string key = text(architecture, " nvrtc ", major, ".", minor);
  for (const char* option : kNvrtcOptions) key += text(" ", option);
  key += "\n" + source;
  if (auto found = read_cached(key)) return *found;
  std::string cubin = nvrtc_compile(source, label, architecture);
  write_cached(key, cubin);
  return cubin;
}

const Function& load(const std::string& label, const std::string& source, const char* entry,
                     int device) {
  Table& my = table();
  const std::string key = text(device, " ", entry, "\n", source);
  {
    std::lock_guard lock(my.mutex);
    if (auto found = my.by_source.find(key); found != my.by_source.end()) return *found->second;
  }
  use(device);
  const std::string cubin = cached_cubin(source, label, architecture_of(device));
  ModuleHandle module = nullptr;
  Function function{nullptr, device};
  check(driver().module_load(&module, cubin.data()), "cuModuleLoadData");
  check(driver().module_function(&function.handle, module, entry), "cuModuleGetFunction");
  std::lock_guard lock(my.mutex);
  auto [place, fresh] = my.by_source.try_emplace(key, nullptr);
  if (fresh) place->second = &my.functions.emplace_back(function);
  return *place->second;
}

// Eight characters at a time: it is part of every call of an operator.
uint64_t mixed(uint64_t hash, std::string_view text) {
  constexpr uint64_t kFactor = 0xD6E8FEB86659FD93;
  for (size_t at = 0; at < text.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, std::min<size_t>(8, text.size() - at));
    hash = (hash ^ word) * kFactor;
    hash ^= hash >> 32;
  }
  return (hash ^ text.size()) * kFactor;
}

}  // namespace

std::string complete_source(std::string_view text, std::initializer_list<Define> defines) {
  std::string source;
  for (const char* file : {"cuda/prelude.cuh", "cuda/mathematics.cuh"}) {
    source += embedded_source(file);
  }
  for (const Define& define : defines) {
    source += "#define ";
    source += define.name;
    source += ' ';
    source += define.value;
    source += '\n';
  }
  source += text;
  return source;
}

const Function& function_of(const std::string& label, const std::string& text, const char* entry,
                            std::initializer_list<Define> defines, int device) {
  return load(label, complete_source(text, defines), entry, device);
}

const Function& KernelFile::get(const char* entry, std::initializer_list<Define> defines,
                                int device) const {
  uint64_t key = mixed(mixed(0xCBF29CE484222325 + device, path_), entry);
  for (const Define& define : defines) key = mixed(mixed(key, define.name), define.value);
  Table& my = table();
  {
    std::lock_guard lock(my.mutex);
    if (auto found = my.by_file.find(key); found != my.by_file.end()) return *found->second;
  }
  std::string text(before_ ? embedded_source(before_) : "");
  text += embedded_source(path_);
  const Function& function = load(path_, complete_source(text, defines), entry, device);
  std::lock_guard lock(my.mutex);
  my.by_file[key] = &function;
  return function;
}

const char* type_name(DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return "bool";
    case DType::UInt8:
      return "unsigned char";
    case DType::Int8:
      return "signed char";
    case DType::Int16:
      return "short";
    case DType::Int32:
      return "int";
    case DType::Int64:
      return "long long";
    case DType::Float16:
      return "half_t";
    case DType::BFloat16:
      return "bfloat_t";
    case DType::Float32:
      return "float";
    default:
      return "double";
  }
}

}  // namespace flambeau::cuda
