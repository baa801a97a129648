// Weights in eight bits, as the integer dot-product instructions read them.
//
// W[N, K] is cut into tiles of 64 outputs, and a tile into groups of 32 inputs:
//
//   blob [ceil(N / 64)][ceil(K / 32)] of { float16 scale[64]; uint8 weight[8][64][4]; }
//
// weight[i][n][j] - 128 is the quantised W[n, 4 i + j] of the group; times scale[n] times the
// matrix's `unit`, a power of two that keeps the scales within float16. What lies outside W is 0.
#pragma once

#include <algorithm>

#include "numeric.h"

namespace pollux {

constexpr int kTile = 64, kGroup = 32;
constexpr int64_t kScaleBytes = kTile * 2, kGroupBytes = kScaleBytes + kTile * kGroup;

inline float half_to_float(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t rest = bits & 0x7FFFu;
  if (rest < 0x0400) return float_of(sign | bits_of(static_cast<float>(rest) * 0x1p-24f));
  return float_of(sign | ((rest << 13) + 0x38000000u));
}

// Of 0 <= x < 65504, to nearest.
inline uint16_t float_to_half(float x) {
  if (x < 0x1p-14f) return static_cast<uint16_t>(std::nearbyint(x * 0x1p24f));
  const uint32_t bits = bits_of(x) - 0x38000000u;
  return static_cast<uint16_t>((bits + 0x0FFF + ((bits >> 13) & 1)) >> 13);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Packs W[N, K] into `blob`; returns its unit.
inline float pack(const float* w, int64_t N, int64_t K, uint8_t* blob) {
  const int64_t groups = ceil_div(K, kGroup);
  float most = 0;
  for (int64_t i = 0; i < N * K; ++i) most = std::max(most, std::fabs(w[i]));
  int exponent = 0;
  std::frexp(most / 127.0f, &exponent);
  const float unit = most > 0 ? std::ldexp(1.0f, exponent - 15) : 1.0f;
  std::memset(blob, 0, ceil_div(N, kTile) * groups * kGroupBytes);
  for (int64_t n = 0; n < ceil_div(N, kTile) * kTile; ++n) {
    for (int64_t g = 0; g < groups; ++g) {
      uint8_t* group = blob + (n / kTile * groups + g) * kGroupBytes;
      uint8_t* out = group + kScaleBytes + n % kTile * 4;
      float row[kGroup] = {};
      const int64_t count = n < N ? std::min<int64_t>(kGroup, K - g * kGroup) : 0;
      std::copy(w + n * K + g * kGroup, w + n * K + g * kGroup + count, row);
      float peak = 0;
      for (float x : row) peak = std::max(peak, std::fabs(x));
      const uint16_t bits = float_to_half(peak / 127.0f / unit);
      const float scale = half_to_float(bits) * unit, inverse = scale > 0 ? 1.0f / scale : 0.0f;
      std::memcpy(group + n % kTile * 2, &bits, sizeof bits);
      for (int k = 0; k < kGroup; ++k) {
        const float q = std::clamp(std::nearbyint(row[k] * inverse), -127.0f, 127.0f);
        out[k / 4 * kTile * 4 + k % 4] = static_cast<uint8_t>(static_cast<int>(q) + 128);
      }
    }
  }
  return unit;
}

// Row n of W, widened to float: out[K].
inline void unpack_row(const uint8_t* blob, float unit, int64_t K, int64_t n, float* out) {
  const int64_t groups = ceil_div(K, kGroup);
  for (int64_t g = 0; g < groups; ++g) {
    const uint8_t* group = blob + (n / kTile * groups + g) * kGroupBytes;
    uint16_t bits;
    std::memcpy(&bits, group + n % kTile * 2, sizeof bits);
    const float scale = half_to_float(bits) * unit;
    const uint8_t* in = group + kScaleBytes + n % kTile * 4;
    for (int64_t k = 0; k < std::min<int64_t>(kGroup, K - g * kGroup); ++k)
      out[g * kGroup + k] = static_cast<float>(in[k / 4 * kTile * 4 + k % 4] - 128) * scale;
  }
}

// Rows of activations, quantised by groups of 32. `start` is -128 times a group's sum: it takes
// back what the weights' offset adds.
struct QuantisedRows {
  int64_t groups;
  int8_t* values;  // [M, groups * 32]
  float* scales;   // [M, groups]
  int32_t* start;  // [M, groups]

  void fill(int64_t row, const float* x, int64_t K, float unit) const {
    for (int64_t g = 0; g < groups; ++g) {
      float in[kGroup] = {};
      const int64_t count = std::min<int64_t>(kGroup, K - g * kGroup);
      std::memcpy(in, x + g * kGroup, count * sizeof(float));
      float peak = 0;
#pragma omp simd reduction(max : peak)
      for (int i = 0; i < kGroup; ++i) peak = std::max(peak, std::fabs(in[i]));
      const float inverse = peak > 0 ? 127.0f / peak : 0.0f;
      int8_t* out = values + (row * groups + g) * kGroup;
      int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int i = 0; i < kGroup; ++i) {
        // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
        const int32_t q = static_cast<int8_t>(bits_of(in[i] * inverse + 12582912.0f));
        out[i] = static_cast<int8_t>(q);
        sum += q;
      }
      scales[row * groups + g] = peak / 127.0f * unit;
      start[row * groups + g] = -128 * sum;
    }
  }
};

// What to fetch while a group is multiplied: lines [first, end) of the group `distance` bytes on.
struct Ahead {
  int64_t distance, first, end;
};

#if defined(POLLUX_VNNI)

// sums[m * 64 + n] for M rows and one tile. Up to three rows stay in registers throughout.
template <int M>
void multiply_rows(const uint8_t* tile, const QuantisedRows& x, int64_t row, float* sums,
                   const Ahead& ahead) {
  constexpr bool kKept = M <= 3;
  const int64_t groups = x.groups;
  __m512 kept[kKept ? M : 1][4];
  for (int m = 0; m < M; ++m)
    for (int c = 0; c < 4; ++c) {
      if constexpr (kKept) kept[m][c] = _mm512_setzero_ps();
      else _mm512_store_ps(sums + m * kTile + c * 16, _mm512_setzero_ps());
    }
  for (int64_t g = 0; g < groups; ++g, tile += kGroupBytes) {
    for (int64_t line = ahead.first; line < ahead.end; ++line)
      _mm_prefetch(tile + ahead.distance + line * 64, _MM_HINT_T1);
    __m512i dot[M][4];
    const int8_t* values[M];
    for (int m = 0; m < M; ++m) {
      const __m512i start = _mm512_set1_epi32(x.start[(row + m) * groups + g]);
      for (int c = 0; c < 4; ++c) dot[m][c] = start;
      values[m] = x.values + ((row + m) * groups + g) * kGroup;
    }
#pragma GCC unroll 8
    for (int k = 0; k < kGroup / 4; ++k) {
      const uint8_t* at = tile + kScaleBytes + k * kTile * 4;
      __m512i weights[4];
      for (int c = 0; c < 4; ++c) {
        weights[c] = _mm512_load_si512(at + c * 64);
        // Stays in its register: GCC would rather load it again for every row.
        asm("" : "+v"(weights[c]));
      }
      for (int m = 0; m < M; ++m) {
        int32_t four;
        std::memcpy(&four, values[m] + k * 4, sizeof four);
        const __m512i value = _mm512_set1_epi32(four);
        for (int c = 0; c < 4; ++c) dot[m][c] = _mm512_dpbusd_epi32(dot[m][c], weights[c], value);
      }
    }
    for (int c = 0; c < 4; ++c) {
      const __m256i halves = _mm256_load_si256(reinterpret_cast<const __m256i*>(tile) + c);
      const __m512 scale = _mm512_cvtph_ps(halves);
      for (int m = 0; m < M; ++m) {
        const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x.scales[(row + m) * groups + g]));
        const __m512 product = _mm512_cvtepi32_ps(dot[m][c]);
        float* sum = sums + m * kTile + c * 16;
        if constexpr (kKept) kept[m][c] = _mm512_fmadd_ps(product, both, kept[m][c]);
        else _mm512_store_ps(sum, _mm512_fmadd_ps(product, both, _mm512_load_ps(sum)));
      }
    }
  }
  if constexpr (kKept)
    for (int m = 0; m < M; ++m)
      for (int c = 0; c < 4; ++c) _mm512_store_ps(sums + m * kTile + c * 16, kept[m][c]);
}

