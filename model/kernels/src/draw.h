// One token of each row of logits: the likeliest, or one drawn by inverting the distribution in
// id order. Rows are independent, so what else is in a batch changes nothing.
#pragma once

#include <algorithm>
#include <limits>

#include "candidates.h"
#include "numeric.h"
#include "parallel.h"
#include "rows.h"

namespace pollux {

struct Draw {
  int64_t V;
  LiveRows live;             // of the R rows; the others are neither read nor written
  const float* logits;       // [R, V]
  const float* temperature;  // [R], 0 is greedy
  const float* uniform;      // [R], in [0, 1)
  const int32_t* top_k;      // [R], 0 is off
  const float* top_p;        // [R], 1 is off
  const float* min_p;        // [R], 0 is off
  int32_t* token;            // [R]
  float* log_total;          // [R], log of the sum of exp(logits); NaN if a logit is

  void run(ffi::ThreadPool& pool) const {
    parallel_for(pool, live.count, [this](int64_t i) { one(live.index[i]); });
  }

 private:
  static constexpr int64_t kBlock = 512;

  // Sum of exp((x - most) * factor).
  static float mass(const float* x, int64_t count, float most, float factor) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i) sum += exp_negative((x[i] - most) * factor);
    return sum;
  }

  void one(int64_t r) const {
    const float* x = logits + r * V;
    float most = -std::numeric_limits<float>::infinity();  // Of those that are numbers.
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < V; ++i) most = std::max(most, x[i]);
    const bool draws = temperature[r] > 0;
    const float factor = draws ? 1.0f / std::max(temperature[r], 1e-5f) : 1.0f;
    const int64_t blocks = (V + kBlock - 1) / kBlock;
    float* masses = scratch<Draw, float>(blocks);
    double all = 0, weighted = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t count = std::min(kBlock, V - b * kBlock);
      const float plain = mass(x + b * kBlock, count, most, 1.0f);
      masses[b] = factor == 1.0f ? plain : mass(x + b * kBlock, count, most, factor);
      all += plain;
      weighted += masses[b];
    }
    log_total[r] = most + static_cast<float>(std::log(all));
    if (!draws || std::isnan(weighted)) {
      token[r] = first(x, most);
    } else if (top_k[r] > 0 || top_p[r] < 1 || min_p[r] > 0) {
      Candidates left(x, V, most, factor);
      token[r] = left.draw(top_k[r], top_p[r], min_p[r], weighted, uniform[r]);
    } else {
      const double goal = static_cast<double>(uniform[r]) * weighted;
      token[r] = static_cast<int32_t>(pick(x, masses, blocks, most, factor, goal));
    }
  }

  int32_t first(const float* x, float most) const {
    const int64_t at = std::find(x, x + V, most) - x;
    return static_cast<int32_t>(at < V ? at : 0);
  }

  // The id at which the cumulative weight passes `goal`; the last one with weight if rounding
  // leaves none.
  int64_t pick(const float* x, const float* masses, int64_t blocks, float most, float factor,
               double goal) const {
    int64_t block = 0, last = 0;
    for (double before = 0; block < blocks; goal -= before, ++block) {
      before = masses[block];
      if (before > 0) last = block;
      if (before > goal) break;
    }
    if (block == blocks) {
      block = last;
      goal = masses[last];
    }
    double sum = 0;
    int64_t found = block * kBlock;
    for (int64_t i = block * kBlock; i < std::min(V, (block + 1) * kBlock); ++i) {
      const float weight = exp_negative((x[i] - most) * factor);
      if (weight <= 0) continue;
      found = i;
      sum += weight;
      if (sum > goal) break;
    }
    return found;
  }
};

}  // namespace pollux
