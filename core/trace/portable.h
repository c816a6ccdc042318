// Calls and programs as plain descriptions, for files.
#pragma once

#include "ops/portable.h"
#include "trace/recording.h"

namespace flambeau {

// A recorded call without what it reads and writes.
struct CallDescription {
  std::string name;  // Portable::name
  Attributes attributes;
  bool in_place = false;
};

// RuntimeError for calls that files cannot hold.
CallDescription describe(const RecordedCall& call);

// RuntimeError unless the primitive of `entry`, called with these attributes on inputs of these
// shapes and dtypes, has outputs of these; memory does not matter.
void check_call(const Portable& entry, const Attributes& attributes,
                std::span<const TensorRef> inputs, std::span<const TensorRef> outputs);

// The call of a description, checked (Note [Calls out of files]) for inputs and outputs of the
// shapes, strides and dtypes of these tensors, whose memory does not matter. Random numbers come
// from the default generator.
RecordedCallRef call_of(CallDescription description, std::span<const TensorRef> inputs,
                        std::span<const TensorRef> outputs);

// The program of a list of values. RuntimeError unless operands come before their users, are as
// many as the instructions take, and inputs and outputs exist.
ProgramRef program_of(int input_count, std::span<const Value> values,
                      std::span<const int32_t> outputs);
// RuntimeError for instructions that registers of this precision do not know.
void require_kernels(const Program& program, Precision precision);

}  // namespace flambeau
