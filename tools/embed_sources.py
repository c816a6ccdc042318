"""Writes a C++ file that holds the CUDA sources below core/ as text: they are compiled at run time.

Usage: embed_sources.py OUTPUT.cpp CORE_DIRECTORY
"""

import sys
from pathlib import Path

HEAD = """// Written by tools/embed_sources.py.
#include "cuda/module.h"

#include "base/error.h"

namespace flambeau::cuda {

namespace {

struct Source {
  std::string_view path, text;
};
constexpr Source kSources[] = {
"""

TAIL = """};

}  // namespace

std::string_view embedded_source(std::string_view path) {
  for (const Source& source : kSources) {
    if (source.path == path) return source.text;
  }
  fail("cuda: there is no kernel source ", path);
}

}  // namespace flambeau::cuda
"""


def main() -> None:
    output, core = Path(sys.argv[1]), Path(sys.argv[2])
    parts = [HEAD]
    for path in sorted([*core.rglob("*.cu"), *core.rglob("*.cuh")]):
        text = path.read_text()
        if ')source"' in text:
            raise SystemExit(f"{path}: must not contain the end of a raw string")
        parts.append(f'    {{"{path.relative_to(core)}", R"source({text})source"}},\n')
    output.write_text("".join(parts) + TAIL)


main()
