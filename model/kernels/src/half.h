// float16, in bits.
#pragma once

#include "numeric.h"

namespace pollux {

inline float half_to_float(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t rest = bits & 0x7FFFu;
  if (rest < 0x0400) return float_of(sign | bits_of(static_cast<float>(rest) * 0x1p-24f));
  return float_of(sign | ((rest << 13) + 0x38000000u));
}

// Of -65504 < x < 65504, to nearest.
inline uint16_t float_to_half(float x) {
  const uint16_t sign = bits_of(x) >> 16 & 0x8000u;
  const float size = std::fabs(x);
  if (size < 0x1p-14f) return sign | static_cast<uint16_t>(std::nearbyint(size * 0x1p24f));
  const uint32_t bits = bits_of(size) - 0x38000000u;
  return sign | static_cast<uint16_t>((bits + 0x0FFF + ((bits >> 13) & 1)) >> 13);
}

// The power of two by which to divide numbers of this size, so that they are well within float16.
inline float unit_for(float most) {
  int exponent = 0;
  std::frexp(most, &exponent);
  return most > 0 ? std::ldexp(1.0f, exponent - 15) : 1.0f;
}

}  // namespace pollux
