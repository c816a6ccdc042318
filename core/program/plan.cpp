#include "program/plan.h"

#include <utility>

#include "program/builder.h"
#include "program/cuda_kernel.h"
#include "program/recipe.h"

namespace flambeau {

namespace {

// Hands out register numbers, the most recently freed first (it is the warmest in cache).
class RegisterFile {
 public:
  int32_t take() {
    if (free_.empty()) return count_++;
    int32_t number = free_.back();
    free_.pop_back();
    return number;
  }
  void give_back(int32_t number) { free_.push_back(number); }
  int count() const { return count_; }

 private:
  std::vector<int32_t> free_;
  int count_ = 0;
};

bool is_row_reduction(const Value& value) {
  return kind_of(value.instruction) == InstructionKind::Row;
}

}  // namespace

Plan::Plan(const Program& program) {
  const auto& values = program.values;
  const auto count = static_cast<int32_t>(values.size());
  registers.assign(count, -1);
  expanded.assign(count, -1);
  last_use.resize(count);
  std::vector<int32_t> last_spread(count, -1);  // of a Row value: the last user over elements
  for (int32_t v = 0; v < count; ++v) {
    const Value& value = values[v];
    last_use[v] = v;
    if (value.instruction == Instruction::Input) inputs.push_back(v);
    for (int32_t operand : value.operands) {
      if (operand < 0) continue;
      last_use[operand] = v;
      if (value.extent == Extent::Element) last_spread[operand] = v;
    }
    if (value.extent == Extent::Element || is_row_reduction(value)) {
      cost += cost_of(value.instruction);
    }
  }
  RegisterFile file;
  std::vector<std::vector<int32_t>> ends(count);  // registers that become free after a value
  auto place = [&](int32_t until) {
    int32_t number = file.take();
    ends[until].push_back(number);
    return number;
  };
  // Inputs are loaded before anything is computed or stored, so they live from the start.
  for (int32_t v : inputs) {
    if (values[v].extent == Extent::Element) registers[v] = place(last_use[v]);
    if (values[v].extent == Extent::Row && last_spread[v] >= 0) expanded[v] = place(last_spread[v]);
  }
  for (int32_t v = 0; v < count; ++v) {
    const Value& value = values[v];
    // A result may take the register of an operand that ends here: kernels write in place.
    for (int32_t number : ends[v]) file.give_back(number);
    ends[v].clear();
    if (value.extent == Extent::Row) registers[v] = row_value_count++;
    if (value.instruction == Instruction::Input) continue;
    if (value.extent == Extent::Element) registers[v] = place(last_use[v]);
    if (value.extent == Extent::Row && last_spread[v] >= 0) expanded[v] = place(last_spread[v]);
    for (int32_t number : ends[v]) file.give_back(number);  // a result that only is an output
    ends[v].clear();
  }
  register_count = file.count();
}

Plan::~Plan() {
  emitter::destroy_kernels(kernels.load());
  destroy_cuda_kernels(cuda_kernels.load());
  const Recipe* recipe = recipes.load();
  while (recipe) delete std::exchange(recipe, recipe->next);
}

// There are few ways of calling a program: at most two per input and precision are common.
const Recipe& recipe_of(const Program& program, Precision precision, uint64_t numbers,
                        bool single_row) {
  const Plan& plan = plan_of(program);
  const Recipe* first = plan.recipes.load(std::memory_order_acquire);
  for (const Recipe* recipe = first; recipe; recipe = recipe->next) {
    if (recipe->precision == precision && recipe->numbers == numbers &&
        recipe->single_row == single_row) {
      return *recipe;
    }
  }
  auto* fresh = new Recipe(program, precision, numbers, single_row);
  fresh->next = first;
  // Losing a race leaves an equal recipe in the list twice, which does no harm.
  while (!plan.recipes.compare_exchange_weak(fresh->next, fresh)) {
  }
  return *fresh;
}

Program::~Program() { delete plan_.load(); }

const Plan& plan_of(const Program& program) {
  Plan* plan = program.plan_.load(std::memory_order_acquire);
  if (plan) return *plan;
  Plan* fresh = new Plan(program);
  if (program.plan_.compare_exchange_strong(plan, fresh)) return *fresh;
  delete fresh;
  return *plan;
}

}  // namespace flambeau
