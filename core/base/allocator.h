// Memory for tensors and small objects. Small blocks come from per-thread free lists by size
// class, large ones from a process-wide cache that keeps freed memory (bounded), aligned to huge
// pages. Everything is aligned to 64 bytes.
#pragma once

#include <cstddef>

namespace flambeau {

// Never null; throws Error(OutOfMemory) with the size in the text. allocate(0) is valid.
void* allocate(size_t bytes);
void deallocate(void* pointer, size_t bytes);

// Returns cached memory to the system (torch.cuda.empty_cache's CPU twin; also used by tests).
void release_cached_memory();
// Bytes handed out and bytes kept in caches.
size_t allocated_bytes();
size_t cached_bytes();

}  // namespace flambeau
