// OpenBLAS, confined to the calling thread: its own threads would spin beside the pool's, and their
// number is one variable for the whole process, which cannot change safely while another thread is
// inside OpenBLAS. Whoever wants threads splits the work above it.
// Include this instead of cblas.h alone.
#pragma once

#include <cblas.h>
