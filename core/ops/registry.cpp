#include "ops/registry.h"

#include <algorithm>

namespace flambeau {

std::deque<Operator>& operators() {
  static std::deque<Operator> list;
  return list;
}

Registered add_operator(Operator op) {
  operators().push_back(std::move(op));
  return {&operators().back()};
}

Autocast parse_autocast(const std::string& text) {
  using Cast = Autocast::Cast;
  static const std::pair<std::string, Cast> kCasts[] = {{"lower", Cast::Lower},
                                                        {"float32", Cast::Float32},
                                                        {"promote", Cast::Promote},
                                                        {"refused", Cast::Refused}};
  Autocast policy;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find(", ", at), text.size());
    std::string part = text.substr(at, end - at);
    std::string kind = part.substr(0, part.find(" on "));
    std::string device = part.size() > kind.size() ? part.substr(kind.size() + 4) : "both";
    const auto* found = std::find_if(std::begin(kCasts), std::end(kCasts),
                                     [&](const auto& cast) { return cast.first == kind; });
    bool known = device == "both" || device == "cpu" || device == "cuda";
    if (found == std::end(kCasts) || !known) {
      fail(ErrorKind::Value, "autocast: lower, float32, promote or refused is required, alone or ",
           "with `on cpu` or `on cuda`, got '", part, "'");
    }
    if (device != "cuda") policy.cpu = found->second;
    if (device != "cpu") policy.cuda = found->second;
    at = end + 2;
  }
  return policy;
}

}  // namespace flambeau
