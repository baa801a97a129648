// y = x W' over packed weights, with what surrounds it in a decoder layer: RMSNorm before;
// a gated activation, or an RMSNorm and the residual stream, after.
#pragma once

#include "parallel.h"
#include "product.h"
#include "rows.h"

namespace pollux {

enum class Gate : int32_t { kNone = 0, kSilu = 1, kGeluTanh = 2 };

template <class Format>
struct Linear {
  int64_t K, N;            // inputs, columns of `out`
  LiveRows live;           // of the M rows of x and out; the others are neither read nor written
  const float* x;          // [M, K]
  const float* norm;       // [K]: RMSNorm of x first; or null
  const uint8_t* blob;     // W: [N, K]; gated: [2 N, K], 16 gates, their 16 ups, ...
  float unit;
  Gate gate;
  const float* post_norm;  // [N]: RMSNorm of the product; or null
  const float* residual;   // [M, N], added at the end; or null
  float eps;
  float* out;  // [M, N]

  void run(ffi::ThreadPool& pool) const {
    const int64_t M = live.count, groups = ceil_div(K, kGroup);
    struct Values; struct Scales; struct Starts; struct Sums;
    const QuantisedRows rows{groups, scratch<Values, int8_t>(M * groups * kGroup),
                             scratch<Scales, float>(M * groups),
                             scratch<Starts, int32_t>(M * groups),
                             scratch<Sums, float>(M * groups)};
    const int64_t tiles = ceil_div(N, width());
    const int64_t part = std::clamp<int64_t>(tiles / 64, 1, 32);  // Neighbours stay together.
    const auto quantise = by_rows(K, [&](int64_t m) { fill(rows, m); });
    const auto product = [&](int64_t i) {
      for (int64_t tile = i * part; tile < std::min(tiles, (i + 1) * part); ++tile)
        multiply_tile(rows, tile);
    };
    const auto after = by_rows(N, [&](int64_t m) { finish_row(live.index[m]); });
    const bool finishes = post_norm != nullptr || residual != nullptr;
    run_phases(pool, std::array{phase(quantise.count, quantise),
                                phase(M > 0 ? ceil_div(tiles, part) : 0, product),
                                phase(finishes ? after.count : 0, after)});
  }

 private:
  // A few rows are not worth another thread's waking up.
  template <class Body>
  struct ByRows {
    int64_t rows, part, count;
    Body body;

    void operator()(int64_t i) const {
      for (int64_t m = i * part; m < std::min(rows, (i + 1) * part); ++m) body(m);
    }
  };

  template <class Body>
  ByRows<Body> by_rows(int64_t columns, const Body& body) const {
    constexpr int64_t kWorthIt = 8192;
    const int64_t part = std::clamp<int64_t>(kWorthIt / columns, 1, std::max<int64_t>(live.count, 1));
    return {live.count, part, ceil_div(live.count, part), body};
  }

  int64_t width() const { return gate == Gate::kNone ? kTile : kTile / 2; }

  void fill(const QuantisedRows& rows, int64_t m) const {
    const float* from = x + live.index[m] * K;
    struct Normed;
    if (norm != nullptr) {
      float* normed = scratch<Normed, float>(K);
      rms_norm(from, norm, K, normed);
      from = normed;
    }
    rows.fill(m, from, K, unit, Format::kOffset);
  }

  void multiply_tile(const QuantisedRows& rows, int64_t tile) const {
    constexpr int64_t kRows = 64;  // Their sums stay in the first cache.
    alignas(64) float sums[kRows * kTile];
    const int64_t column = tile * width(), columns = std::min(width(), N - column);
    for (int64_t first = 0; first < live.count; first += kRows) {
      const int64_t count = std::min(kRows, live.count - first);
      multiply<Format>(blob + tile * rows.groups * Format::kBytes, rows, first, count, sums);
      for (int64_t m = 0; m < count; ++m)
        put(sums + m * kTile, columns, out + live.index[first + m] * N + column);
    }
  }

  void put(const float* sums, int64_t columns, float* y) const {
    switch (gate) {
      case Gate::kNone:
        if (columns == kTile) std::memcpy(y, sums, kTile * sizeof(float));
        else std::copy(sums, sums + columns, y);
        return;
      case Gate::kSilu: activate<false>(sums, sums + kTile / 2, columns, y); return;
      case Gate::kGeluTanh: activate<true>(sums, sums + kTile / 2, columns, y); return;
    }
  }

  void finish_row(int64_t row) const {
    float* y = out + row * N;
    if (post_norm != nullptr) rms_norm(y, post_norm, N, y);
    if (residual == nullptr) return;
    for (int64_t n = 0; n < N; ++n) y[n] += residual[row * N + n];
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
};

}  // namespace pollux
