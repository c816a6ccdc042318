// Programs in Python: symbols for tracing formulas, registration of elementwise operators, and
// programs over lists of tensors (optimizers).
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "ops/pointwise.h"
#include "program/activation.h"
#include "program/builder.h"
#include "program/plan.h"
#include "python/bind_emitter.h"
#include "python/common.h"
#include "python/operator_type.h"
#include "python/program_object.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

struct Tracer : Object {
  Builder builder;
};

// One value of a formula while it is traced.
struct TracedSymbol {
  Ref<Tracer> tracer;
  int32_t value;
};

PyTypeObject* symbol_type = nullptr;

bool is_traced(PyObject* object) { return Py_TYPE(object) == symbol_type; }

[[noreturn]] void refuse(const char* what, const char* remedy) {
  fail(ErrorKind::Type, "formula: a symbol has no ", what,
       "; the formula is traced once and then runs for every element: ", remedy);
}

const TracedSymbol& symbol_of(PyObject* object) {
  return *nb::inst_ptr<TracedSymbol>(nb::handle(object));
}

// A symbol or number as a value of the tracer's builder.
int32_t value_in(Tracer& tracer, nb::handle object) {
  if (is_traced(object.ptr())) {
    const TracedSymbol& symbol = symbol_of(object.ptr());
    require(symbol.tracer.get() == &tracer,
            "formula: symbols of two formulas were mixed; use only this formula's parameters");
    return symbol.value;
  }
  Scalar number;
  if (is_tensor(object.ptr()) || !as_scalar(object.ptr(), number)) {
    fail(ErrorKind::Type, "formula: operands must be the formula's parameters or numbers, got ",
         Py_TYPE(object.ptr())->tp_name, "; make it a parameter of the formula");
  }
  return tracer.builder.constant(number.to_double());
}

TracedSymbol apply_traced(Instruction instruction, std::span<const nb::handle> operands) {
  const int arity = arity_of(instruction);
  if (static_cast<int>(operands.size()) != arity) {
    fail(ErrorKind::Type, name_of(instruction), "(): takes ", arity,
         " arguments in a formula, got ", operands.size());
  }
  Ref<Tracer> tracer;
  for (nb::handle operand : operands) {
    if (!tracer && is_traced(operand.ptr())) tracer = symbol_of(operand.ptr()).tracer;
  }
  if (!tracer) {
    fail(ErrorKind::Type, name_of(instruction),
         "(): one operand must be a symbol of a formula; for numbers use the math module");
  }
  int32_t values[3] = {-1, -1, -1};
  for (int i = 0; i < arity; ++i) values[i] = value_in(*tracer, operands[i]);
  int32_t result = tracer->builder.apply(instruction, values[0], values[1], values[2]);
  return {std::move(tracer), result};
}

template <Instruction instruction, bool reversed = false>
TracedSymbol binary_symbol(nb::handle a, nb::handle b) {
  const nb::handle operands[] = {reversed ? b : a, reversed ? a : b};
  return apply_traced(instruction, operands);
}
template <Instruction instruction>
TracedSymbol unary_symbol(nb::handle a) {
  return apply_traced(instruction, {&a, 1});
}

template <Instruction instruction>
void add_binary(nb::class_<TracedSymbol>& type, const char* name, const char* reversed) {
  type.def(name, &binary_symbol<instruction>);
  if (reversed) type.def(reversed, &binary_symbol<instruction, true>);
}

