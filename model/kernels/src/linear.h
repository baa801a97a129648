// y = x W' over packed weights, with what surrounds it in a decoder layer: RMSNorm before;
// a gated activation, or an RMSNorm and the residual stream, after.
#pragma once

#include "packed.h"
#include "parallel.h"
#include "rows.h"

namespace pollux {

enum class Gate : int32_t { kNone = 0, kSilu = 1, kGeluTanh = 2 };

struct Linear {
  int64_t K, N;            // inputs, columns of `out`
  LiveRows live;           // of the M rows of x and out; the others are neither read nor written
  const float* x;          // [M, K]
  const float* norm;       // [K]: RMSNorm of x first; or null
  const uint8_t* blob;     // W: [N, K]; gated: [2 N, K], 16 gates, their 16 ups, and so on
  float unit;
  Gate gate;
  const float* post_norm;  // [N]: RMSNorm of the product; or null
  const float* residual;   // [M, N], added at the end; or null
  float eps;
  float* out;  // [M, N]

  void run(ffi::ThreadPool& pool) const {
    const int64_t M = live.count, groups = ceil_div(K, kGroup);
    if (M == 0) return;
    struct Values; struct Scales; struct Starts;
    const QuantisedRows rows{groups, scratch<Values, int8_t>(M * groups * kGroup),
                             scratch<Scales, float>(M * groups),
                             scratch<Starts, int32_t>(M * groups)};
    each_row(pool, K, [&](int64_t m) {
      const float* from = x + live.index[m] * K;
      struct Normed;
      if (norm != nullptr) {
        float* normed = scratch<Normed, float>(K);
        rms_norm(from, norm, K, normed);
        from = normed;
      }
      rows.fill(m, from, K, unit);
    });
    const int64_t width = gate == Gate::kNone ? kTile : kTile / 2;
    const int64_t tiles = ceil_div(N, width), tile_bytes = groups * kGroupBytes;
    const int64_t part = std::clamp<int64_t>(tiles / 64, 1, 16);  // Neighbours stay together.
    parallel_for(pool, ceil_div(tiles, part), [&](int64_t i) {
      constexpr int64_t kRows = 6, kLines = kGroupBytes / 64;
      const int64_t blocks = ceil_div(M, kRows), last = std::min(tiles, (i + 1) * part);
      alignas(64) float sums[kRows * kTile];
      for (int64_t tile = i * part; tile < last; ++tile) {
        // The next tile is fetched while the rows' blocks, of nearly equal heights, go over this.
        const int64_t distance = blocks > 1 ? tile_bytes : 2 * kGroupBytes;
        for (int64_t block = 0; block < blocks; ++block) {
          const int64_t first = M * block / blocks, end = M * (block + 1) / blocks;
          const Ahead ahead{distance, kLines * block / blocks, kLines * (block + 1) / blocks};
          multiply(blob + tile * tile_bytes, rows, first, end - first, sums, ahead);
          for (int64_t m = first; m < end; ++m)
            finish(sums + (m - first) * kTile, std::min(width, N - tile * width),
                   out + live.index[m] * N + tile * width);
        }
      }
    });
    if (post_norm == nullptr && residual == nullptr) return;
    each_row(pool, N, [&](int64_t m) {
      const int64_t row = live.index[m];
      float* y = out + row * N;
      if (post_norm != nullptr) rms_norm(y, post_norm, N, y);
      if (residual == nullptr) return;
      for (int64_t n = 0; n < N; ++n) y[n] += residual[row * N + n];
    });
  }

 private:
  // A few rows are not worth another thread's waking up.
  template <class Body>
  void each_row(ffi::ThreadPool& pool, int64_t columns, const Body& body) const {
    constexpr int64_t kWorthIt = 32768;
    const int64_t M = live.count, part = std::max<int64_t>(1, std::min(M, kWorthIt / columns));
    parallel_for(pool, ceil_div(M, part), [&](int64_t i) {
      for (int64_t m = i * part; m < std::min(M, (i + 1) * part); ++m) body(m);
    });
  }

  void rms_norm(const float* in, const float* scale, int64_t count, float* y) const {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i) sum += in[i] * in[i];
    const float factor = 1.0f / std::sqrt(sum / static_cast<float>(count) + eps);
    for (int64_t i = 0; i < count; ++i) y[i] = in[i] * factor * scale[i];
  }

  // gate * sigmoid(z) * up, where z is gate itself (silu) or what makes it gelu_tanh.
  template <bool kGelu>
  static void activate(const float* gates, const float* ups, int64_t count, float* y) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      const float x = gates[i];
      const float z = kGelu ? 1.5957691216f * (x + 0.044715f * x * x * x) : x;
      const float e = exp_negative(-std::fabs(z));
      y[i] = x * (z < 0 ? e : 1.0f) / (1.0f + e) * ups[i];
    }
  }

  void finish(const float* sums, int64_t count, float* y) const {
    if (gate == Gate::kNone) {
      std::copy(sums, sums + count, y);
      return;
    }
    for (int64_t first = 0; first < count; first += 16) {
      const float* gates = sums + 2 * first;
      const int64_t part = std::min<int64_t>(16, count - first);
      if (gate == Gate::kSilu) activate<false>(gates, gates + 16, part, y + first);
      else activate<true>(gates, gates + 16, part, y + first);
    }
  }
};

}  // namespace pollux