#else

template <int M>
void multiply_rows(const uint8_t* tile, const QuantisedRows& x, int64_t row, float* sums,
                   const Ahead& /*ahead*/) {
  std::fill(sums, sums + M * kTile, 0.0f);
  for (int64_t g = 0; g < x.groups; ++g, tile += kGroupBytes) {
    float scale[kTile];
    for (int n = 0; n < kTile; ++n) {
      uint16_t bits;
      std::memcpy(&bits, tile + n * 2, sizeof bits);
      scale[n] = half_to_float(bits);
    }
    for (int m = 0; m < M; ++m) {
      const int64_t at = (row + m) * x.groups + g;
      int32_t dot[kTile];
      std::fill(dot, dot + kTile, x.start[at]);
      for (int k = 0; k < kGroup / 4; ++k) {
        const uint8_t* w = tile + kScaleBytes + k * kTile * 4;
        const int8_t* v = x.values + at * kGroup + k * 4;
#pragma omp simd
        for (int n = 0; n < kTile; ++n)
          dot[n] += w[n * 4] * v[0] + w[n * 4 + 1] * v[1] + w[n * 4 + 2] * v[2] + w[n * 4 + 3] * v[3];
      }
#pragma omp simd
      for (int n = 0; n < kTile; ++n)
        sums[m * kTile + n] += static_cast<float>(dot[n]) * scale[n] * x.scales[at];
    }
  }
}

#endif

// `count` rows, 1 to 6.
inline void multiply(const uint8_t* tile, const QuantisedRows& x, int64_t row, int64_t count,
                     float* sums, const Ahead& ahead) {
  switch (count) {
    case 1: return multiply_rows<1>(tile, x, row, sums, ahead);
    case 2: return multiply_rows<2>(tile, x, row, sums, ahead);
    case 3: return multiply_rows<3>(tile, x, row, sums, ahead);
    case 4: return multiply_rows<4>(tile, x, row, sums, ahead);
    case 5: return multiply_rows<5>(tile, x, row, sums, ahead);
    default: return multiply_rows<6>(tile, x, row, sums, ahead);
  }
}

}  // namespace pollux
