#include "base/system.h"

#include <sched.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace flambeau {
namespace {

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Directories of this process's group and all its parents, for a controller of version 1 ("cpu",
// "memory") or for version 2 (""). A limit in any of them holds. Inside a container the path in
// /proc may not exist below the mount point; the mount point itself always does.
std::vector<std::string> group_directories(const std::string& controller) {
  std::string path = "/";
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/path" or "0::/path"
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    bool ours =
        controller.empty() ? names == ",," : names.find("," + controller + ",") != names.npos;
    if (ours) path = line.substr(second + 1);
  }
  std::string root = "/sys/fs/cgroup" + (controller.empty() ? "" : "/" + controller);
  std::vector<std::string> directories;
  for (; path.size() > 1; path.resize(path.rfind('/'))) directories.push_back(root + path + "/");
  directories.push_back(root + "/");
  return directories;
}

// Processors' worth of time per period; infinite without a limit.
double processor_quota() {
  double quota = HUGE_VAL;
  auto limit = [&quota](const std::string& time, const std::string& period) {
    double share = std::atof(time.c_str()) / std::max(std::atof(period.c_str()), 1.0);
    if (share > 0) quota = std::min(quota, share);
  };
  for (const std::string& directory : group_directories("")) {
    std::string line = read_line(directory + "cpu.max");  // "200000 100000" or "max 100000"
    size_t space = line.find(' ');
    if (space != std::string::npos) limit(line.substr(0, space), line.substr(space + 1));
  }
  for (const std::string& directory : group_directories("cpu")) {
    limit(read_line(directory + "cpu.cfs_quota_us"), read_line(directory + "cpu.cfs_period_us"));
  }
  return quota;
}

// Two hardware threads of one core share its arithmetic units: they count once.
int physical_cores() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) {
    return static_cast<int>(std::thread::hardware_concurrency());
  }
  std::set<std::string> cores;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (!CPU_ISSET(i, &mask)) continue;
    std::string name = std::to_string(i);
    std::string siblings =
        read_line("/sys/devices/system/cpu/cpu" + name + "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? name : siblings);
  }
  return static_cast<int>(cores.size());
}

}  // namespace

int usable_processors() {
  for (const char* name : {"FLAMBEAU_NUM_THREADS", "OMP_NUM_THREADS"}) {
    const char* value = std::getenv(name);
    int count = value ? std::atoi(value) : 0;
    if (count > 0) return count;
  }
  int cores = std::max(physical_cores(), 1);
  double quota = std::ceil(processor_quota());
  return quota < cores ? std::max(static_cast<int>(quota), 1) : cores;
}

size_t usable_memory() {
  struct sysinfo info;
  if (sysinfo(&info) != 0) return SIZE_MAX;
  size_t limit = (size_t{info.totalram} + info.totalswap) * info.mem_unit;
  auto lower = [&limit](const std::string& value) {
    unsigned long long bytes = std::strtoull(value.c_str(), nullptr, 10);  // 0 for "max" and ""
    if (bytes > 0) limit = std::min<size_t>(limit, bytes);
  };
  for (const std::string& directory : group_directories(""))
    lower(read_line(directory + "memory.max"));
  for (const std::string& directory : group_directories("memory")) {
    lower(read_line(directory + "memory.limit_in_bytes"));
  }
  return limit;
}

}  // namespace flambeau