void bind_symbol(nb::module_& module) {
  using I = Instruction;
  nb::class_<TracedSymbol> type(module, "Symbol", "A number of a formula that is being traced.");
  symbol_type = reinterpret_cast<PyTypeObject*>(type.ptr());
  add_binary<I::add>(type, "__add__", "__radd__");
  add_binary<I::sub>(type, "__sub__", "__rsub__");
  add_binary<I::mul>(type, "__mul__", "__rmul__");
  add_binary<I::div>(type, "__truediv__", "__rtruediv__");
  add_binary<I::floor_divide>(type, "__floordiv__", "__rfloordiv__");
  add_binary<I::remainder>(type, "__mod__", "__rmod__");
  add_binary<I::pow>(type, "__pow__", "__rpow__");
  add_binary<I::lt>(type, "__lt__", nullptr);
  add_binary<I::le>(type, "__le__", nullptr);
  add_binary<I::gt>(type, "__gt__", nullptr);
  add_binary<I::ge>(type, "__ge__", nullptr);
  add_binary<I::eq>(type, "__eq__", nullptr);
  add_binary<I::ne>(type, "__ne__", nullptr);
  add_binary<I::logical_and>(type, "__and__", "__rand__");
  add_binary<I::logical_or>(type, "__or__", "__ror__");
  add_binary<I::logical_xor>(type, "__xor__", "__rxor__");
  type.def("__neg__", &unary_symbol<I::neg>);
  type.def("__abs__", &unary_symbol<I::abs>);
  type.def("__invert__", &unary_symbol<I::logical_not>);
  type.def("__hash__", [](const TracedSymbol& s) { return static_cast<Py_hash_t>(s.value); });
  type.def("__bool__", [](nb::handle) -> bool {
    refuse("truth value", "write where(condition, a, b) for `if`, and & or | for `and`, `or`");
  });
  type.def("__float__", [](nb::handle) -> double {
    refuse("value", "use flambeau's functions (flambeau.exp), not those of math or float()");
  });
  type.def("__int__", [](nb::handle) -> int64_t { refuse("value", "use trunc()"); });
  type.def("__index__", [](nb::handle) -> int64_t { refuse("value", "it cannot be an index"); });
  type.def("__iter__",
           [](nb::handle) -> nb::object { refuse("elements", "it stands for one number"); });
}

// A traced formula's result: one symbol (or number), or a tuple of them.
std::vector<int32_t> values_of(Tracer& tracer, nb::handle result) {
  std::vector<int32_t> values;
  if (nb::isinstance<nb::tuple>(result)) {
    for (nb::handle item : result) values.push_back(value_in(tracer, item));
  } else {
    values.push_back(value_in(tracer, result));
  }
  return values;
}

// Calls a formula with symbols for its parameters; `extents[i]`: 'e', 'r' or 'u'.
TracedProgram trace(nb::callable formula, const std::string& extents) {
  auto tracer = Ref<Tracer>::adopt(new Tracer);
  nb::list symbols;
  for (size_t i = 0; i < extents.size(); ++i) {
    Extent extent = extents[i] == 'u'   ? Extent::Uniform
                    : extents[i] == 'r' ? Extent::Row
                                        : Extent::Element;
    symbols.append(TracedSymbol{tracer, tracer->builder.input(static_cast<int32_t>(i), extent)});
  }
  nb::object result = formula(*symbols);
  return {tracer->builder.finish(static_cast<int>(extents.size()), values_of(*tracer, result))};
}

nb::tuple differentiate_in_python(const TracedProgram& self, uint32_t wanted) {
  Derivative derivative = differentiate(*self.program, wanted);
  nb::list reads;
  static const char* const kinds[] = {"gradient", "input", "output"};
  for (const Derivative::Read& read : derivative.reads) {
    reads.append(nb::make_tuple(kinds[static_cast<int>(read.kind)], read.index));
  }
  return nb::make_tuple(nb::cast(TracedProgram{derivative.program}), reads, derivative.zero);
}

// Runs a program on tensors and numbers; for tests and for the compiler's fallbacks.
nb::list run_in_python(const TracedProgram& self, nb::sequence operands) {
  const ProgramRef& program = self.program;
  std::vector<TensorRef> tensors;
  std::vector<ProgramInput> inputs;
  Dims shape;
  DType dtype = DType::Bool;
  Device device;
  for (nb::handle operand : operands) {
    ProgramInput input;
    if (is_tensor(operand.ptr())) {
      tensors.push_back(unwrap(operand.ptr()));
      input.tensor = tensors.back().get();
      shape = broadcast_shapes("program", shape, input.tensor->shape());
      dtype = promote_types(dtype, input.tensor->dtype());
      if (device.is_cpu()) device = input.tensor->device();
    } else if (!as_scalar(operand.ptr(), input.scalar)) {
      fail(ErrorKind::Type, "program: operands are tensors or numbers, got ",
           Py_TYPE(operand.ptr())->tp_name);
    }
    inputs.push_back(input);
  }
  require(static_cast<int>(inputs.size()) == program->input_count, "program: takes ",
          program->input_count, " operands, got ", inputs.size());
  std::vector<TensorRef> results;
  std::vector<Tensor*> outputs;
  for (int32_t output : program->outputs) {
    Dims result = shape;
    bool row = program->values[output].extent == Extent::Row && !result.empty();
    if (row) result.back() = 1;
    results.push_back(Tensor::empty(result, dtype, device));
    outputs.push_back(results.back().get());
  }
  run_program(*program, precision_of(dtype), inputs, outputs);
  nb::list list;
  for (TensorRef& result : results) list.append(nb::steal(wrap(std::move(result))));
  return list;
}

