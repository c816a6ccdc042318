// Kernels of programs with row instructions. The passes are those of Note [Passes]: one for every
// reduction in a chain, and the last one stores.
#include <cmath>

#include "program/cuda_writer.h"

namespace flambeau::cuda_writer {

namespace {

// A value of an earlier pass is computed again up to this cost, and kept beyond.
constexpr int kCheap = 5;

const char* join_of(const Value& reduction) {
  return reduction.instruction == Instruction::row_sum   ? "Sum()"
         : reduction.instruction == Instruction::row_max ? "Larger()"
                                                         : "Smaller()";
}

const char* start_of(const Value& reduction, Precision precision) {
  if (reduction.instruction == Instruction::row_sum) return "0";
  const bool largest = reduction.instruction == Instruction::row_max;
  if (precision == Precision::Int64) {
    return largest ? "static_cast<int64>(uint64(1) << 63)"
                   : "static_cast<int64>(~(uint64(1) << 63))";
  }
  return largest ? "-kInfinity" : "kInfinity";
}

}  // namespace

bool Writer::streams(int32_t v) const {
  return is_tensor(v) && (access(v) == CudaAccess::Unit || access(v) == CudaAccess::Stepped);
}

void Writer::classify() {
  scope_.assign(count_, Scope::Run);
  level_.assign(count_, 0);
  for (int32_t v = 0; v < count_; ++v) {
    const Value& value = values_[v];
    for (int32_t operand : value.operands) {
      if (operand < 0) continue;
      scope_[v] = std::max(scope_[v], scope_[operand]);
      level_[v] = std::max(level_[v], level_[operand]);
    }
    if (is_reduction(value)) {
      scope_[v] = Scope::Row;
      ++level_[v];
      last_pass_ = std::max(last_pass_, level_[v] - 1);
    } else if (streams(v)) {
      scope_[v] = Scope::Element;
    } else if (is_tensor(v) && !is_single(v)) {
      scope_[v] = Scope::Row;
    }
  }
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    if (form_.outputs[j].access == CudaAccess::Row) continue;
    last_pass_ = std::max(last_pass_, level_[program_.outputs[j]]);
  }
}

// Which values every pass reads, and which stay in registers from one pass to another.
void Writer::choose_passes() {
  computed_in_.assign(count_, -1);
  kept_.assign(count_, false);
  for (int pass = 0; pass <= last_pass_; ++pass) {
    std::vector<char>& wanted = wanted_.emplace_back(count_, false);
    for (int32_t v = 0; v < count_; ++v) {
      if (is_reduction(values_[v]) && level_[v] == pass + 1) wanted[values_[v].operands[0]] = true;
    }
    for (size_t j = 0; pass == last_pass_ && j < program_.outputs.size(); ++j) {
      if (form_.outputs[j].access != CudaAccess::Row) wanted[program_.outputs[j]] = true;
    }
    for (int32_t v = count_ - 1; v >= 0; --v) {
      if (!wanted[v] || scope_[v] != Scope::Element) continue;
      const bool costly = streams(v) || cost_of(values_[v].instruction) > kCheap;
      if (computed_in_[v] >= 0 && costly) {
        kept_[v] = true;
        if (packs_kept()) continue;
      }
      if (computed_in_[v] < 0) computed_in_[v] = pass;
      for (int32_t operand : values_[v].operands) {
        if (operand >= 0) wanted[operand] = true;
      }
    }
  }
}

int Writer::row_bytes() {
  classify();
  choose_passes();
  return kept_bytes();
}

// Of registers, per element of a row.
int Writer::kept_bytes() const {
  int bytes = 0;
  for (int32_t v = 0; v < count_; ++v) {
    if (!kept_[v]) continue;
    const int own = form_.precision == Precision::Float32 ? 4 : 8;
    bytes += streams(v) ? item_size(input(v).dtype) : own;
  }
  return bytes;
}

// What is loaded for one pass only is loaded ahead if there is room beside what is kept.
void Writer::choose_loads() {
  int most = 0;
  for (int pass = 0; pass <= last_pass_; ++pass) {
    int bytes = 0;
    for (int32_t v : loaded_in(pass)) bytes += kept_[v] ? 0 : item_size(input(v).dtype);
    most = std::max(most, bytes);
  }
  const int all = (kept_bytes() + most) * form_.width * form_.items;
  all_ahead_ = all <= cuda_row_room(form_.threads);
}

// Values of one number per row that follow from `level` reductions in a chain.
void Writer::write_row_values(int level) {
  for (int32_t v = 0; v < count_; ++v) {
    const bool computed = !is_reduction(values_[v]) && values_[v].instruction != Instruction::Input;
    if (scope_[v] == Scope::Row && level_[v] == level && computed) compute(v);
  }
}

