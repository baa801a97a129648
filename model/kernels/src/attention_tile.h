// A few query rows against one page of keys and values: scores, and the weighted sum of values.
//
// A row's result is the same whichever rows go with it. Scores and weights lie `stride` apart, a
// multiple of kLanes. Values are summed into float accumulators whose columns may be in another
// order while a softmax runs ("mixed order"); `unmix` puts them right at the end.
#pragma once

#include "lanes.h"

namespace pollux {

// One KV head of a page: [S, K] each. Scales are there for bytes only: [S].
template <class T>
struct Page {
  const T* k;
  const T* v;
  const float* k_scale;
  const float* v_scale;
  const T* next_k;  // Read after this one.
};

inline float nan_to_num(float x) {
  const uint32_t bits = bits_of(x), size = bits & 0x7FFFFFFFu;
  if (size < 0x7F800000u) return x;
  return size > 0x7F800000u ? 0.0f : float_of((bits & 0x80000000u) | 0x7F7FFFFFu);
}

inline Bf16 nan_to_num(Bf16 x) {
  const uint16_t size = x.bits & 0x7FFF;
  if (size < 0x7F80) return x;
  return Bf16{static_cast<uint16_t>(size > 0x7F80 ? 0 : (x.bits & 0x8000) | 0x7F7F)};
}

// As a query or a page keeps it.
template <class T>
T kept(float x) {
  // narrow() is for numbers: a NaN with all bits set would come out as zero.
  return x == x ? narrow<T>(x) : narrow<T>(float_of(0x7FC00000u));
}

// A key or value for its page. Pages pass from one request to another, and an overflow in one must
// end with it: what a query does not see has weight 0, but 0 times infinity is not 0.
template <class T>
void keep(const float* x, int64_t K, T* out, float* /*scale*/) {
  for (int64_t i = 0; i < K; ++i) out[i] = nan_to_num(kept<T>(x[i]));
}

// Portable: what the compiler makes of Lanes.
template <class T>
struct Tile {
  using Query = T;

  static int query_size(int K) { return static_cast<int>(round_up(K, kLanes)); }

  // Rounded before and after scaling, as the reference does.
  static void prepare(const float* x, float scale, int K, Query* q) {
    for (int i = 0; i < K; ++i) q[i] = kept<T>(widen(kept<T>(x[i])) * scale);
    std::fill(q + K, q + query_size(K), T{});
  }

  // Accumulated columns of a row of K.
  static int columns(int K) { return static_cast<int>(round_up(K, kLanes)); }

  // scores[row * stride + s] = q[row] . k[s] for s < seen
  static void score(const Query* q, int rows, const Page<T>& page, int seen, int K, float* scores,
                    int stride) {
    for (int row = 0; row < rows; ++row, q += query_size(K), scores += stride) {
      int s = 0;
      for (; s + 4 <= seen; s += 4) dots<4>(q, page.k + s * K, K, scores + s);
      for (; s < seen; ++s) dots<1>(q, page.k + s * K, K, scores + s);
    }
  }

  // mixed[row] = mixed[row] * fade[row] + sum over s < seen of weights[row * stride + s] * v[s]
  static void mix(const float* weights, int stride, const float* fade, int rows,
                  const Page<T>& page, int seen, int K, float* mixed) {
    for (int row = 0; row < rows; ++row, weights += stride, mixed += columns(K)) {
      for (int i = 0; i < K; i += kLanes) {
        Lanes sum = load(mixed + i) * fade[row];
        for (int s = 0; s < seen; ++s) sum += weights[s] * load_some(page.v + s * K + i, K - i);
        store(sum, mixed + i);
      }
    }
  }

  static void unmix(const float* mixed, int K, float scale, float* out) {
    for (int i = 0; i < K; i += kLanes) store_some(load(mixed + i) * scale, out + i, K - i);
  }

 private:
  template <int Keys>
  static void dots(const Query* q, const T* keys, int K, float* scores) {
    Lanes sum[Keys] = {};
    for (int i = 0; i < K; i += kLanes) {
      const Lanes query = load(q + i);
      for (int s = 0; s < Keys; ++s) sum[s] += query * load_some(keys + s * K + i, K - i);
    }
    for (int s = 0; s < Keys; ++s) scores[s] = sum_of(sum[s]);
  }
};

}  // namespace pollux
