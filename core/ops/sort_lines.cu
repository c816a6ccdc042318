// Sorting short lines: a block has one or more lines in shared memory and sorts them by a bitonic
// network. Items are pairs of Note [Sort keys]'s key and position, so the order is total and the
// sort stable. A line is read once; what is wanted of it is written.
// KEY: unsigned for elements of up to 32 bits, uint64 for longer ones.

template <class V>
DEVICE KEY sort_key(V value) {
  constexpr KEY kSign = KEY(1) << (8 * sizeof(KEY) - 1);
  if constexpr (Same<V, bool>::value || Same<V, unsigned char>::value) {
    return static_cast<KEY>(value);
  } else if constexpr (Same<V, double>::value) {
    if (value != value) return ~KEY(0);
    const KEY bits = bits_as<uint64>(value + 0.0);
    return bits & kSign ? ~bits : bits | kSign;
  } else if constexpr (Is<V>::floating) {
    const float number = convert<float>(value);
    if (number != number) return ~KEY(0);
    const KEY bits = bits_as<unsigned>(number + 0.0f);
    return bits & kSign ? ~bits : bits | kSign;
  } else {
    return static_cast<KEY>(value) ^ kSign;
  }
}

// Which of the sorted items are wanted: `count` from `first` on; or (median) the lower one in the
// middle, the first NaN if there is one unless only others count.
struct Wanted {
  int64 first, count;
  int median;  // 0: no, 1: yes, 2: NaNs do not count
};
DEVICE int64 first_wanted(const Wanted& wanted, const KEY* keys, int64 length) {
  if (!wanted.median) return wanted.first;
  int64 begin = 0, end = length;
  while (Is<T>::floating && begin < end) {
    const int64 middle = (begin + end) / 2;
    if (keys[middle] == ~KEY(0)) {
      end = middle;
    } else {
      begin = middle + 1;
    }
  }
  const int64 known = Is<T>::floating ? begin : length;
  if (known < length && (wanted.median == 1 || known == 0)) return known;
  return (known - 1) / 2;
}

// `padded` is a power of two; a block has `together` lines and together * padded / 2 threads.
extern "C" __global__ void __launch_bounds__(1024)
    sort_lines(T* values, int64* positions, const T* from, int64 lines,
                                      int length, int padded, int together, int descending,
                                      Wanted wanted) {
  DYNAMIC_SHARED(KEY, shared);
  KEY* const all_keys = shared;
  unsigned* const all_places = reinterpret_cast<unsigned*>(shared + together * padded);
  const int half = padded / 2;
  const int own = static_cast<int>(threadIdx.x) / half;
  const int me = static_cast<int>(threadIdx.x) % half;
  const int64 line = static_cast<int64>(blockIdx.x) * together + own;
  KEY* const keys = all_keys + own * padded;
  unsigned* const places = all_places + own * padded;
  for (int i = me; i < padded; i += half) {
    const bool real = i < length && line < lines;
    const KEY key = real ? sort_key(from[line * length + i]) : KEY(0);
    // What pads the line comes last: it has the greatest key and places beyond all others.
    keys[i] = !real ? ~KEY(0) : descending ? ~key : key;
    places[i] = static_cast<unsigned>(i);
  }
  for (int size = 2; size <= padded; size *= 2) {
    for (int distance = size / 2; distance > 0; distance /= 2) {
      __syncthreads();
      const int a = 2 * me - (me & (distance - 1)), b = a + distance;
      const bool up = (a & size) == 0;
      const KEY x = keys[a], y = keys[b];
      const unsigned p = places[a], q = places[b];
      if ((y < x || (y == x && q < p)) == up) {
        keys[a] = y;
        keys[b] = x;
        places[a] = q;
        places[b] = p;
      }
    }
  }
  __syncthreads();
  if (line >= lines) return;
  const int64 first = first_wanted(wanted, keys, length);
  for (int64 i = me; i < wanted.count; i += half) {
    const int64 place = places[first + i];
    positions[line * wanted.count + i] = place;
    values[line * wanted.count + i] = from[line * length + place];
  }
}

// Of a line that is sorted already.
extern "C" __global__ void __launch_bounds__(256)
    take_sorted(T* values, int64* positions, const T* from, const KEY* keys, const unsigned* places,
                int64 lines, int64 length, Wanted wanted) {
  const int64 count = lines * wanted.count;
  for (int64 n = thread_index<int64>(); n < count; n += thread_count<int64>()) {
    const int64 line = n / wanted.count;
    const int64 first = first_wanted(wanted, keys + line * length, length);
    const int64 place = places[line * length + first + n % wanted.count];
    positions[n] = place;
    values[n] = from[line * length + place];
  }
}

extern "C" __global__ void __launch_bounds__(256)
    make_keys(KEY* keys, unsigned* places, const T* from, int64 length, int descending,
              int64 count) {
  for (int64 n = thread_index<int64>(); n < count; n += thread_count<int64>()) {
    const KEY key = sort_key(from[n]);
    keys[n] = descending ? ~key : key;
    places[n] = static_cast<unsigned>(n % length);
  }
}
