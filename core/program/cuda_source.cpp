#include "program/cuda_source.h"

#include <cmath>
#include <cstdio>

#include "program/cuda_writer.h"

namespace flambeau {

namespace cuda_writer {

// The expressions of the instruction table, as text.
constexpr const char* kExpressions[] = {
    "",
    "",
#define INSTRUCTION(name, arity, kind, cost, expression, ...) #expression,
#include "program/instructions.def"
#undef INSTRUCTION
};

Writer::Writer(const Program& program, const CudaForm& form)
    : program_(program),
      values_(program.values),
      count_(static_cast<int32_t>(values_.size())),
      form_(form),
      inputs_(plan_of(program).inputs),
      known_(cuda_known(program, form)),
      numbers_(cuda_numbers(program, form)),
      number_count_(cuda_number_count(program, form)),
      reports_(number_count_ > static_cast<int64_t>(numbers_.size())),
      type_(form.precision == Precision::Float32   ? "float"
            : form.precision == Precision::Float64 ? "double"
                                                   : "int64"),
      index_(form.wide ? "int64" : "int"),
      operand_of_(values_.size(), -1) {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (form.inputs[i].access != CudaAccess::Number) operand_of_[inputs_[i]] = operands_++;
  }
  first_output_ = operands_;
  operands_ += static_cast<int>(program.outputs.size());
}

const CudaOperand& Writer::input(int32_t v) const {
  return form_.inputs[std::find(inputs_.begin(), inputs_.end(), v) - inputs_.begin()];
}

std::string Writer::literal(double value) const {
  char digits[40];
  if (form_.precision == Precision::Int64) {
    const Scalar scalar(value);
    if (scalar.to_int() == INT64_MIN) return "int64(uint64(1) << 63)";
    return text("int64(", scalar.to_int(), ")");
  }
  const bool single = form_.precision == Precision::Float32;
  if (single) value = static_cast<float>(value);
  std::string result;
  if (std::isnan(value)) {
    result = text(type_, "(kNan)");
  } else if (std::isinf(value)) {
    result = text(type_, "(kInfinity)");
    if (value < 0) result = "-" + result;
  } else {
    std::snprintf(digits, sizeof(digits), single ? "%.9g" : "%.17g", value);
    result = digits;
    if (result.find_first_of(".e") == std::string::npos) result += ".0";
    if (single) result += "f";
  }
  return result[0] == '-' ? "(" + result + ")" : result;
}

// How an expression names a value.
std::string Writer::name(int32_t v) const {
  if (values_[v].instruction == Instruction::Constant) return literal(values_[v].constant);
  return text(known_[v] ? "n" : "v", v);
}

// The table's expression with operands in place of a, b, c and the type in place of T.
std::string Writer::expression(int32_t v) const {
  const Value& value = values_[v];
  if (value.instruction == Instruction::pow) {
    const int32_t exponent = value.operands[1];
    if (known_[exponent] || is_single(exponent)) {
      return text("power_by(", name(value.operands[0]), ", ", name(exponent), ")");
    }
  }
  std::string result;
  const std::string_view from = kExpressions[static_cast<int>(value.instruction)];
  for (size_t i = 0; i < from.size();) {
    size_t end = i;
    while (end < from.size() && (std::isalnum(from[end]) || from[end] == '_')) ++end;
    const std::string_view word = from.substr(i, std::max<size_t>(end - i, 1));
    if (word == "T") {
      result += type_;
    } else if (word.size() == 1 && word[0] >= 'a' && word[0] <= 'c') {
      result += name(value.operands[word[0] - 'a']);
    } else {
      result += word;
    }
    i += word.size();
  }
  return result;
}

void Writer::compute(int32_t v) {
  if (cuda_reports(program_, known_, form_.precision, v)) {
    text_.line("if (", name(values_[v].operands[1]), " == 0) report_error(errors, site, 0, 0);");
  }
  text_.line("const ", type_, " v", v, " = ", expression(v), ";  // ",
             name_of(values_[v].instruction));
}

// One struct of everything.
void Writer::parameters(std::initializer_list<std::string> last) {
  std::string many;
  if (form_.kind == CudaForm::Kind::Lists) {
    many = text("[", cuda_list_tensors(operands_, number_count_), "]");
  }
  text_.open("struct Parameters");
  for (int32_t v : inputs_) {
    if (!is_tensor(v)) continue;
    text_.line("const ", input_type(v), "* in", operand_of_[v], is_single(v) ? "" : many, ";");
  }
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    text_.line(output_type(j), "* out", j, many, ";");
  }
  for (int32_t v : numbers_) text_.line("alignas(8) ", type_, " n", v, ";");
  if (reports_) {
    text_.line("ErrorSlot* errors;");
    text_.line("int64 site;");
  }
  for (const std::string& field : last) text_.line(field, ";");
  text_.close("};");
  text_.blank();
}

void Writer::load_singles() {
  for (int32_t v : inputs_) {
    if (is_single(v)) {
      text_.line("const ", type_, " v", v, " = ", converted(text("*", in(v))), ";");
    }
  }
}

