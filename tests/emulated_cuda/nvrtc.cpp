#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "cuda_types.h"

// NVRTC by g++: the "cubin" is a shared object that the emulated driver loads. The source is
// compiled behind shim.h, and after it comes a table of the kernels found in its text.

extern char** environ;

namespace {

using nvrtcResult = int;
constexpr std::array kResults = {
    "NVRTC_SUCCESS",
    "NVRTC_ERROR_OUT_OF_MEMORY",
    "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
    "NVRTC_ERROR_INVALID_INPUT",
    "NVRTC_ERROR_INVALID_PROGRAM",
    "NVRTC_ERROR_INVALID_OPTION",
    "NVRTC_ERROR_COMPILATION",
};
constexpr nvrtcResult NVRTC_SUCCESS = 0;
constexpr nvrtcResult NVRTC_ERROR_PROGRAM_CREATION_FAILURE = 2;
constexpr nvrtcResult NVRTC_ERROR_INVALID_INPUT = 3;
constexpr nvrtcResult NVRTC_ERROR_INVALID_PROGRAM = 4;
constexpr nvrtcResult NVRTC_ERROR_INVALID_OPTION = 5;
constexpr nvrtcResult NVRTC_ERROR_COMPILATION = 6;

constexpr std::array kArchitectures = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};

// What shim.h must be compiled with, also in advance (build.py).
const std::vector<std::string> kCompiler = {EMULATED_COMPILER};

struct Kernel {
  std::string name, max_threads;
};

struct Program {
  std::string source, name, log, image;
  bool for_device = false;  // sm_XX: a cubin; compute_XX: only "PTX"
};

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// The text without comments; strings stay, lines keep their numbers.
std::string without_comments(const std::string& text) {
  std::string result;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text.compare(at, 2, "//") == 0) {
      while (at < text.size() && text[at] != '\n') ++at;
      result += '\n';
    } else if (text.compare(at, 2, "/*") == 0) {
      at = text.find("*/", at + 2);
      if (at == std::string::npos) break;
      ++at;
      result += ' ';
    } else {
      result += text[at];
    }
  }
  return result;
}

// Reads declarations one word at a time.
class Reader {
 public:
  Reader(const std::string& text, size_t at) : text_(text), at_(at) {}
  std::string word() {
    skip_spaces();
    size_t begin = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  bool at_parenthesis() {
    skip_spaces();
    return at_ < text_.size() && text_[at_] == '(';
  }
  std::string parenthesised() {
    size_t begin = ++at_;
    for (int depth = 1; at_ < text_.size(); ++at_) {
      depth += text_[at_] == '(' ? 1 : text_[at_] == ')' ? -1 : 0;
      if (depth == 0) return text_.substr(begin, at_++ - begin);
    }
    return "";
  }

 private:
  void skip_spaces() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  const std::string& text_;
  size_t at_;
};

// All that is written as `__global__ void [__launch_bounds__(...)] name(`, in either order.
std::vector<Kernel> find_kernels(const std::string& source) {
  static const std::string kMark = "__global__";
  std::string text = without_comments(source);
  std::vector<Kernel> kernels;
  for (size_t at = text.find(kMark); at != std::string::npos; at = text.find(kMark, at + 1)) {
    Reader reader(text, at + kMark.size());
    Kernel kernel{"", "1024"};
    for (;;) {
      std::string word = reader.word();
      if (word.empty()) break;
      if (!reader.at_parenthesis()) continue;
      if (word.compare(0, 2, "__") != 0) {
        kernel.name = word;
        break;
      }
      std::string arguments = reader.parenthesised();
      if (word == "__launch_bounds__") kernel.max_threads = arguments;
    }
    if (!kernel.name.empty()) kernels.push_back(kernel);
  }
  return kernels;
}

// `skipped` are those that turned out not to be there (in a part that #if leaves out).
std::string complete_source(const Program& program, const std::vector<Kernel>& kernels,
                            const std::set<size_t>& skipped) {
  std::ostringstream text;
  text << "#line 1 \"" << program.name << "\"\n" << program.source;
  text << "\n#line 1 \"emulated_kernels\"\n";
  size_t count = 0;
  text << "static const EmulatedKernel emulated_kernels[] = {";
  for (size_t index = 0; index < kernels.size(); ++index) {
    text << '\n';  // kernel `index` stands in line index + 2
    if (skipped.count(index) != 0) continue;
    text << "EMULATED_KERNEL(" << kernels[index].name << ", " << kernels[index].max_threads << ")";
    ++count;
  }
  text << "\n{}};\n"
          "extern \"C\" __attribute__((visibility(\"default\"))) EmulatedModule emulated_module = "
          "{&emulated_state, __start_emulated_shared, __stop_emulated_shared, emulated_kernels, "
       << count << "};\n";
  return text.str();
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

// The folder of this library: shim.h lies beside it.
std::string own_folder() {
  Dl_info information{};
  dladdr(reinterpret_cast<void*>(&own_folder), &information);
  std::string path = information.dli_fname;
  return path.substr(0, path.rfind('/'));
}

// A folder that is removed with all that was put into it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const char* parent = std::getenv("TMPDIR");
    path_ = std::string(parent == nullptr ? "/tmp" : parent) + "/emulated_nvrtc_XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    for (const std::string& name : names_) unlink((path_ + "/" + name).c_str());
    rmdir(path_.c_str());
  }
  std::string file(const std::string& name) {
    names_.insert(name);
    return path_ + "/" + name;
  }

