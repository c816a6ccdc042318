// Compiled kernels on disk, shared by all processes of the user.
#pragma once

#include <optional>
#include <string>

namespace flambeau::cuda {

// Where it is: FLAMBEAU_CACHE, or flambeau/ in XDG_CACHE_HOME or ~/.cache. Empty: there is none
// (FLAMBEAU_CACHE is empty, or there is no home).
std::string cache_directory();

// A key is any text; entries are found by its hash. A damaged or unreadable file counts as absent.
std::optional<std::string> read_cached(const std::string& key);
// Written under another name and then renamed, so readers never see half a file. Failing to write
// is no error. The oldest files go when the directory exceeds 1 GiB.
void write_cached(const std::string& key, const std::string& contents);

}  // namespace flambeau::cuda