// --- elements ------------------------------------------------------------------------------------

// The program on one element, as a function.
void Writer::compute_function() {
  std::string list;
  auto add = [&](const std::string& parameter) { list += (list.empty() ? "" : ", ") + parameter; };
  for (int32_t v : inputs_) {
    if (is_tensor(v)) add(text(type_, " v", v));
  }
  for (int32_t v : numbers_) add(text(type_, " n", v));
  if (reports_) add("ErrorSlot* errors, int site");
  for (size_t j = 0; j < program_.outputs.size(); ++j) add(text(output_type(j), "& y", j));
  text_.open("DEVICE void compute(", list, ")");
  for (int32_t v = 0; v < count_; ++v) {
    if (!known_[v] && values_[v].instruction != Instruction::Input) compute(v);
  }
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    text_.line("y", j, " = convert<", output_type(j), ">(", name(program_.outputs[j]), ");");
  }
  text_.close();
  text_.blank();
}

// A call of compute for one element of what was loaded.
std::string Writer::call(const char* input_suffix, const char* output_suffix) const {
  std::string list;
  auto add = [&](const std::string& argument) { list += (list.empty() ? "" : ", ") + argument; };
  for (int32_t v : inputs_) {
    if (!is_tensor(v)) continue;
    add(is_single(v) ? text("v", v) : converted(text("x", operand_of_[v], input_suffix)));
  }
  for (int32_t v : numbers_) add(text("p.n", v));
  if (reports_) add("p.errors, static_cast<int>(p.site)");
  for (size_t j = 0; j < program_.outputs.size(); ++j) add(text("y", j, output_suffix));
  return text("compute(", list, ");");
}

void Writer::element_body(int width, const std::vector<std::string>& addresses) {
  const bool packs = width > 1;
  for (int32_t v : inputs_) {
    if (!is_tensor(v) || is_single(v)) continue;
    const int operand = operand_of_[v];
    const std::string& address = addresses[operand];
    if (!packs) {
      text_.line("const auto x", operand, " = *(", address, ");");
    } else if (access(v) == CudaAccess::Repeat) {
      text_.line("const RepeatPack<", input_type(v), "> x", operand, "{*(", address, ")};");
    } else {
      text_.line("const auto x", operand, " = load_pack<", width, ">(", address, ");");
    }
  }
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    if (packs) {
      text_.line("Pack<", output_type(j), ", ", width, "> y", j, ";");
    } else {
      text_.line(output_type(j), " y", j, ";");
    }
  }
  if (packs) {
    text_.line("#pragma unroll");
    text_.open("for (int k = 0; k < ", width, "; ++k)");
    text_.line(call(".at[k]", ".at[k]"));
    text_.close();
  } else {
    text_.line(call("", ""));
  }
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    const std::string& address = addresses[first_output_ + j];
    if (packs) {
      text_.line("store_pack(", address, ", y", j, ");");
    } else {
      text_.line("*(", address, ") = y", j, ";");
    }
  }
}

// in0, in1 ..., out0 ... with something in front and behind.
std::vector<std::string> Writer::addresses(const char* prefix) const {
  std::vector<std::string> result;
  for (int i = 0; i < first_output_; ++i) result.push_back(text(prefix, "in", i));
  for (size_t j = 0; j < program_.outputs.size(); ++j) result.push_back(text(prefix, "out", j));
  return result;
}

std::string Writer::elements() {
  const bool flat = form_.dims == 0;
  const int width = form_.width;
  if (flat) {
    parameters({"int64 count"});
  } else {
    parameters({"int64 count",
                text("Geometry<", index_, ", ", int{form_.dims}, ", ", operands_, "> geometry")});
  }
  compute_function();
  text_.open("extern \"C\" __global__ void __launch_bounds__(", kCudaBlock,
             ") program(const Parameters p)");
  load_singles();
  text_.line("const ", index_, " count = static_cast<", index_, ">(p.count);");
  const std::string limit = flat && width > 1 ? text("count / ", width) : "count";
  text_.open("for (", index_, " i = thread_index<", index_, ">(); i < ", limit,
             "; i += thread_count<", index_, ">())");
  std::vector<std::string> places = addresses("p.");
  for (int i = 0; i < operands_; ++i) {
    places[i] += flat ? width > 1 ? text(" + i * ", width) : " + i" : " + " + at(i);
  }
  if (!flat) {
    text_.line(index_, " at[", operands_, "] = {};");
    text_.line("p.geometry.locate(i, at);");
  }
  element_body(width, places);
  text_.close();
  if (flat && width > 1) {  // what is left of the last pack
    text_.line("const ", index_, " i = count / ", width, " * ", width, " + thread_index<", index_,
               ">();");
    text_.open("if (i < count)");
    places = addresses("p.");
    for (std::string& place : places) place += " + i";
    element_body(1, places);
    text_.close();
  }
  text_.close();
  return text_.take();
}

// --- lists ---------------------------------------------------------------------------------------