// Whether all packs of an input are loaded before the first of them is used: in the loop that
// computes there are branches in between, which would make each load wait for the one before.
bool Writer::loads_ahead(int32_t v) const { return packs_kept() && (kept_[v] || all_ahead_); }

std::string Writer::pack(int32_t v) const {
  return text("x", operand_of_[v], loads_ahead(v) ? "[k]" : "");
}
std::string Writer::pack_type(int32_t v) const {
  return text("Pack<", input_type(v), ", ", int{form_.width}, ">");
}

// Inputs that are read from memory in the pass.
std::vector<int32_t> Writer::loaded_in(int pass) const {
  std::vector<int32_t> loaded;
  for (int32_t v : inputs_) {
    if (!wanted_[pass][v] || !streams(v)) continue;
    const bool earlier = kept_[v] && packs_kept() && computed_in_[v] < pass;
    if (!earlier) loaded.push_back(v);
  }
  return loaded;
}

// Those that are loaded ahead, or those that are not.
void Writer::load_pass(int pass, bool ahead) {
  for (int32_t v : loaded_in(pass)) {
    if (loads_ahead(v) != ahead) continue;
    const int operand = operand_of_[v];
    const std::string type = pack_type(v);
    const std::string to = (ahead ? "" : "const " + type + " ") + pack(v);
    if (access(v) == CudaAccess::Stepped) {
      text_.line(to, " = ", type, "{", in(v), "[", at(operand), " + i * p.steps[", operand, "]]};");
    } else {
      text_.line(to, " = load_pack<", int{form_.width}, ">(", in(v), " + ", at(operand), " + i);");
    }
  }
}

// The head of a loop over the packs of a thread.
void Writer::open_packs() {
  text_.line("#pragma unroll");
  text_.open("for (int k = 0; k < ", int{form_.items}, "; ++k)");
  text_.line("const ", index_, " i = (k * ", int{form_.threads}, " + thread)",
             form_.width > 1 ? text(" * ", int{form_.width}) : "", ";");
}

void Writer::load_packs(int pass) {
  bool any = false;
  for (int32_t v : loaded_in(pass)) {
    if (!loads_ahead(v)) continue;
    any = true;
    if (!kept_[v]) text_.line(pack_type(v), " x", operand_of_[v], "[", int{form_.items}, "];");
  }
  if (!any) return;
  open_packs();
  text_.open("if (i < length)");
  load_pass(pass, true);
  text_.close();
  text_.close();
}

void Writer::pass_body(int pass) {
  const char* e = form_.width > 1 ? "e" : "0";
  for (int32_t v = 0; v < count_; ++v) {
    if (!wanted_[pass][v] || scope_[v] != Scope::Element) continue;
    const bool kept = kept_[v] && packs_kept() && !streams(v);
    if (streams(v)) {
      text_.line("const ", type_, " v", v, " = ", converted(text(pack(v), ".at[", e, "]")), ";");
    } else if (kept && computed_in_[v] < pass) {
      text_.line("const ", type_, " v", v, " = kept", v, "[k][", e, "];");
    } else {
      compute(v);
      if (kept) text_.line("kept", v, "[k][", e, "] = v", v, ";");
    }
  }
  for (int32_t v = 0; v < count_; ++v) {
    if (!is_reduction(values_[v]) || level_[v] != pass + 1) continue;
    text_.line("r", v, " = ", join_of(values_[v]), "(r", v, ", ", name(values_[v].operands[0]),
               ");");
  }
  for (size_t j = 0; pass == last_pass_ && j < program_.outputs.size(); ++j) {
    if (form_.outputs[j].access == CudaAccess::Row) continue;
    text_.line("y", j, ".at[", e, "] = convert<", output_type(j), ">(", name(program_.outputs[j]),
               ");");
  }
}

void Writer::store_pass() {
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    const int operand = first_output_ + static_cast<int>(j);
    if (form_.outputs[j].access == CudaAccess::Unit) {
      text_.line("store_pack(p.out", j, " + ", at(operand), " + i, y", j, ");");
    } else if (form_.outputs[j].access == CudaAccess::Stepped) {
      text_.line("p.out", j, "[", at(operand), " + i * p.steps[", operand, "]] = y", j, ".at[0];");
    }
  }
}