// "row" for outputs of one number per row, else "element".
std::vector<std::string> output_extents(const Program& program) {
  std::vector<std::string> extents;
  for (int32_t output : program.outputs) {
    extents.push_back(program.values[output].extent == Extent::Row ? "row" : "element");
  }
  return extents;
}

// The elements of a list or tuple.
std::span<PyObject* const> items_of(nb::handle sequence) {
  if (!PyList_Check(sequence.ptr()) && !PyTuple_Check(sequence.ptr())) {
    fail(ErrorKind::Type, "foreach: a list or tuple is needed, got ",
         Py_TYPE(sequence.ptr())->tp_name);
  }
  return {PySequence_Fast_ITEMS(sequence.ptr()),
          static_cast<size_t>(PySequence_Fast_GET_SIZE(sequence.ptr()))};
}

TensorList tensor_list(nb::handle sequence) {
  std::span<PyObject* const> items = items_of(sequence);
  TensorList list;
  list.reserve(items.size());
  for (PyObject* item : items) {
    if (!is_tensor(item)) {
      fail(ErrorKind::Type, "foreach: lists of tensors are needed, got ", Py_TYPE(item)->tp_name);
    }
    list.push_back(unwrap(item));
  }
  return list;
}

// What decides on the program of an update: which columns are there, the names of the settings
// that are numbers, the values of those that are bool. Names are compared by identity.
using UpdateKey = SmallVector<PyObject*, 24>;

// A formula traced for one choice of columns that are there and of bool settings.
struct Update : Object {
  nb::object formula;
  std::vector<nb::object> key;
  ProgramRef program;
  std::vector<int> targets;  // of each output: which of the columns that are there

  bool fits(nb::handle wanted, const UpdateKey& other) const {
    return formula.is(wanted) && std::equal(key.begin(), key.end(), other.begin(), other.end(),
                                            [](auto& a, PyObject* b) { return a.ptr() == b; });
  }
};

// The settings that are numbers, in the order of the keywords.
struct Settings {
  SmallVector<Scalar, 16> numbers;

  Settings(const nb::dict& settings, UpdateKey& key) {
    PyObject *name, *value;
    for (Py_ssize_t at = 0; PyDict_Next(settings.ptr(), &at, &name, &value);) {
      Scalar number;
      if (PyBool_Check(value)) {
        key.push_back(value);
        continue;
      }
      if (is_tensor(value)) {
        Owned one(item(*unwrap(value)));
        as_scalar(one.get(), number);
      } else if (!as_scalar(value, number)) {
        fail(ErrorKind::Type, "foreach: setting '", PyUnicode_AsUTF8(name),
             "' must be a number or bool, got ", Py_TYPE(value)->tp_name);
      }
      numbers.push_back(number);
      key.push_back(name);
    }
  }
};

Ref<Update> trace_update(nb::callable formula, nb::sequence columns, const nb::dict& settings) {
  auto tracer = Ref<Tracer>::adopt(new Tracer);
  int32_t next = 0;
  nb::list arguments;
  nb::dict keywords;
  for (nb::handle column : columns) {
    if (column.is_none()) {
      arguments.append(nb::none());
    } else {
      arguments.append(TracedSymbol{tracer, tracer->builder.input(next++)});
    }
  }
  for (auto [name, value] : settings) {
    if (PyBool_Check(value.ptr())) {
      keywords[name] = value;
    } else {
      keywords[name] = TracedSymbol{tracer, tracer->builder.input(next++, Extent::Uniform)};
    }
  }
  nb::tuple results(formula(*arguments, **keywords));
  // Results are the new values of the first column and of all from the third on.
  auto update = Ref<Update>::adopt(new Update);
  std::vector<int32_t> outputs;
  int position = 0;
  for (size_t i = 0; i < nb::len(arguments); ++i) {
    bool there = !arguments[i].is_none();
    size_t result = i == 0 ? 0 : i - 1;
    if (there && i != 1) {
      if (result >= nb::len(results))
        fail(ErrorKind::Value, "foreach: the formula returns too few");
      outputs.push_back(value_in(*tracer, results[result]));
      update->targets.push_back(position);
    }
    position += there;
  }
  update->program = tracer->builder.finish(next, outputs);
  return update;
}