 private:
  std::string path_;
  std::set<std::string> names_;
};

bool run_compiler(const std::vector<std::string>& arguments, const std::string& log_path) {
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  constexpr int kReadable = 0600;
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_path.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, kReadable);
  pid_t child = 0;
  int error = posix_spawnp(&child, pointers[0], &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return false;
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// The kernels whose lines the compiler complained about.
std::set<size_t> missing_kernels(const std::string& log, size_t count) {
  static const std::string kPlace = "emulated_kernels:";
  std::set<size_t> missing;
  for (size_t at = log.find(kPlace); at != std::string::npos; at = log.find(kPlace, at + 1)) {
    size_t line = std::strtoul(log.c_str() + at + kPlace.size(), nullptr, 10);
    if (line >= 2 && line < count + 2) missing.insert(line - 2);
  }
  return missing;
}

nvrtcResult compile(Program* program, const std::vector<std::string>& definitions) {
  TemporaryFolder folder;
  std::string source_path = folder.file("kernel.cpp"), image_path = folder.file("kernel.so");
  std::string log_path = folder.file("log");
  std::vector<std::string> arguments = kCompiler;
  for (const std::string& definition : definitions) arguments.push_back("-D" + definition);
  arguments.insert(arguments.end(),
                   {"-include", own_folder() + "/shim.h", source_path, "-o", image_path, "-shared",
                    "-nostdlib", "-s", "-Wl,--build-id=none", "-lm", "-lc"});
  std::vector<Kernel> kernels = find_kernels(program->source);
  std::set<size_t> skipped;
  for (int attempt = 0; attempt < 2; ++attempt) {
    std::ofstream(source_path) << complete_source(*program, kernels, skipped);
    bool compiled = run_compiler(arguments, log_path);
    program->log = read_file(log_path);
    if (compiled) {
      program->image = read_file(image_path);
      return NVRTC_SUCCESS;
    }
    skipped = missing_kernels(program->log, kernels.size());
    if (skipped.empty()) break;
  }
  return NVRTC_ERROR_COMPILATION;
}

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

// Options that change nothing here.
bool is_ignored(const std::string& option) {
  static const std::array kIgnored = {"--std=",
                                      "-std=",
                                      "--use_fast_math",
                                      "-use_fast_math",
                                      "--fmad=",
                                      "-fmad=",
                                      "--ftz=",
                                      "-ftz=",
                                      "--prec-div=",
                                      "-prec-div=",
                                      "--prec-sqrt=",
                                      "-prec-sqrt=",
                                      "--restrict",
                                      "-restrict",
                                      "-lineinfo",
                                      "--generate-line-info",
                                      "--device-debug",
                                      "-G",
                                      "-default-device",
                                      "--device-as-default-execution-space",
                                      "--maxrregcount=",
                                      "-maxrregcount=",
                                      "--extra-device-vectorization",
                                      "-w",
                                      "--disable-warnings",
                                      "--diag-suppress=",
                                      "-diag-suppress=",
                                      "--split-compile=",
                                      "-split-compile=",
                                      "--minimal",
                                      "-minimal",
                                      "--dopt=",
                                      "-dopt=",
                                      "--device-int128",
                                      "-device-int128"};
  for (const char* known : kIgnored) {
    bool with_value = known[std::strlen(known) - 1] == '=';
    if (with_value ? starts_with(option, known) : option == known) return true;
  }
  return false;
}

// sm_90, compute_90a ...
bool set_architecture(Program* program, const std::string& text) {
  program->for_device = starts_with(text, "sm_");
  if (!program->for_device && !starts_with(text, "compute_")) return false;
  int number = std::atoi(text.c_str() + text.find('_') + 1);
  for (int known : kArchitectures) {
    if (known == number) return true;
  }
  return false;
}

bool read_options(Program* program, int count, const char* const* options,
                  std::vector<std::string>* definitions) {
  for (int index = 0; index < count; ++index) {
    std::string option = options[index];
    auto value_of = [&](const char* name) {  // "name=value", or the value is the next option
      size_t length = std::strlen(name);
      if (option == name && index + 1 < count) return std::string(options[++index]);
      return starts_with(option, std::string(name) + "=") ? option.substr(length + 1) : "";
    };
    bool good = is_ignored(option);
    for (const char* name : {"--gpu-architecture", "-arch"}) {
      std::string value = value_of(name);
      if (!value.empty()) good = set_architecture(program, value);
    }
    for (const char* name : {"-D", "--define-macro"}) {
      std::string value = value_of(name);
      bool attached = value.empty() && std::strcmp(name, "-D") == 0 && starts_with(option, "-D");
      if (attached) value = option.substr(2);
      if (!value.empty()) definitions->push_back(value), good = true;
    }
    if (!good) {
      program->log = "nvrtc: error: invalid value or unknown option: " + option + "\n";
      return false;
    }
  }
  return true;
}

Program* as_program(void* handle) { return static_cast<Program*>(handle); }

nvrtcResult copy_out(void* handle, const std::string Program::* member, char* to) {
  if (handle == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  if (to == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  const std::string& text = as_program(handle)->*member;
  std::memcpy(to, text.data(), text.size());
  return NVRTC_SUCCESS;
}

}  // namespace

#define NVRTC_API EMULATED_API nvrtcResult

NVRTC_API nvrtcVersion(int* major, int* minor) {
  if (major == nullptr || minor == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  *major = 13;
  *minor = 0;
  return NVRTC_SUCCESS;
}

EMULATED_API const char* nvrtcGetErrorString(nvrtcResult result) {
  bool known = result >= 0 && result < static_cast<int>(kResults.size());
  return known ? kResults[result] : "NVRTC_ERROR unknown";
}

NVRTC_API nvrtcGetNumSupportedArchs(int* count) {
  if (count == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  *count = static_cast<int>(kArchitectures.size());
  return NVRTC_SUCCESS;
}

NVRTC_API nvrtcGetSupportedArchs(int* architectures) {
  if (architectures == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  std::copy(kArchitectures.begin(), kArchitectures.end(), architectures);
  return NVRTC_SUCCESS;
}

NVRTC_API nvrtcCreateProgram(void** handle, const char* source, const char* name, int headers,
                             const char* const*, const char* const*) {
  if (handle == nullptr || source == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  if (headers != 0) return NVRTC_ERROR_PROGRAM_CREATION_FAILURE;  // not emulated
  auto program = std::make_unique<Program>();
  program->source = source;
  program->name = name == nullptr ? "default_program" : name;
  *handle = program.release();
  return NVRTC_SUCCESS;
}

NVRTC_API nvrtcDestroyProgram(void** handle) {
  if (handle == nullptr || *handle == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  delete as_program(*handle);
  *handle = nullptr;
  return NVRTC_SUCCESS;
}

NVRTC_API nvrtcCompileProgram(void* handle, int count, const char* const* options) {
  if (handle == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  Program* program = as_program(handle);
  std::vector<std::string> definitions;
  bool good = read_options(program, count, options, &definitions);
  return good ? compile(program, definitions) : NVRTC_ERROR_INVALID_OPTION;
}

NVRTC_API nvrtcGetProgramLogSize(void* handle, size_t* bytes) {
  if (handle == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  if (bytes == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  *bytes = as_program(handle)->log.size() + 1;
  return NVRTC_SUCCESS;
}

NVRTC_API nvrtcGetProgramLog(void* handle, char* log) {
  nvrtcResult result = copy_out(handle, &Program::log, log);
  if (result == NVRTC_SUCCESS) log[as_program(handle)->log.size()] = '\0';
  return result;
}

NVRTC_API nvrtcGetCUBINSize(void* handle, size_t* bytes) {
  if (handle == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  if (bytes == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  const Program* program = as_program(handle);
  *bytes = program->for_device ? program->image.size() : 0;
  return NVRTC_SUCCESS;
}

NVRTC_API nvrtcGetCUBIN(void* handle, char* cubin) {
  return copy_out(handle, &Program::image, cubin);
}

// The emulated driver loads this too, though it is no text.
NVRTC_API nvrtcGetPTXSize(void* handle, size_t* bytes) {
  if (handle == nullptr) return NVRTC_ERROR_INVALID_PROGRAM;
  if (bytes == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  *bytes = as_program(handle)->image.size();
  return NVRTC_SUCCESS;
}

NVRTC_API nvrtcGetPTX(void* handle, char* text) { return copy_out(handle, &Program::image, text); }