void Writer::write_pass(int pass) {
  bool stores = false, reduces = false;
  for (size_t j = 0; pass == last_pass_ && j < program_.outputs.size(); ++j) {
    stores |= form_.outputs[j].access != CudaAccess::Row;
  }
  for (int32_t v = 0; v < count_; ++v) {
    if (!is_reduction(values_[v]) || level_[v] != pass + 1) continue;
    reduces = true;
    text_.line(type_, " r", v, " = ", start_of(values_[v], form_.precision), ";");
  }
  if (!stores && !reduces) return;
  const int width = form_.width, threads = form_.threads;
  const std::string scale = width > 1 ? text(" * ", width) : "";
  if (packs_kept()) {
    load_packs(pass);
    open_packs();
    text_.line("if (i >= length) break;");
  } else {
    text_.open("for (", index_, " i = thread", scale, "; i < length; i += ", threads * width, ")");
  }
  load_pass(pass, false);
  for (size_t j = 0; stores && j < program_.outputs.size(); ++j) {
    if (form_.outputs[j].access == CudaAccess::Row) continue;
    text_.line("Pack<", output_type(j), ", ", width, "> y", j, ";");
  }
  if (width > 1) {
    text_.line("#pragma unroll");
    text_.open("for (int e = 0; e < ", width, "; ++e)");
  }
  pass_body(pass);
  if (width > 1) text_.close();
  if (stores) store_pass();
  text_.close();
  for (int32_t v = 0; v < count_; ++v) {
    if (!is_reduction(values_[v]) || level_[v] != pass + 1) continue;
    text_.line("const ", type_, " v", v, " = join_threads<", threads, ">(r", v, ", ",
               join_of(values_[v]), ");  // ", name_of(values_[v].instruction));
  }
}

// One number per row: read by every thread before one of them writes.
void Writer::store_rows() {
  bool any = false;
  for (const CudaOperand& output : form_.outputs) any |= output.access == CudaAccess::Row;
  if (!any) return;
  text_.line(form_.threads > 32 ? "__syncthreads();" : "__syncwarp();");
  text_.open("if (thread == 0 && inside)");
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    if (form_.outputs[j].access != CudaAccess::Row) continue;
    text_.line("p.out", j, "[", at_output(j), "] = convert<", output_type(j), ">(",
               name(program_.outputs[j]), ");");
  }
  text_.close();
}

// What is read once per row, and room for what is kept.
void Writer::load_rows() {
  for (int32_t v : inputs_) {
    if (scope_[v] != Scope::Row) continue;
    text_.line("const ", type_, " v", v, " = ",
               converted(text(in(v), "[", at(operand_of_[v]), "]")), ";");
  }
  for (int32_t v = 0; packs_kept() && v < count_; ++v) {
    if (!kept_[v]) continue;
    if (streams(v)) {
      text_.line(pack_type(v), " x", operand_of_[v], "[", int{form_.items}, "];");
    } else {
      text_.line(type_, " kept", v, "[", int{form_.items}, "][", int{form_.width}, "];");
    }
  }
}

std::string Writer::rows() {
  classify();
  choose_passes();
  choose_loads();
  const int threads = form_.threads, block = std::max(threads, kCudaRowBlock);
  parameters({"int64 rows", "int64 length",
              text("Geometry<", index_, ", ", int{form_.dims}, ", ", operands_, "> geometry"),
              text(index_, " steps[", operands_, "]")});
  text_.open("extern \"C\" __global__ void __launch_bounds__(", block,
             ") program(const Parameters p)");
  for (int32_t v : numbers_) text_.line("const ", type_, " n", v, " = p.n", v, ";");
  if (reports_) {
    text_.line("ErrorSlot* const errors = p.errors;");
    text_.line("const int site = static_cast<int>(p.site);");
  }
  load_singles();
  for (int32_t v = 0; v < count_; ++v) {
    const bool computed = !known_[v] && values_[v].instruction != Instruction::Input;
    if (computed && scope_[v] == Scope::Run) compute(v);
  }
  text_.line("const ", index_, " rows = static_cast<", index_, ">(p.rows);");
  const int together = block / threads;  // rows of a block
  text_.line("const int thread = static_cast<int>(threadIdx.x)",
             together > 1 ? text(" % ", threads) : "", ";");
  const std::string many = together > 1 ? text(" * ", together) : "";
  text_.open("for (", index_, " first = blockIdx.x", many, "; first < rows; first += gridDim.x",
             many, ")");
  text_.line("const ", index_, " row = first",
             together > 1 ? text(" + static_cast<int>(threadIdx.x) / ", threads) : "", ";");
  text_.line("const bool inside = row < rows;");
  text_.line("const ", index_, " length = inside ? static_cast<", index_, ">(p.length) : 0;");
  text_.line(index_, " at[", operands_, "] = {};");
  text_.line("p.geometry.locate(inside ? row : 0, at);");
  load_rows();
  for (int pass = 0; pass <= last_pass_; ++pass) {
    write_row_values(pass);
    write_pass(pass);
  }
  write_row_values(last_pass_ + 1);
  store_rows();
  text_.close();
  text_.close();
  return text_.take();
}

}  // namespace flambeau::cuda_writer
