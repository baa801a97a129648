// Products of rows of activations, quantised to eight bits, with a tile of packed weights.
#pragma once

#include "packed.h"

namespace pollux {

// Rows of activations, quantised by groups of 32.
struct QuantisedRows {
  int64_t groups;
  int8_t* values;  // [M, groups * 32]
  float* scales;   // [M, groups]
  int32_t* start;  // [M, groups]: takes back what the weights' offset adds to a group's product
  float* sums;     // [M, groups]: what a group's weights' least value is multiplied with

  void fill(int64_t row, const float* x, int64_t K, float unit, int offset) const {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t at = row * groups + g, count = std::min<int64_t>(kGroup, K - g * kGroup);
      const float* in = x + g * kGroup;
      float padded[kGroup] = {};
      if (count < kGroup) in = std::copy(in, in + count, padded) - count;
      float scale;
      const int32_t sum = quantise(in, values + at * kGroup, scale);
      scales[at] = scale * unit;
      start[at] = -offset * sum;
      sums[at] = scale * unit * static_cast<float>(sum);
    }
  }

 private:
  // 32 numbers to integers and their scale; returns the integers' sum. A NaN becomes any integer.
  static int32_t quantise(const float* in, int8_t* out, float& scale) {
#if defined(POLLUX_AVX512)
    const __m512 x[2] = {_mm512_loadu_ps(in), _mm512_loadu_ps(in + 16)};
    const float peak =
        _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(x[0]), _mm512_abs_ps(x[1])));
    const __m512 inverse = _mm512_set1_ps(peak > 0 ? 127.0f / peak : 0.0f);
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < 2; ++i) {
      const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(x[i], inverse));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i * 16), _mm512_cvtsepi32_epi8(q));
      sum = _mm512_add_epi32(sum, q);
    }
    scale = peak / 127.0f;
    return _mm512_reduce_add_epi32(sum);
#else
    float peak = 0;
#pragma omp simd reduction(max : peak)
    for (int i = 0; i < kGroup; ++i) peak = std::max(peak, std::fabs(in[i]));
    const float inverse = peak > 0 ? 127.0f / peak : 0.0f;
    int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < kGroup; ++i) {
      const int32_t q = static_cast<int32_t>(std::nearbyint(in[i] * inverse));
      out[i] = static_cast<int8_t>(q);
      sum += q;
    }
    scale = peak / 127.0f;
    return sum;
#endif
  }
};

#if defined(POLLUX_VNNI)

// A group's weights in registers: 8 times 4 inputs, of 2 times 16 outputs.
struct Loaded {
  __m512i weights[8][2];
  __m512 scale[2], least[2];
};

inline __m512 load_halves(const uint8_t* from) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
}

// Stays in its register: GCC would rather load or compute it again for every row.
template <class Vector>
void pin(Vector& x) {
  asm("" : "+v"(x));
}

inline void load(Eight, const uint8_t* group, Loaded& to) {
  for (int k = 0; k < 8; ++k)
    for (int c = 0; c < 2; ++c) {
      to.weights[k][c] = _mm512_load_si512(group + Eight::kWeights + (k * 2 + c) * 64);
      pin(to.weights[k][c]);
    }
  for (int c = 0; c < 2; ++c) pin(to.scale[c] = load_halves(group + c * 32));
}

inline void load(Four, const uint8_t* group, Loaded& to) {
  const __m512i low = _mm512_set1_epi8(15);
  for (int k = 0; k < 4; ++k)
    for (int c = 0; c < 2; ++c) {
      const __m512i both = _mm512_load_si512(group + Four::kWeights + (k * 2 + c) * 64);
      to.weights[2 * k][c] = _mm512_and_si512(both, low);
      to.weights[2 * k + 1][c] = _mm512_and_si512(_mm512_srli_epi32(both, 4), low);
      pin(to.weights[2 * k][c]);
      pin(to.weights[2 * k + 1][c]);
    }
  for (int c = 0; c < 2; ++c) {
    pin(to.scale[c] = load_halves(group + c * 32));
    pin(to.least[c] = load_halves(group + Four::kLeast + c * 32));
  }
}