std::string Writer::lists() {
  const int64_t most = cuda_list_tensors(operands_, number_count_);
  const int width = form_.width;
  parameters({"int64 tensors", text("int64 lengths[", most, "]"),
              text("unsigned starts[", most + 1, "]")});
  compute_function();
  text_.open("extern \"C\" __global__ void __launch_bounds__(", kCudaBlock,
             ") program(const Parameters p)");
  load_singles();
  text_.line("const int tensors = static_cast<int>(p.tensors);");
  text_.open("for (unsigned chunk = blockIdx.x; chunk < p.starts[tensors]; chunk += gridDim.x)");
  text_.line("const int tensor = tensor_of_chunk(p.starts, tensors, chunk);");
  text_.line("const int64 first = static_cast<int64>(chunk - p.starts[tensor]) * ", kListChunk,
             ";");
  text_.line("const int64 left = p.lengths[tensor] - first;");
  text_.line("const int count = static_cast<int>(left < ", kListChunk, " ? left : ", kListChunk,
             ");");
  for (int32_t v : inputs_) {
    if (!is_tensor(v) || is_single(v)) continue;
    text_.line("const ", input_type(v), "* const in", operand_of_[v], " = ", in(v),
               "[tensor] + first;");
  }
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    text_.line(output_type(j), "* const out", j, " = p.out", j, "[tensor] + first;");
  }
  std::vector<std::string> places = addresses("");
  for (std::string& place : places) place += " + i";
  if (width > 1) {
    text_.line("const int whole = count / ", width, " * ", width, ";");
    text_.open("for (int i = threadIdx.x * ", width, "; i < whole; i += ", kCudaBlock * width, ")");
    element_body(width, places);
    text_.close();
    text_.open("for (int i = whole + threadIdx.x; i < count; i += ", kCudaBlock, ")");
  } else {
    text_.open("for (int i = threadIdx.x; i < count; i += ", kCudaBlock, ")");
  }
  element_body(1, places);
  text_.close();
  text_.close();
  text_.close();
  return text_.take();
}

}  // namespace cuda_writer

std::vector<char> cuda_known(const Program& program, const CudaForm& form) {
  std::vector<char> known(program.values.size(), false);
  const std::vector<int32_t>& inputs = plan_of(program).inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    known[inputs[i]] = form.inputs[i].access == CudaAccess::Number;
  }
  for (size_t v = 0; v < known.size(); ++v) {
    const Value& value = program.values[v];
    if (value.instruction == Instruction::Input || cuda_writer::is_reduction(value)) continue;
    known[v] = true;
    for (int32_t operand : value.operands) known[v] = known[v] && (operand < 0 || known[operand]);
  }
  return known;
}

std::vector<int32_t> cuda_numbers(const Program& program, const CudaForm& form) {
  const std::vector<char> known = cuda_known(program, form);
  std::vector<char> needed(known.size(), false);
  for (size_t v = 0; v < known.size(); ++v) {
    if (known[v]) continue;
    for (int32_t operand : program.values[v].operands) {
      if (operand >= 0) needed[operand] = true;
    }
  }
  for (int32_t output : program.outputs) needed[output] = true;
  std::vector<int32_t> numbers;
  for (size_t v = 0; v < known.size(); ++v) {
    const bool constant = program.values[v].instruction == Instruction::Constant;
    if (known[v] && needed[v] && !constant) numbers.push_back(static_cast<int32_t>(v));
  }
  return numbers;
}

bool divides_integers(const Value& value, Precision precision) {
  return precision == Precision::Int64 &&
         (value.instruction == Instruction::floor_divide ||
          value.instruction == Instruction::trunc_divide ||
          value.instruction == Instruction::remainder || value.instruction == Instruction::fmod);
}

bool cuda_reports(const Program& program, const std::vector<char>& known, Precision precision,
                  int32_t v) {
  const Value& value = program.values[v];
  return divides_integers(value, precision) && !known[value.operands[1]];
}

int64_t cuda_number_count(const Program& program, const CudaForm& form) {
  const std::vector<char> known = cuda_known(program, form);
  int64_t count = static_cast<int64_t>(cuda_numbers(program, form).size());
  for (size_t v = 0; v < known.size(); ++v) {
    if (cuda_reports(program, known, form.precision, static_cast<int32_t>(v))) return count + 2;
  }
  return count;
}

int cuda_row_bytes(const Program& program, const CudaForm& form) {
  return cuda_writer::Writer(program, form).row_bytes();
}

std::string cuda_source(const Program& program, const CudaForm& form) {
  std::string result;
  for (const char* file : {"program/special.cuh", "program/program.cuh"}) {
    result += cuda::embedded_source(file);
  }
  result += "\nnamespace mathematics {\n\n";
  return result + cuda_kernel_text(program, form) +
         "\n}  // namespace mathematics\nusing mathematics::program;\n";
}

std::string cuda_kernel_text(const Program& program, const CudaForm& form) {
  cuda_writer::Writer writer(program, form);
  return form.kind == CudaForm::Kind::Elements ? writer.elements()
         : form.kind == CudaForm::Kind::Lists  ? writer.lists()
                                               : writer.rows();
}

}  // namespace flambeau
