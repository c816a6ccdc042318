// A reference-counted object of any class: what attributes and hooks may hold.
#pragma once

#include "base/ref.h"

namespace flambeau {

class Object : public RefCounted {
 public:
  virtual ~Object() = default;
  static void destroy(Object* object) { delete object; }
};

}  // namespace flambeau