// Adds a group's products with kRows rows to their sums[kRows, 32].
template <class Format, int kRows>
inline void multiply_group(const Loaded& w, const QuantisedRows& x, int64_t at, float* sums) {
  __m512i dot[kRows][2];
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < 2; ++c) dot[r][c] = _mm512_set1_epi32(x.start[at + r * x.groups]);
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k)
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) {
      int32_t four;
      std::memcpy(&four, x.values + (at + r * x.groups) * kGroup + k * 4, sizeof four);
      const __m512i value = _mm512_set1_epi32(four);
      for (int c = 0; c < 2; ++c)
        asm("vpdpbusd %2, %1, %0" : "+v"(dot[r][c]) : "v"(w.weights[k][c]), "v"(value));
    }
  for (int r = 0; r < kRows; ++r) {
    const __m512 scale = _mm512_set1_ps(x.scales[at + r * x.groups]);
    for (int c = 0; c < 2; ++c) {
      float* sum = sums + r * kTile + c * 16;
      const __m512 product = _mm512_cvtepi32_ps(dot[r][c]);
      __m512 y = _mm512_load_ps(sum);
      if constexpr (std::is_same_v<Format, Four>)
        y = _mm512_fmadd_ps(w.least[c], _mm512_set1_ps(x.sums[at + r * x.groups]), y);
      _mm512_store_ps(sum, _mm512_fmadd_ps(product, _mm512_mul_ps(w.scale[c], scale), y));
    }
  }
}

// sums[count, 32]: of rows row, row + 1, ... and one tile.
template <class Format>
void multiply(const uint8_t* tile, const QuantisedRows x, int64_t row, int64_t count,
              float* sums) {
  std::memset(sums, 0, count * kTile * sizeof(float));
  for (int64_t g = 0; g < x.groups; ++g, tile += Format::kBytes) {
    // Into the second cache: what is fetched into the first would have to wait for a place there.
    for (int64_t line = 0; line < Format::kBytes; line += 64)
      _mm_prefetch(tile + 8 * Format::kBytes + line, _MM_HINT_T1);
    Loaded weights;
    load(Format{}, tile, weights);
    int64_t m = 0, at = row * x.groups + g;
    for (; m + 2 <= count; m += 2, at += 2 * x.groups)
      multiply_group<Format, 2>(weights, x, at, sums + m * kTile);
    if (m < count) multiply_group<Format, 1>(weights, x, at, sums + m * kTile);
  }
}

#else

// Weights [k][n] of inputs 4 i to 4 i + 3, still with their offset.
inline void load(Eight, const uint8_t* group, int i, uint8_t* to) {
  std::memcpy(to, group + Eight::kWeights + i * kTile * 4, kTile * 4);
}

inline void load(Four, const uint8_t* group, int i, uint8_t* to) {
  const uint8_t* from = group + Four::kWeights + i / 2 * kTile * 4;
  for (int n = 0; n < kTile * 4; ++n) to[n] = from[n] >> i % 2 * 4 & 15;
}

template <class Format>
void multiply(const uint8_t* tile, const QuantisedRows x, int64_t row, int64_t count,
              float* sums) {
  std::fill(sums, sums + count * kTile, 0.0f);
  for (int64_t g = 0; g < x.groups; ++g, tile += Format::kBytes) {
    float scale[kTile], least[kTile] = {};
    uint8_t weights[kGroup / 4][kTile * 4];
    for (int n = 0; n < kTile; ++n) scale[n] = half_at(tile, n);
    if constexpr (std::is_same_v<Format, Four>)
      for (int n = 0; n < kTile; ++n) least[n] = half_at(tile + Four::kLeast, n);
    for (int k = 0; k < kGroup / 4; ++k) load(Format{}, tile, k, weights[k]);
    for (int64_t m = 0; m < count; ++m) {
      const int64_t at = (row + m) * x.groups + g;
      int32_t dot[kTile];
      std::fill(dot, dot + kTile, x.start[at]);
      for (int k = 0; k < kGroup / 4; ++k) {
        const uint8_t* w = weights[k];
        const int8_t* v = x.values + at * kGroup + k * 4;
#pragma omp simd
        for (int n = 0; n < kTile; ++n)
          dot[n] += w[n * 4] * v[0] + w[n * 4 + 1] * v[1] + w[n * 4 + 2] * v[2] + w[n * 4 + 3] * v[3];
      }
#pragma omp simd
      for (int n = 0; n < kTile; ++n)
        sums[m * kTile + n] +=
            static_cast<float>(dot[n]) * scale[n] * x.scales[at] + least[n] * x.sums[at];
    }
  }
}

#endif

}  // namespace pollux
