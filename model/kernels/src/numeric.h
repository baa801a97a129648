// Scalars: bfloat16 and float16 as bits, a vectorisable exponential, scratch memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define POLLUX_AVX512 1
#if defined(__AVX512BF16__)
#define POLLUX_BF16 1
#endif
#if defined(__AVX512VNNI__)
#define POLLUX_VNNI 1
#endif
#endif

namespace pollux {

inline uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// bfloat16, in the bits that JAX keeps it in.
struct Bf16 {
  uint16_t bits;
};

inline float widen(float x) { return x; }
inline float widen(Bf16 x) { return float_of(uint32_t{x.bits} << 16); }

// To nearest, ties to even. Not for NaN, which no kernel makes of finite input.
template <class T>
T narrow(float x);
template <>
inline float narrow<float>(float x) {
  return x;
}
template <>
inline Bf16 narrow<Bf16>(float x) {
  const uint32_t bits = bits_of(x);
  return Bf16{static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}

// e^x for x <= 0, relative error below 3e-7; 0 below -87. Free of branches, so loops vectorise.
inline float exp_negative(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * 1.44269504f + 12582912.0f;  // 1.5 * 2^23 rounds to an integer.
  const float n = shifted - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float power = float_of((bits_of(shifted) << 23) + 0x3F800000u);
  return x < -87.0f ? 0.0f : p * power;
}

// Aligned memory that a thread keeps from call to call, one block for each Tag.
template <class Tag, class T>
T* scratch(size_t count) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  static thread_local std::unique_ptr<void, Free> block;
  static thread_local size_t size = 0;
  const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
  if (bytes > size) {
    block.reset();
    size = 0;
    void* p = std::aligned_alloc(64, bytes);
    if (p == nullptr) std::abort();
    block.reset(p);
    size = bytes;
  }
  return static_cast<T*>(block.get());
}

}  // namespace pollux
