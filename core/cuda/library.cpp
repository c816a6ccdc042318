#include "cuda/library.h"

#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "base/error.h"

namespace flambeau::cuda {

namespace {

using Paths = std::vector<std::string>;

struct Candidate {
  const char* file;
  int cuda;  // the CUDA that it belongs to; 0: any
};
struct Sought {
  const char* what;
  std::vector<Candidate> candidates;  // the best first
};

// The last name of each list is what toolkits and conda link to.
const Sought& sought(LibraryName name) {
  static const std::array<Sought, 5> kAll{{
      {"NVIDIA's driver", {{"libcuda.so.1", 0}}},
      {"NVRTC", {{"libnvrtc.so.13", 13}, {"libnvrtc.so.12", 12}, {"libnvrtc.so", 0}}},
      {"cuBLASLt", {{"libcublasLt.so.13", 13}, {"libcublasLt.so.12", 12}, {"libcublasLt.so", 0}}},
      {"cuDNN", {{"libcudnn.so.9", 0}, {"libcudnn.so", 0}}},
      {"NCCL", {{"libnccl.so.2", 0}, {"libnccl.so", 0}}},
  }};
  return kAll[static_cast<size_t>(name)];
}

Paths (*find_directories)() = nullptr;

Paths split(const char* list) {
  Paths parts;
  std::string all = list ? list : "";
  for (size_t begin = 0; begin <= all.size();) {
    size_t end = std::min(all.find(':', begin), all.size());
    if (end > begin) parts.push_back(all.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// Python's part needs the interpreter's lock. So no lock of ours may be held while it runs: the
// thread that has the interpreter's may be waiting for ours.
const Paths& directories() {
  static std::mutex mutex;
  static const Paths* known = nullptr;
  {
    std::lock_guard lock(mutex);
    if (known) return *known;
  }
  Paths found = find_directories ? find_directories() : Paths{};
  std::lock_guard lock(mutex);
  if (!known) known = new Paths(std::move(found));
  return *known;
}

// The newest CUDA that the driver runs, 0 if unknown. Libraries of a later one would load, and
// then fail at their first call.
int newest_cuda() { return static_cast<int>(version_of(LibraryName::Driver) / 1000); }

// NVRTC opens its built-ins by name, which the loader finds only if they are loaded already or lie
// in the directories it searches.
void load_builtins(const std::string& path) {
  glob_t matches{};
  std::string pattern = std::filesystem::path(path).parent_path() / "libnvrtc-builtins.so.*";
  if (glob(pattern.c_str(), 0, nullptr, &matches) == 0) {
    for (size_t i = 0; i < matches.gl_pathc; ++i) dlopen(matches.gl_pathv[i], RTLD_NOW);
  }
  globfree(&matches);
}

std::string path_of(void* handle, const char* file) {
  std::array<char, 4096> directory{};
  if (dlinfo(handle, RTLD_DI_ORIGIN, directory.data()) != 0) return file;
  return std::string(directory.data()) + "/" + file;
}

class Search {
 public:
  Search(LibraryName name, int newest) : name_(name), newest_(newest) {}

  bool in_directory(const std::string& directory, bool any_cuda) {
    for (const Candidate& candidate : sought(name_).candidates) {
      std::string path = directory + "/" + candidate.file;
      std::error_code unreadable;
      if (!std::filesystem::exists(path, unreadable)) continue;
      if (!any_cuda && too_new(candidate)) {
        add_problem(text(path, " is for CUDA ", candidate.cuda, ", and the driver runs CUDA ",
                         newest_, " at most"));
      } else if (open(path)) {
        return true;
      }
    }
    looked_in_.push_back(directory);
    return false;
  }

  bool by_loader() {
    for (const Candidate& candidate : sought(name_).candidates) {
      if (!too_new(candidate) && open(candidate.file)) return true;
    }
    return false;
  }

  Library result() {
    if (!found_.handle) found_.problem = problem();
    return std::move(found_);
  }

 private:
  bool too_new(const Candidate& candidate) const { return newest_ && candidate.cuda > newest_; }
  void add_problem(const std::string& problem) { problems_ += "; " + problem; }

  bool open(const std::string& path) {
    bool full = path.find('/') != std::string::npos;
    if (full && name_ == LibraryName::Nvrtc) load_builtins(path);
    found_.handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (found_.handle) {
      found_.path = full ? path : path_of(found_.handle, path.c_str());
    } else if (const char* why = dlerror(); why && full) {
      add_problem(why);
    }
    return found_.handle != nullptr;
  }

  std::string problem() const {
    std::string files, places;
    for (const Candidate& candidate : sought(name_).candidates) {
      files += (files.empty() ? "" : " or ") + std::string(candidate.file);
    }
    for (const std::string& directory : looked_in_) places += directory + ", ";
    std::string looked = text("looked for ", files, " in ", places, "the loader's path", problems_);
    if (name_ == LibraryName::Driver) return looked;
    bool older = newest_ && newest_ < 13;
    return text(sought(name_).what, " was not found: ", looked, "; run: pip install \"flambeau[",
                older ? "cuda12" : "cuda", "]\"");
  }

  LibraryName name_;
  int newest_;
  Library found_;
  Paths looked_in_;
  std::string problems_;
};

Library load(LibraryName name, const Paths& found, int newest) {
  Search search(name, newest);
  // Who names a directory gets what is in it.
  for (const std::string& directory : split(std::getenv("FLAMBEAU_CUDA_LIBRARIES"))) {
    if (search.in_directory(directory, true)) return search.result();
  }
  for (const std::string& directory : found) {
    if (search.in_directory(directory, false)) return search.result();
  }
  search.by_loader();
  return search.result();
}

}  // namespace

void* Library::symbol(const char* name) const { return handle ? dlsym(handle, name) : nullptr; }

int64_t version_of(LibraryName name) {
  const Library& found = library(name);
  auto entry = [&](const char* symbol) { return found.symbol(symbol); };
  if (name == LibraryName::CublasLt || name == LibraryName::Cudnn) {
    void* ask = entry(name == LibraryName::Cudnn ? "cudnnGetVersion" : "cublasLtGetVersion");
    return ask ? static_cast<int64_t>(reinterpret_cast<size_t (*)()>(ask)()) : 0;
  }
  int major = 0, minor = 0;
  if (name == LibraryName::Nvrtc) {
    auto ask = reinterpret_cast<int (*)(int*, int*)>(entry("nvrtcVersion"));
    return ask && ask(&major, &minor) == 0 ? 1000 * major + 10 * minor : 0;
  }
  const char* symbol = name == LibraryName::Nccl ? "ncclGetVersion" : "cuDriverGetVersion";
  auto ask = reinterpret_cast<int (*)(int*)>(entry(symbol));
  return ask && ask(&major) == 0 ? major : 0;
}

void set_library_directories(std::vector<std::string> (*find)()) { find_directories = find; }

const Library& library(LibraryName name) {
  static std::mutex mutex;
  static std::array<const Library*, 5> loaded{};  // never freed: their handles stay in use
  const Library*& entry = loaded[static_cast<size_t>(name)];
  {
    std::lock_guard lock(mutex);
    if (entry) return *entry;
  }
  bool is_driver = name == LibraryName::Driver;
  // WSL keeps the driver where the loader does not always look.
  static const Paths kDriverDirectories{"/usr/lib/wsl/lib"};
  const Paths& found = is_driver ? kDriverDirectories : directories();
  int newest = is_driver ? 0 : newest_cuda();
  // cuDNN opens these by name.
  if (name == LibraryName::Cudnn) {
    library(LibraryName::Nvrtc);
    library(LibraryName::CublasLt);
  }
  std::lock_guard lock(mutex);
  if (!entry) entry = new Library(load(name, found, newest));
  return *entry;
}

}  // namespace flambeau::cuda