Ref<Update> find_update(nb::callable formula, nb::sequence columns, const nb::dict& settings,
                        const UpdateKey& key) {
  constexpr size_t kMostUpdates = 256;
  static auto& updates = *new std::vector<Ref<Update>>;
  for (const Ref<Update>& update : updates) {
    if (update->fits(formula, key)) return update;
  }
  if (updates.size() >= kMostUpdates) updates.clear();  // formulas made in a loop: start anew
  updates.push_back(trace_update(formula, columns, settings));
  updates.back()->formula = formula;
  for (PyObject* part : key) updates.back()->key.push_back(nb::borrow(part));
  return updates.back();
}

// foreach_program(formula, columns, settings): Note [Update formulas] in flambeau/optim.
void foreach_formula(nb::callable formula, nb::sequence columns, const nb::dict& settings) {
  UpdateKey key;
  std::vector<TensorList> tensors;
  tensors.reserve(items_of(columns).size());
  for (PyObject* column : items_of(columns)) {
    key.push_back(column == Py_None ? Py_None : Py_True);
    if (column != Py_None) tensors.push_back(tensor_list(column));
  }
  const Settings prepared(settings, key);
  Ref<Update> update = find_update(formula, columns, settings, key);
  if (tensors.empty() || tensors[0].empty()) return;
  std::optional<WithoutGil> release;
  if (!mode.tracing) release.emplace();
  foreach_program(*update->program, tensors, prepared.numbers, update->targets);
}

Promotion promotion_named(const std::string& name) {
  static const std::pair<const char*, Promotion> kNames[] = {
      {"common", Promotion::Common},     {"floating", Promotion::Floating},
      {"compare", Promotion::Compare},   {"compare_floating", Promotion::CompareFloating},
      {"integral", Promotion::Integral}, {"first", Promotion::First}};
  for (auto& [known, promotion] : kNames) {
    if (name == known) return promotion;
  }
  fail(ErrorKind::Value,
       "promotion: one of common, floating, compare, compare_floating, integral, ", "first; got ",
       name);
}

// What Python's records say about an operator (flambeau/ops/_records.py).
struct PointwiseRecord {
  std::string name, signature, doc, promotion, grad_name;
  ProgramRef program;
  ProgramRef derivative;
  int operand_count;
  uint32_t not_promoting, forms;
  std::string bool_refusal;
  Autocast autocast = {};
};

// The instruction that the program consists of, so that one operator serves Python and C++.
const Pointwise* same_instruction(const PointwiseRecord& record) {
  Instruction instruction = record.program->values.back().instruction;
  if (instruction <= Instruction::Constant || record.derivative || record.not_promoting) {
    return nullptr;
  }
  const Pointwise& op = pointwise_of(instruction);
  bool same = op.program->to_string() == record.program->to_string() &&
              op.promotion == promotion_named(record.promotion) &&
              op.operand_count == record.operand_count &&
              record.bool_refusal == (op.bool_refusal ? op.bool_refusal : "") &&
              (record.grad_name.empty() || record.grad_name == op.grad_name_text);
  return same ? &op : nullptr;
}

Operator make_operator(PointwiseRecord record) {
  const Pointwise* op = same_instruction(record);
  if (!op) {
    if (record.derivative) record.program->derivative = record.derivative;
    auto* made = new Pointwise(record.name, record.program, promotion_named(record.promotion),
                               record.operand_count, record.grad_name);
    made->not_promoting = record.not_promoting;
    if (!record.bool_refusal.empty()) {
      made->bool_refusal = (new std::string(record.bool_refusal))->c_str();
    }
    op = made;
  }
  Operator entry;
  entry.name = std::move(record.name);
  entry.signature = std::move(record.signature);
  entry.doc = std::move(record.doc);
  entry.kinds.assign(record.operand_count, Kind::TensorOrScalar);
  entry.kinds.resize(op->program->input_count, Kind::Scalar);
  entry.forms = record.forms;
  entry.pointwise = op;
  entry.autocast = record.autocast;
  return entry;
}

PointwiseRecord record_of(const nb::dict& fields) {
  auto text_of = [&](const char* key) { return nb::cast<std::string>(fields[key]); };
  PointwiseRecord record{text_of("name"),
                         text_of("signature"),
                         text_of("doc"),
                         text_of("promotion"),
                         text_of("grad_name"),
                         {},
                         {},
                         0,
                         0,
                         0,
                         text_of("bool_refusal")};
  record.program = nb::cast<TracedProgram&>(fields["program"]).program;
  if (!nb::object(fields["derivative"]).is_none()) {
    record.derivative = nb::cast<TracedProgram&>(fields["derivative"]).program;
  }
  record.operand_count = nb::cast<int>(fields["operand_count"]);
  record.not_promoting = nb::cast<uint32_t>(fields["not_promoting"]);
  record.forms = nb::cast<uint32_t>(fields["forms"]);
  record.autocast = parse_autocast(text_of("autocast"));
  return record;
}

