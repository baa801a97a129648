// Weights in eight or four bits, as the integer dot-product instructions read them.
//
// W[N, K] is cut into tiles of 32 outputs, and a tile into groups of 32 inputs:
//
//   blob [ceil(N / 32)][ceil(K / 32)] of
//     Eight { float16 scale[32]; uint8 weight[8][32][4]; }
//     Four  { float16 scale[32]; float16 least[32]; uint8 weights[4][32][4]; }
//
// Eight: weight[i][n][j] - 128, times scale[n], is W[n, 4 i + j] of the group. Four: the low halves
// of weights[i] are what weight[2 i] would be, the high ones weight[2 i + 1]; that, times scale[n],
// plus least[n], is W. Scales and least values are in the matrix's `unit`, a power of two that
// keeps them within float16. What lies outside W is multiplied with 0, or not looked at.
#pragma once

#include <algorithm>
#include <limits>

#include "half.h"

namespace pollux {

constexpr int kTile = 32, kGroup = 32;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline float half_at(const uint8_t* halves, int64_t n) {
  uint16_t bits;
  std::memcpy(&bits, halves + n * sizeof bits, sizeof bits);
  return half_to_float(bits);
}

// Rounds x to a float16 in `unit`, puts it in its place and returns it as it will be read.
inline float put_half(uint8_t* halves, int64_t n, float x, float unit) {
  const uint16_t bits = float_to_half(x / unit);
  std::memcpy(halves + n * sizeof bits, &bits, sizeof bits);
  return half_to_float(bits) * unit;
}

struct Eight {
  static constexpr int64_t kWeights = kTile * 2, kBytes = kWeights + kTile * kGroup;
  static constexpr int kOffset = 128;

  static float size(const float* row) { return peak(row) / 127.0f; }

  // Column n of a group.
  static void put(uint8_t* group, int64_t n, const float* row, float unit) {
    const float scale = put_half(group, n, peak(row) / 127.0f, unit);
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    for (int k = 0; k < kGroup; ++k) {
      const float q = std::clamp(std::nearbyint(row[k] * inverse), -127.0f, 127.0f);
      group[at(n, k)] = static_cast<uint8_t>(static_cast<int>(q) + kOffset);
    }
  }

  static void get(const uint8_t* group, int64_t n, float unit, float* row) {
    const float scale = half_at(group, n) * unit;
    for (int k = 0; k < kGroup; ++k)
      row[k] = static_cast<float>(group[at(n, k)] - kOffset) * scale;
  }

 private:
  static int64_t at(int64_t n, int k) { return kWeights + k / 4 * kTile * 4 + n * 4 + k % 4; }

  static float peak(const float* row) {
    float most = 0;
    for (int k = 0; k < kGroup; ++k) most = std::max(most, std::fabs(row[k]));
    return most;
  }
};

struct Four {
  static constexpr int64_t kLeast = kTile * 2, kWeights = 2 * kLeast;
  static constexpr int64_t kBytes = kWeights + kTile * kGroup / 2;
  static constexpr int kOffset = 0;

  static float size(const float* row) {
    const auto [least, most] = std::minmax_element(row, row + kGroup);
    return std::max(std::fabs(*least), std::fabs(*most - *least));
  }

  static void put(uint8_t* group, int64_t n, const float* row, float unit) {
    const auto [low, high] = std::minmax_element(row, row + kGroup);
    const float range = *high - *low;
    const float least = put_half(group + kLeast, n, *low, unit);
    const float scale = put_half(group, n, step(row, *low, range), unit);
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    for (int k = 0; k < kGroup; ++k) {
      const float q = std::clamp(std::nearbyint((row[k] - least) * inverse), 0.0f, 15.0f);
      group[at(n, k)] |= static_cast<uint8_t>(static_cast<int>(q) << shift(k));
    }
  }

  static void get(const uint8_t* group, int64_t n, float unit, float* row) {
    const float scale = half_at(group, n) * unit, least = half_at(group + kLeast, n) * unit;
    for (int k = 0; k < kGroup; ++k)
      row[k] = static_cast<float>(group[at(n, k)] >> shift(k) & 15) * scale + least;
  }

 private:
  static int64_t at(int64_t n, int k) { return kWeights + k / 8 * kTile * 4 + n * 4 + k % 4; }
  static int shift(int k) { return k & 4; }

  // The step between levels that fits the row best. A file that keeps its weights in four bits
  // may have no weight at its lowest or highest level, so fewer than 15 steps are tried too.
  static float step(const float* row, float low, float range) {
    float best = range / 15, least = std::numeric_limits<float>::infinity();
    for (int steps = 15; steps > 4 && least > 1e-6f * range * range; --steps) {
      const float inverse = range > 0 ? static_cast<float>(steps) / range : 0.0f;
      float error = 0;
#pragma omp simd reduction(+ : error)
      for (int k = 0; k < kGroup; ++k) {
        const float level = (row[k] - low) * inverse;
        const float off = level - (level + 12582912.0f - 12582912.0f);
        error += off * off;
      }
      error *= range / static_cast<float>(steps) * (range / static_cast<float>(steps));
      if (error >= least) continue;
      least = error;
      best = range / static_cast<float>(steps);
    }
    return best;
  }
};

// Calls visit(group, column, row) for each column of each group. What lies beyond K is filled with
// a value that changes neither the row's least nor its greatest one.
template <class Format, class Visit>
void each_group(const float* w, int64_t N, int64_t K, uint8_t* blob, const Visit& visit) {
  const int64_t groups = ceil_div(K, kGroup);
  for (int64_t n = 0; n < ceil_div(N, kTile) * kTile; ++n) {
    for (int64_t g = 0; g < groups; ++g) {
      float row[kGroup] = {};
      const int64_t count = n < N ? std::min<int64_t>(kGroup, K - g * kGroup) : 0;
      const float* from = w + n * K + g * kGroup;
      if (count > 0) std::fill(std::copy(from, from + count, row), row + kGroup, from[0]);
      visit(blob + (n / kTile * groups + g) * Format::kBytes, n % kTile, row);
    }
  }
}

// Packs W[N, K] into `blob`; returns its unit.
template <class Format>
float pack(const float* w, int64_t N, int64_t K, uint8_t* blob) {
  float most = 0;
  each_group<Format>(w, N, K, blob, [&](uint8_t*, int64_t, const float* row) {
    most = std::max(most, Format::size(row));
  });
  const float unit = unit_for(most);
  std::memset(blob, 0, ceil_div(N, kTile) * ceil_div(K, kGroup) * Format::kBytes);
  each_group<Format>(w, N, K, blob, [&](uint8_t* group, int64_t n, const float* row) {
    Format::put(group, n, row, unit);
  });
  return unit;
}

// Row n of W, widened to float: out[K].
template <class Format>
void unpack_row(const uint8_t* blob, float unit, int64_t K, int64_t n, float* out) {
  const int64_t groups = ceil_div(K, kGroup);
  for (int64_t g = 0; g < groups; ++g) {
    float row[kGroup];
    Format::get(blob + (n / kTile * groups + g) * Format::kBytes, n % kTile, unit, row);
    std::copy(row, row + std::min<int64_t>(kGroup, K - g * kGroup), out + g * kGroup);
  }
}

}  // namespace pollux
