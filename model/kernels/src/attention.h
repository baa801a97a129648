// Causal attention over paged KV for one layer, from the fused projection to the mixed values:
// bias, RMSNorm of queries and keys, rotary embedding, the new rows of the pages, attention.
#pragma once

#include <algorithm>

#include "attention_tile.h"
#include "parallel.h"

namespace pollux {

// B rows, Q positions each, G KV heads, R queries per KV head, K head size, S page size, W pages
// of a row's table.
struct AttentionShape {
  int64_t B, Q, G, R, K, S, W;
};

struct AttentionInput {
  const float* qkv;        // [B, Q, G, R + 2, K]
  const float* bias;       // [G, R + 2, K] or null
  const float* q_norm;     // [K] or null
  const float* k_norm;     // [K] or null
  const float* cos;        // [B, Q, K / 2]
  const float* sin;        // [B, Q, K / 2]
  const int32_t* table;    // [B, W]
  const int32_t* positions;  // [B, Q], -1 is padding
  float scale;
  float eps;
  int64_t window;  // positions seen, the query's own included; 0 is all
};

constexpr int kTileRows = 16;

template <class T, class Out>
class Attention {
 public:
  Attention(const AttentionShape& shape, const AttentionInput& in, T* k_pages, T* v_pages, Out* out)
      : s_(shape), in_(in), k_pages_(k_pages), v_pages_(v_pages), out_(out) {}

  void run(ffi::ThreadPool& pool) const {
    const int64_t heads = s_.B * s_.G;
    if (s_.Q == 1) {  // A row's own page is read by no other row: one pass.
      parallel_for(pool, heads, [this](int64_t i) {
        store(i / s_.G, 0, i % s_.G);
        attend_all(i / s_.G, i % s_.G);
      });
      return;
    }
    constexpr int64_t kPositions = 16;
    const int64_t parts = (s_.Q + kPositions - 1) / kPositions;
    parallel_for(pool, s_.B * parts, [&](int64_t i) {
      const int64_t first = i % parts * kPositions;
      for (int64_t q = first; q < std::min(first + kPositions, s_.Q); ++q)
        for (int64_t g = 0; g < s_.G; ++g) store(i / parts, q, g);
    });
    const int64_t rows = s_.Q * s_.R, tiles = (rows + kTileRows - 1) / kTileRows;
    parallel_for(pool, heads * tiles, [&](int64_t i) {
      // The last tiles see most: they go first, so that no thread is left alone with one.
      const int64_t tile = tiles - 1 - i / heads, head = i % heads;
      attend(head / s_.G, head % s_.G, tile * kTileRows);
    });
  }

 private:
  struct Queries;
  struct Masked;
  struct Sums;

  int64_t position(int64_t b, int64_t q) const { return in_.positions[b * s_.Q + q]; }

  // One head's vector of the projection: bias, norm and rotation applied.
  void head(int64_t b, int64_t q, int64_t g, int64_t slot, const float* norm, bool rotate,
            float* x) const {
    const int64_t K = s_.K, at = g * (s_.R + 2) + slot;
    const float* from = in_.qkv + ((b * s_.Q + q) * s_.G * (s_.R + 2) + at) * K;
    for (int64_t i = 0; i < K; ++i) x[i] = from[i] + (in_.bias ? in_.bias[at * K + i] : 0.0f);
    if (norm != nullptr) {
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < K; ++i) sum += x[i] * x[i];
      const float factor = 1.0f / std::sqrt(sum / static_cast<float>(K) + in_.eps);
      for (int64_t i = 0; i < K; ++i) x[i] = x[i] * factor * norm[i];
    }
    if (!rotate) return;
    const int64_t half = K / 2;
    const float* cos = in_.cos + (b * s_.Q + q) * half;
    const float* sin = in_.sin + (b * s_.Q + q) * half;
    for (int64_t i = 0; i < half; ++i) {
      const float first = x[i], second = x[i + half];
      x[i] = first * cos[i] - second * sin[i];
      x[i + half] = second * cos[i] + first * sin[i];
    }
  }

  void store(int64_t b, int64_t q, int64_t g) const {
    const int64_t at = position(b, q), K = s_.K;
    if (at < 0 || at / s_.S >= s_.W) return;
    float* x = scratch<Queries, float>(K);
    const int64_t page = in_.table[b * s_.W + at / s_.S];
    const int64_t offset = ((page * s_.G + g) * s_.S + at % s_.S) * K;
    head(b, q, g, s_.R, in_.k_norm, true, x);
    for (int64_t i = 0; i < K; ++i) k_pages_[offset + i] = narrow<T>(x[i]);
    head(b, q, g, s_.R + 1, nullptr, false, x);
    for (int64_t i = 0; i < K; ++i) v_pages_[offset + i] = narrow<T>(x[i]);
  }

