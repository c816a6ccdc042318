// A table with a bound: what was used longest ago leaves first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <utility>

namespace flambeau {

template <class Key, class Value, class Hash>
class RecentTable {
 public:
  explicit RecentTable(size_t limit) : limit_(limit) {}

  // Null: not there.
  Value* find(const Key& key) {
    auto found = places_.find(key);
    if (found == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->second;
  }
  // The key is not there yet. The result is valid until the next call.
  Value& add(const Key& key, Value&& value) {
    if (entries_.size() >= limit_) {
      places_.erase(entries_.back().first);
      entries_.pop_back();
    }
    entries_.emplace_front(key, std::move(value));
    places_[key] = entries_.begin();
    return entries_.front().second;
  }
  size_t size() const { return entries_.size(); }

 private:
  size_t limit_;
  std::list<std::pair<Key, Value>> entries_;  // the one used last comes first
  std::unordered_map<Key, typename std::list<std::pair<Key, Value>>::iterator, Hash> places_;
};

// Hash of anything that lists its fields as 64-bit words, such as std::array<int64_t, n>.
struct WordsHash {
  template <class Words>
  size_t operator()(const Words& words) const {
    uint64_t hash = 0xCBF29CE484222325;
    for (int64_t word : words) {
      hash = (hash ^ static_cast<uint64_t>(word)) * 0x9E3779B97F4A7C15;
      hash ^= hash >> 29;
    }
    return static_cast<size_t>(hash);
  }
};

}  // namespace flambeau
