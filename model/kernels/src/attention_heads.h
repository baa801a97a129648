// Heads of the fused projection, made ready: bias, RMSNorm of queries and keys, rotary embedding.
#pragma once

#include "attention_plan.h"
#include "lanes.h"

namespace pollux {

struct HeadsInput {
  const float* qkv;     // [T, G, R + 2, K]
  const float* bias;    // [G, R + 2, K] or null
  const float* q_norm;  // [K] or null
  const float* k_norm;  // [K] or null
  const float* cos;     // [T, K / 2]
  const float* sin;     // [T, K / 2]
  float eps;
};

class Heads {
 public:
  Heads(const AttentionShape& shape, const HeadsInput& in) : s_(shape), in_(in) {}

  // x: [K]. slot: one of R queries of a KV head.
  void query(int64_t token, int64_t g, int64_t slot, float* x) const {
    read(token, g, slot, x);
    norm(in_.q_norm, x);
    rotate(token, x);
  }

  void key(int64_t token, int64_t g, float* x) const {
    read(token, g, s_.R, x);
    norm(in_.k_norm, x);
    rotate(token, x);
  }

  void value(int64_t token, int64_t g, float* x) const { read(token, g, s_.R + 1, x); }

 private:
  void read(int64_t token, int64_t g, int64_t slot, float* x) const {
    const int64_t K = s_.K, at = g * (s_.R + 2) + slot;
    const float* from = in_.qkv + (token * s_.G * (s_.R + 2) + at) * K;
    if (in_.bias == nullptr) {
      std::copy(from, from + K, x);
      return;
    }
    for (int64_t i = 0; i < K; ++i) x[i] = from[i] + in_.bias[at * K + i];
  }

  void norm(const float* scale, float* x) const {
    if (scale == nullptr) return;
    const int64_t K = s_.K;
    Lanes squares = {};
    for (int64_t i = 0; i < K; i += kLanes) {
      const Lanes some = load_some(x + i, K - i);
      squares += some * some;
    }
    const float factor = 1.0f / std::sqrt(sum_of(squares) / static_cast<float>(K) + in_.eps);
    for (int64_t i = 0; i < K; ++i) x[i] = x[i] * factor * scale[i];
  }

  void rotate(int64_t token, float* x) const {
    const int64_t half = s_.K / 2;
    const float *cos = in_.cos + token * half, *sin = in_.sin + token * half;
    for (int64_t i = 0; i < half; ++i) {
      const float first = x[i], second = x[i + half];
      x[i] = first * cos[i] - second * sin[i];
      x[i + half] = second * cos[i] + first * sin[i];
    }
  }

  AttentionShape s_;
  HeadsInput in_;
};

}  // namespace pollux