  void attend_all(int64_t b, int64_t g) const {
    for (int64_t first = 0; first < s_.R; first += kTileRows) attend(b, g, first);
  }

  // Query rows [first, first + kTileRows) of a row's Q x R, one KV head.
  void attend(int64_t b, int64_t g, int64_t first) const {
    const int64_t K = s_.K, S = s_.S;
    const int rows = static_cast<int>(std::min<int64_t>(kTileRows, s_.Q * s_.R - first));
    const int columns = Tile<T>::columns(static_cast<int>(K));
    T* queries = scratch<T, T>(rows * K);
    float* wide = scratch<Queries, float>(K);
    float* scores = scratch<Masked, float>(rows * S);
    float* mixed = scratch<Sums, float>(static_cast<size_t>(rows) * columns);
    std::fill(mixed, mixed + rows * columns, 0.0f);
    float peak[kTileRows], total[kTileRows], fade[kTileRows];
    int64_t low[kTileRows], high[kTileRows];  // A row sees positions [low, high].
    int64_t lowest = INT64_MAX, highest = -1;
    for (int r = 0; r < rows; ++r) {
      const int64_t q = (first + r) / s_.R, slot = (first + r) % s_.R;
      high[r] = std::min(position(b, q), s_.W * S - 1);
      low[r] = in_.window > 0 ? std::max<int64_t>(0, high[r] - in_.window + 1) : 0;
      peak[r] = -1e30f;
      total[r] = 0;
      if (high[r] >= 0) lowest = std::min(lowest, low[r]);
      highest = std::max(highest, high[r]);
      head(b, q, g, slot, in_.q_norm, true, wide);
      // Rounded before and after scaling, as the reference does.
      for (int64_t i = 0; i < K; ++i)
        queries[r * K + i] = narrow<T>(widen(narrow<T>(wide[i])) * in_.scale);
    }
    for (int64_t block = highest < 0 ? 0 : lowest / S; block * S <= highest; ++block) {
      const int64_t page = in_.table[b * s_.W + block];
      const int64_t offset = (page * s_.G + g) * S * K;
      const int seen = static_cast<int>(std::min(S, highest - block * S + 1));
      const int64_t next = (block + 1) * S <= highest ? in_.table[b * s_.W + block + 1] : page;
      Tile<T>::score(queries, rows, k_pages_ + offset, seen, static_cast<int>(K), scores,
                     v_pages_ + offset);
      for (int r = 0; r < rows; ++r)
        soften(scores + r * seen, seen, low[r] - block * S, high[r] - block * S, &peak[r],
               &total[r], &fade[r]);
      Tile<T>::mix(scores, fade, rows, v_pages_ + offset, seen, static_cast<int>(K), mixed,
                   k_pages_ + (next * s_.G + g) * S * K);
    }
    for (int r = 0; r < rows; ++r) {
      const int64_t q = (first + r) / s_.R, slot = (first + r) % s_.R;
      Out* out = out_ + (((b * s_.Q + q) * s_.G + g) * s_.R + slot) * K;
      Tile<T>::unmix(mixed + r * columns, static_cast<int>(K), 1.0f / std::max(total[r], 1e-30f),
                     wide);
      for (int64_t i = 0; i < K; ++i) out[i] = narrow<Out>(wide[i]);
    }
  }

  // Scores of one row and page become weights; those outside [low, high] count nothing.
  static void soften(float* scores, int count, int64_t low, int64_t high, float* peak,
                     float* total, float* fade) {
    const int first = static_cast<int>(std::clamp<int64_t>(low, 0, count));
    const int end = static_cast<int>(std::clamp<int64_t>(high + 1, first, count));
    std::fill(scores, scores + first, 0.0f);
    std::fill(scores + end, scores + count, 0.0f);
    float most = *peak;
#pragma omp simd reduction(max : most)
    for (int i = first; i < end; ++i) most = std::max(most, scores[i]);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = first; i < end; ++i) {
      scores[i] = exp_negative(scores[i] - most);
      sum += scores[i];
    }
    *fade = exp_negative(*peak - most);
    *total = *total * *fade + sum;
    *peak = most;
  }

  AttentionShape s_;
  AttentionInput in_;
  T* k_pages_;
  T* v_pages_;
  Out* out_;
};

}  // namespace pollux
