// torch.Generator and the default generator.
#include <cstring>

#include "cuda/device.h"
#include "python/common.h"
#include "python/operator_type.h"
#include "random/cpu_generator.h"
#include "random/cuda_generator.h"
#include "tensor/device_memory.h"

namespace nb = nanobind;

namespace flambeau::python {

namespace {

struct GeneratorObject {
  Ref<Generator> generator;
};
nb::handle generator_type;

using Lock = std::lock_guard<std::mutex>;

// For its state or seed, which a recording cannot follow.
Generator& generator_in(const GeneratorObject& object) {
  if (mode.tracing) recorder.untraceable("or sets the state of a random generator");
  return *object.generator;
}

Ref<Generator> fresh_generator(Device device) {
  if (device.is_cpu()) return Ref<CpuGenerator>::adopt(new CpuGenerator);
  return Ref<CudaGenerator>::adopt(new CudaGenerator(device_memory.concrete(device).index));
}

CudaGenerator& cuda_generator(const GeneratorObject& object, const char* what) {
  Generator& generator = generator_in(object);
  require(!generator.device().is_cpu(), what, ": the CPU's generator has no offset; use get_state");
  return static_cast<CudaGenerator&>(generator);
}

// Any integer of 64 bits, signed or not; negative ones wrap.
uint64_t seed_from(nb::handle object) {
  if (!PyLong_Check(object.ptr())) {
    fail("manual_seed: expected an int, but got ", Py_TYPE(object.ptr())->tp_name);
  }
  int overflow = 0;
  int64_t seed = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow == 0) return static_cast<uint64_t>(seed);
  uint64_t large = overflow > 0 ? PyLong_AsUnsignedLongLong(object.ptr()) : 0;
  if (overflow < 0 || PyErr_Occurred()) {
    PyErr_Clear();
    fail(ErrorKind::Value, "manual_seed: required a seed in [-2^63, 2^64), got one with more bits");
  }
  return large;
}

nb::object get_state(const GeneratorObject& self) {
  Generator& generator = generator_in(self);
  Lock lock(generator.mutex());
  const std::vector<uint8_t> state = generator.state_bytes();
  TensorRef tensor = Tensor::empty({static_cast<int64_t>(state.size())}, DType::UInt8);
  std::memcpy(tensor->data(), state.data(), state.size());
  return nb::steal(wrap(std::move(tensor)));
}

void set_state(const GeneratorObject& self, nb::handle object) {
  if (!is_tensor(object.ptr()) || unwrap(object.ptr())->dtype() != DType::UInt8) {
    fail(ErrorKind::Type, "set_state: RNG state must be a torch.uint8 tensor, as get_state() ",
         "returns; got ", Py_TYPE(object.ptr())->tp_name);
  }
  TensorRef tensor = unwrap(object.ptr());
  if (!tensor->device().is_cpu()) {
    fail(ErrorKind::Type,
         "set_state: RNG state must be a torch.uint8 tensor on the CPU, got one on ",
         device_name(tensor->device()), "; use .cpu()");
  }
  require(tensor->contiguous(), "set_state: required a contiguous state; use .contiguous()");
  Lock lock(generator_in(self).mutex());
  generator_in(self).set_state({tensor->data<uint8_t>(), static_cast<size_t>(tensor->numel())});
}

void bind_states(nb::class_<GeneratorObject>& type) {
  type.def(
      "get_state",
      [](GeneratorObject& self) { return translated([&] { return get_state(self); }); },
      "The state as a uint8 tensor, in PyTorch's format.");
  type.def(
      "set_state",
      [](nb::object self, nb::handle state) {
        translated([&] { set_state(nb::cast<GeneratorObject&>(self), state); });
        return self;
      },
      nb::arg("new_state").none(), "Continues from a state that get_state() returned.");
  type.def(
      "clone_state",
      [](GeneratorObject& self) {
        return translated([&] {
          Lock lock(generator_in(self).mutex());
          return GeneratorObject{generator_in(self).copy()};
        });
      },
      "A new generator in the same state.");
  type.def(
      "get_offset",
      [](GeneratorObject& self) {
        return translated([&] {
          Lock lock(generator_in(self).mutex());
          return cuda_generator(self, "get_offset").offset();
        });
      },
      "How many numbers of every stream are used up; GPUs only.");
  type.def(
      "set_offset",
      [](GeneratorObject& self, uint64_t offset) {
        translated([&] {
          Lock lock(generator_in(self).mutex());
          cuda_generator(self, "set_offset").set_offset(offset);
        });
      },
      nb::arg("offset"), "Continues after that many numbers, a multiple of 4; GPUs only.");
}

struct DefaultStatesObject {
  DefaultStates states;
};

void bind_default_generators(nb::module_& module) {
  module.def(
      "cuda_default_generator",
      [](int device) {
        return translated([&] {
          const int number = device < 0 ? cuda::current_device() : device;
          return GeneratorObject{Ref<Generator>::share(&default_cuda_generator(number))};
        });
      },
      nb::arg("device"),
      "The default generator of a GPU, by its number (-1: the current one); needs no GPU.");
  module.def(
      "seed_cuda_generators",
      [](nb::handle seed) {
        translated([&] {
          const uint64_t value = seed_from(seed);
          if (mode.tracing) recorder.untraceable("or sets the state of a random generator");
          seed_cuda_generators(value);
        });
      },
      nb::arg("seed").none(), "Seeds the default generators of all GPUs; needs no GPU.");
  nb::class_<DefaultStatesObject>(module, "DefaultStates",
                                  "The states of all default generators when it was made.")
      .def("__init__",
           [](DefaultStatesObject* self) {
             translated([&] {
               if (mode.tracing) recorder.untraceable("or sets the state of a random generator");
               new (self) DefaultStatesObject{DefaultStates::now()};
             });
           })
      .def(
          "restore",
          [](const DefaultStatesObject& self) {
            translated([&] {
              if (mode.tracing) recorder.untraceable("or sets the state of a random generator");
              self.states.restore();
            });
          },
          "Puts the default generators back into these states.")
      .def(
          "same",
          [](const DefaultStatesObject& self) {
            return translated([&] { return self.states == DefaultStates::now(); });
          },
          "Whether nothing was drawn or seeded since then.");
}

}  // namespace

