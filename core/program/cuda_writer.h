// The writer behind cuda_source: cuda_source.cpp (expressions, Elements, Lists), cuda_rows.cpp.
#pragma once

#include <algorithm>

#include "cuda/module.h"
#include "program/builder.h"
#include "program/cuda_source.h"
#include "program/plan.h"

namespace flambeau::cuda_writer {

inline bool is_reduction(const Value& value) {
  return kind_of(value.instruction) == InstructionKind::Row;
}

// Lines of text, indented.
class Text {
 public:
  template <class... Parts>
  void line(const Parts&... parts) {
    const std::string line = text(parts...);
    if (!line.empty() && line[0] != '#') result_.append(2 * depth_, ' ');
    result_ += line + '\n';
  }
  void blank() { result_ += '\n'; }
  // A line that opens a block, and the end of one.
  template <class... Parts>
  void open(const Parts&... parts) {
    line(parts..., " {");
    ++depth_;
  }
  void close(const char* end = "}") {
    --depth_;
    line(end);
  }
  std::string take() { return std::move(result_); }

 private:
  std::string result_;
  int depth_ = 0;
};

class Writer {
 public:
  Writer(const Program& program, const CudaForm& form);

  std::string elements();
  std::string lists();
  std::string rows();
  int row_bytes();

 private:
  const CudaOperand& input(int32_t v) const;
  bool is_tensor(int32_t v) const { return operand_of_[v] >= 0; }
  CudaAccess access(int32_t v) const { return input(v).access; }
  bool is_single(int32_t v) const { return is_tensor(v) && access(v) == CudaAccess::Single; }
  const char* input_type(int32_t v) const { return cuda::type_name(input(v).dtype); }
  const char* output_type(size_t j) const { return cuda::type_name(form_.outputs[j].dtype); }
  std::string in(int32_t v) const { return text("p.in", operand_of_[v]); }
  std::string at(int operand) const { return text("at[", operand, "]"); }
  std::string at_output(size_t j) const { return at(first_output_ + static_cast<int>(j)); }
  std::string converted(const std::string& element) const {
    return text("convert<", type_, ">(", element, ")");
  }

  std::string literal(double value) const;
  std::string name(int32_t v) const;
  std::string expression(int32_t v) const;
  void compute(int32_t v);  // a line
  void parameters(std::initializer_list<std::string> last);
  void load_singles();

  // Elements and Lists.
  void compute_function();
  std::string call(const char* input_suffix, const char* output_suffix) const;
  // From addresses to addresses, for one pack or one element; `places` by operand.
  void element_body(int width, const std::vector<std::string>& addresses);
  std::vector<std::string> addresses(const char* prefix) const;

  // Rows.
  enum class Scope : uint8_t { Run, Row, Element };
  void classify();
  void choose_passes();
  void choose_loads();
  int kept_bytes() const;
  bool streams(int32_t v) const;  // an input that is read along the row
  void load_rows();
  void write_row_values(int level);
  void write_pass(int pass);
  void pass_body(int pass);
  std::vector<int32_t> loaded_in(int pass) const;
  bool loads_ahead(int32_t v) const;
  void load_pass(int pass, bool ahead);
  void open_packs();
  void load_packs(int pass);
  void store_pass();
  void store_rows();
  bool packs_kept() const { return form_.items > 0; }
  std::string pack(int32_t v) const;
  std::string pack_type(int32_t v) const;

  const Program& program_;
  const std::vector<Value>& values_;
  const int32_t count_;
  const CudaForm& form_;
  const std::vector<int32_t>& inputs_;
  const std::vector<char> known_;
  const std::vector<int32_t> numbers_;
  const int64_t number_count_;
  const bool reports_;  // errors that kernels find
  const char* const type_;
  const char* const index_;
  std::vector<int> operand_of_;  // by value: its number among tensors, -1
  int operands_ = 0, first_output_ = 0;
  Text text_;

  std::vector<Scope> scope_;
  std::vector<int> level_;  // reductions in a chain before the value
  int last_pass_ = 0;
  std::vector<std::vector<char>> wanted_;  // by pass and value: read there
  std::vector<int> computed_in_;           // the first pass that computes the value
  std::vector<char> kept_;                 // stays in registers between passes
  bool all_ahead_ = false;                 // see loads_ahead
};

}  // namespace flambeau::cuda_writer
