#include "trace/portable.h"

#include "program/builder.h"
#include "program/recipe.h"
#include "random/generator.h"

namespace flambeau {

CallDescription describe(const RecordedCall& call) {
  require(call.primitive, "save: an update is saved as its program");
  const Portable* entry = portable_of(*call.primitive);
  require(entry && (entry->draws || !call.attributes.object), "save: ", call.name(),
          " cannot be saved in a static graph; compute it before, and feed the result");
  return {entry->name, call.attributes, call.in_place};
}

// Whether the outputs are what the primitive makes of the inputs.
static void check_outputs(Call& call, std::span<const TensorRef> outputs) {
  const Primitive& primitive = call.primitive;
  require(static_cast<int>(outputs.size()) == call.output_count, primitive.name, ": ",
          call.output_count, " outputs are required, got ", outputs.size());
  for (int i = 0; i < call.output_count; ++i) {
    const Tensor& output = *outputs[i];
    const OutputSpec& spec = call.specs[i];
    require(output.shape() == spec.shape && output.dtype() == spec.dtype, primitive.name,
            ": output ", i, " has shape ", spec.shape, " and dtype torch.", dtype_name(spec.dtype),
            ", got ", output.shape(), " and torch.", dtype_name(output.dtype()));
    const bool anywhere = primitive.any_order || (i == 0 && primitive.updates_input);
    require(anywhere || output.contiguous(), primitive.name, ": output ", i,
            " must be contiguous, got strides ", output.strides());
  }
}

void check_call(const Portable& entry, const Attributes& attributes,
                std::span<const TensorRef> inputs, std::span<const TensorRef> outputs) {
  Call call{*entry.primitive, inputs, Attributes(attributes)};
  OutputSpec specs[kMaxOutputs];
  call.specs = specs;
  entry.check(call);
  entry.primitive->infer(call);
  check_outputs(call, outputs);
}

RecordedCallRef call_of(CallDescription description, std::span<const TensorRef> inputs,
                        std::span<const TensorRef> outputs) {
  const Portable* entry = portable_named(description.name);
  require(entry, "there is no primitive ", description.name,
          "; the file may come from a newer version of flambeau");
  const Primitive& primitive = *entry->primitive;
  require(!description.in_place || primitive.updates_input, primitive.name,
          ": it has no form that works in place");
  if (entry->draws) {
    const Device place = outputs.empty() ? Device{} : outputs[0]->device();
    description.attributes.object = Ref<Generator>::share(&default_generator(place));
  }
  check_call(*entry, description.attributes, inputs, outputs);
  auto recorded = RecordedCallRef::adopt(new RecordedCall);
  recorded->primitive = &primitive;
  recorded->attributes = std::move(description.attributes);
  recorded->in_place = description.in_place;
  recorded->random = entry->draws;
  return recorded;
}

ProgramRef program_of(int input_count, std::span<const Value> values,
                      std::span<const int32_t> outputs) {
  require(input_count >= 0 && !outputs.empty(), "program: it has no output");
  Builder builder;
  std::vector<int32_t> places;
  for (const Value& value : values) {
    int32_t operands[3] = {-1, -1, -1};
    const int arity = arity_of(value.instruction);
    for (int i = 0; i < 3; ++i) {
      const int32_t operand = value.operands[i];
      bool fits =
          i < arity ? operand >= 0 && operand < static_cast<int32_t>(places.size()) : operand == -1;
      require(fits, "program: value ", places.size(), ", ", name_of(value.instruction), " of ",
              arity, " operands, cannot read value ", operand);
      if (operand >= 0) operands[i] = places[operand];
    }
    if (value.instruction == Instruction::Input) {
      require(value.index >= 0 && value.index < input_count, "program: there is no input ",
              value.index, " of ", input_count);
      places.push_back(builder.input(value.index, value.extent));
    } else if (value.instruction == Instruction::Constant) {
      places.push_back(builder.constant(value.constant));
    } else {
      places.push_back(builder.apply(value.instruction, operands[0], operands[1], operands[2]));
    }
  }
  std::vector<int32_t> results;
  for (int32_t output : outputs) {
    require(output >= 0 && output < static_cast<int32_t>(places.size()),
            "program: there is no value ", output, " of ", places.size());
    results.push_back(places[output]);
  }
  return builder.finish(input_count, results);
}

void require_kernels(const Program& program, Precision precision) {
  const InstructionKernels& table = kernels_of(precision);
  for (const Value& value : program.values) {
    const int number = static_cast<int>(value.instruction);
    bool known = true;
    if (kind_of(value.instruction) == InstructionKind::Row) {
      known = table.rows[number - static_cast<int>(Instruction::row_sum)];
    } else if (arity_of(value.instruction) > 0) {
      known = table.kernels[number];
    }
    require(known, "program: ", name_of(value.instruction), " is not defined for ",
            precision == Precision::Int64 ? "integers" : "floating numbers");
  }
}

}  // namespace flambeau
