// Sixteen floats at a time, on any CPU. Sums are taken in an order that is written down here, not
// left to a vectoriser: it must not change with alignment or with what else a loop does.
#pragma once

#include <algorithm>
#include <cstring>

#include "numeric.h"

namespace pollux {

constexpr int kLanes = 16;

typedef float Lanes __attribute__((vector_size(64)));
typedef uint32_t BitLanes __attribute__((vector_size(64)));

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

inline Lanes load(const float* x) {
  Lanes lanes;
  std::memcpy(&lanes, x, sizeof lanes);
  return lanes;
}

inline Lanes load(const Bf16* x) {
  typedef uint16_t Halves __attribute__((vector_size(32)));
  Halves halves;
  std::memcpy(&halves, x, sizeof halves);
  return (Lanes)(__builtin_convertvector(halves, BitLanes) << 16);
}

inline void store(Lanes lanes, float* x) { std::memcpy(x, &lanes, sizeof lanes); }

// The first `count` of x, then zeros.
template <class T>
Lanes load_some(const T* x, int64_t count) {
  if (count >= kLanes) return load(x);
  T some[kLanes] = {};
  std::memcpy(some, x, count * sizeof(T));
  return load(some);
}

inline void store_some(Lanes lanes, float* x, int64_t count) {
  std::memcpy(x, &lanes, std::min<int64_t>(count, kLanes) * sizeof(float));
}

inline Lanes max(Lanes a, Lanes b) { return a > b ? a : b; }

#define POLLUX_FOLD(name, combine)                                                                \
  inline float name(Lanes x) {                                                                    \
    x = combine(x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5,  \
                                           6, 7));                                                \
    x = combine(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9,    \
                                           10, 11));                                              \
    x = combine(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15,    \
                                           12, 13));                                              \
    x = combine(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12,    \
                                           15, 14));                                              \
    return x[0];                                                                                  \
  }
inline Lanes add(Lanes a, Lanes b) { return a + b; }
POLLUX_FOLD(sum_of, add)
POLLUX_FOLD(max_of, max)
#undef POLLUX_FOLD

// As the scalar one.
inline Lanes exp_negative(Lanes x) {
  const Lanes least = Lanes{} - 87.0f;
  const Lanes clamped = x < least ? least : x;
  const Lanes shifted = clamped * 1.44269504f + 12582912.0f;
  const Lanes n = shifted - 12582912.0f;
  const Lanes r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  Lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Lanes power = (Lanes)(((BitLanes)shifted << 23) + 0x3F800000u);
  return x < least ? Lanes{} : p * power;
}

}  // namespace pollux
