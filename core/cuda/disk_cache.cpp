#include "cuda/disk_cache.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace flambeau::cuda {

namespace fs = std::filesystem;

namespace {

constexpr uintmax_t kMostBytes = uintmax_t(1) << 30;
constexpr int kWritesBetweenCleanings = 64;

// 64 bits that depend on every byte; `seed` gives independent ones.
uint64_t hash_bytes(const std::string& bytes, uint64_t seed) {
  uint64_t hash = seed ^ (bytes.size() * 0x9E3779B97F4A7C15);
  for (size_t i = 0; i < bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min<size_t>(8, bytes.size() - i));
    hash = (hash ^ word) * 0xD6E8FEB86659FD93;
    hash ^= hash >> 32;
  }
  return hash;
}

// What a file begins with; the rest is the contents.
struct Header {
  char magic[8];
  uint64_t key_hash, contents_hash, bytes;
};
constexpr char kMagic[8] = {'F', 'L', 'A', 'M', 'C', 'U', 'B', '1'};

fs::path path_of(const std::string& key) {
  char name[40];
  std::snprintf(name, sizeof name, "%016llx%016llx",
                static_cast<unsigned long long>(hash_bytes(key, 1)),
                static_cast<unsigned long long>(hash_bytes(key, 2)));
  return fs::path(cache_directory()) / "kernels" / name;
}

void remove_oldest(const fs::path& directory) {
  struct Entry {
    fs::file_time_type time;
    uintmax_t bytes;
    fs::path path;
  };
  std::vector<Entry> entries;
  uintmax_t total = 0;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(directory, error)) {
    std::error_code ignored;
    entries.push_back({file.last_write_time(ignored), file.file_size(ignored), file.path()});
    total += entries.back().bytes;
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.time < b.time; });
  if (total <= kMostBytes) return;
  for (size_t i = 0; i < entries.size() && total > kMostBytes / 2; ++i) {
    total -= entries[i].bytes;
    fs::remove(entries[i].path, error);
  }
}

}  // namespace

std::string cache_directory() {
  if (const char* own = std::getenv("FLAMBEAU_CACHE")) return own;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg) {
    return std::string(xdg) + "/flambeau";
  }
  const char* home = std::getenv("HOME");
  return home && *home ? std::string(home) + "/.cache/flambeau" : std::string();
}

std::optional<std::string> read_cached(const std::string& key) {
  if (cache_directory().empty()) return {};
  std::ifstream file(path_of(key), std::ios::binary);
  Header header;
  if (!file.read(reinterpret_cast<char*>(&header), sizeof header)) return {};
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 ||
      header.key_hash != hash_bytes(key, 3) || header.bytes > kMostBytes) {
    return {};
  }
  std::string contents(header.bytes, '\0');
  if (!file.read(contents.data(), static_cast<std::streamsize>(header.bytes))) return {};
  if (header.contents_hash != hash_bytes(contents, 4)) return {};
  return contents;
}

void write_cached(const std::string& key, const std::string& contents) {
  if (cache_directory().empty()) return;
  static std::atomic<int> writes{0};
  const fs::path path = path_of(key);
  const int number = writes++;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  const fs::path unfinished =
      path.string() + "." + std::to_string(getpid()) + "." + std::to_string(number);
  {
    std::ofstream file(unfinished, std::ios::binary);
    Header header{{}, hash_bytes(key, 3), hash_bytes(contents, 4), contents.size()};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    file.write(reinterpret_cast<const char*>(&header), sizeof header);
    file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
    if (!file) {
      file.close();
      fs::remove(unfinished, error);
      return;
    }
  }
  fs::rename(unfinished, path, error);
  if (error) fs::remove(unfinished, error);
  if (number % kWritesBetweenCleanings == 0) remove_oldest(path.parent_path());
}

}  // namespace flambeau::cuda