// A user's operator: a callable of its own, in no namespace.
nb::object make_standalone(const nb::dict& fields) {
  return nb::steal(standalone_operator(make_operator(record_of(fields))));
}

// row_count(x): the length of the rows; x only says which formula is meant.
TracedSymbol row_count_of(std::span<const nb::handle> operands) {
  if (operands.size() != 1 || !is_traced(operands[0].ptr())) {
    fail(ErrorKind::Type, "row_count(): takes one symbol");
  }
  Ref<Tracer> tracer = symbol_of(operands[0].ptr()).tracer;
  int32_t value = tracer->builder.apply(Instruction::row_count);
  return {std::move(tracer), value};
}

constexpr int kInstructionNumber = static_cast<int>(Instruction::Count);

}  // namespace

bool is_symbol(PyObject* object) { return is_traced(object); }

PyObject* call_symbolic(const Pointwise& op, std::span<PyObject* const> operands) {
  Ref<Tracer> tracer;
  for (PyObject* operand : operands) {
    if (!tracer && is_traced(operand)) tracer = symbol_of(operand).tracer;
  }
  std::vector<int32_t> values;
  for (PyObject* operand : operands) values.push_back(value_in(*tracer, operand));
  std::vector<int32_t> places = tracer->builder.inline_program(*op.program, values);
  int32_t result = places[op.program->outputs[0]];
  return nb::cast(TracedSymbol{std::move(tracer), result}).release().ptr();
}

void bind_program(nb::module_& parent) {
  nb::module_ module = parent.def_submodule("program", "Programs: formulas run per element.");
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Error&) {
      translate_exception();
    } catch (const PythonError&) {
      translate_exception();
    }
  });
  bind_symbol(module);
  nb::class_<TracedProgram>(module, "Program", "A traced formula.")
      .def("__repr__", [](const TracedProgram& self) { return self.program->to_string(); })
      .def("__hash__", [](const TracedProgram& self) { return self.program->hash(); })
      .def_prop_ro("input_count",
                   [](const TracedProgram& self) { return self.program->input_count; })
      .def_prop_ro("output_count",
                   [](const TracedProgram& self) { return self.program->outputs.size(); })
      .def_prop_ro("value_count",
                   [](const TracedProgram& self) { return self.program->values.size(); })
      .def_prop_ro("has_rows", [](const TracedProgram& self) { return self.program->has_rows; })
      .def_prop_ro("output_extents",
                   [](const TracedProgram& self) { return output_extents(*self.program); })
      .def_prop_ro("activation",
                   [](const TracedProgram& self) {
                     constexpr const char* kNames[] = {"", "relu", "gelu", "gelu_gradient"};
                     return kNames[static_cast<int>(activation_of(*self.program))];
                   })
      .def_prop_ro("cost", [](const TracedProgram& self) { return plan_of(*self.program).cost; })
      .def("derivative", &differentiate_in_python, nb::arg("wanted"),
           "The gradient's program, what its inputs read, and which gradients are zero (a mask).")
      .def("run", &run_in_python, nb::arg("operands"));
  bind_emitter(module);
  bind_cuda_program(module);
  module.def("trace", &trace, nb::arg("formula"), nb::arg("extents"));
  // Adds an operator and its public forms; returns it.
  module.def("register", [parent](const nb::dict& fields) {
    add_operator(make_operator(record_of(fields)));
    nb::module_ whole = parent;
    bind_operators(whole);
  });
  module.def("make", &make_standalone);
  parent.def("foreach_program", &foreach_formula, nb::arg("formula"), nb::arg("columns"),
             nb::arg("settings"),
             "Runs an update formula in place over columns of tensors in one pass.");
  nb::dict functions;
  for (int i = 2; i < kInstructionNumber; ++i) {
    auto instruction = static_cast<Instruction>(i);
    functions[name_of(instruction)] = nb::cpp_function([instruction](nb::args arguments) {
      std::vector<nb::handle> operands(arguments.begin(), arguments.end());
      if (instruction == Instruction::row_count) return row_count_of(operands);
      return apply_traced(instruction, operands);
    });
  }
  module.attr("instructions") = functions;
}

}  // namespace flambeau::python