bool as_generator(PyObject* object, Generator*& result) {
  if (!nb::isinstance<GeneratorObject>(object)) return false;
  result = nb::inst_ptr<GeneratorObject>(nb::handle(object))->generator.get();
  return true;
}

void bind_random(nb::module_& module) {
  nb::class_<GeneratorObject> type(
      module, "Generator",
      "A source of random numbers: the same seed gives the same numbers, as PyTorch's.\n\n"
      "Args:\n    device: 'cpu', or a GPU ('cuda', 'cuda:1').\n\n"
      "Example:\n    >>> generator = torch.Generator().manual_seed(7)\n"
      "    >>> torch.randint(10, (3,), generator=generator)\n    tensor([5, 2, 1])");
  type.def(
      "__init__",
      [](GeneratorObject* self, nb::handle device) {
        translated([&] {
          Device wanted;
          if (!as_device(device.ptr(), wanted)) {
            fail(ErrorKind::Type, "Generator: expected a device, got ",
                 Py_TYPE(device.ptr())->tp_name);
          }
          new (self) GeneratorObject{fresh_generator(wanted)};
        });
      },
      nb::arg("device") = "cpu");
  type.def("__reduce__", [](nb::object self) {
    nb::object restore = nb::module_::import_("flambeau.random").attr("_in_state");
    return nb::make_tuple(restore, nb::make_tuple(self.type(), self.attr("get_state")(),
                                                  nb::str(self.attr("device"))));
  });
  type.def_prop_ro("device", [](const GeneratorObject& self) {
    return nb::steal(wrap_device(self.generator->device()));
  });
  type.def(
      "manual_seed",
      [](nb::object self, nb::handle seed) {
        translated([&] {
          Generator& generator = generator_in(nb::cast<GeneratorObject&>(self));
          uint64_t value = seed_from(seed);
          Lock lock(generator.mutex());
          generator.manual_seed(value);
        });
        return self;
      },
      nb::arg("seed").none(),
      "Starts the stream of `seed`, any 64-bit integer; returns the generator.");
  type.def(
      "seed",
      [](GeneratorObject& self) {
        return translated([&] {
          Lock lock(generator_in(self).mutex());
          return generator_in(self).seed();
        });
      },
      "Reseeds from the system's entropy and returns the seed.");
  type.def(
      "initial_seed",
      [](GeneratorObject& self) {
        return translated([&] {
          Lock lock(generator_in(self).mutex());
          return generator_in(self).initial_seed();
        });
      },
      "The seed that the stream started with.");
  bind_states(type);
  module.attr("default_generator") =
      nb::cast(GeneratorObject{Ref<Generator>::share(&default_generator())});
  bind_default_generators(module);
}

}  // namespace flambeau::python
