// A few query rows against one page of keys and values: scores, and the weighted sum of values.
//
// Rows lie K apart. Values are summed into float accumulators whose columns may be in another
// order while a softmax runs ("mixed order"); `unmix` puts them right at the end.
#pragma once

#include "numeric.h"

namespace pollux {

// Portable: what the compiler's vectoriser makes of it.
template <class T>
struct Tile {
  // Accumulated columns of a row of K.
  static int columns(int K) { return K; }

  // scores[row * S + s] = q[row] . keys[s]. ahead: S rows that are read soon.
  static void score(const T* q, int rows, const T* keys, int S, int K, float* scores,
                    const T* /*ahead*/) {
    for (int row = 0; row < rows; ++row) {
      for (int s = 0; s < S; ++s) {
        const T *a = q + row * K, *b = keys + s * K;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < K; ++i) sum += widen(a[i]) * widen(b[i]);
        scores[row * S + s] = sum;
      }
    }
  }

  // mixed[row] = mixed[row] * fade[row] + sum over s of weights[row * S + s] * values[s]
  static void mix(const float* weights, const float* fade, int rows, const T* values, int S, int K,
                  float* mixed, const T* /*ahead*/) {
    for (int row = 0; row < rows; ++row) {
      float* out = mixed + row * K;
      const float keep = fade[row];
#pragma omp simd
      for (int i = 0; i < K; ++i) out[i] *= keep;
      for (int s = 0; s < S; ++s) {
        const float weight = weights[row * S + s];
        if (weight == 0) continue;
        const T* value = values + s * K;
#pragma omp simd
        for (int i = 0; i < K; ++i) out[i] += weight * widen(value[i]);
      }
    }
  }

  static void unmix(const float* mixed, int K, float scale, float* out) {
#pragma omp simd
    for (int i = 0; i < K; ++i) out[i] = mixed[i] * scale;
  }
};

#if defined(POLLUX_BF16)

// Sums of four vectors, as one vector of four.
inline __m128 sums(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512d lo = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
  const __m512d hi = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
  const __m512 all = _mm512_add_ps(_mm512_castpd_ps(lo), _mm512_castpd_ps(hi));
  const __m256 half =
      _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

inline __mmask32 tail(int left) { return left >= 32 ? ~0u : (1u << left) - 1; }

// bfloat16 products in pairs, summed in float32.
template <>
struct Tile<Bf16> {
  static int columns(int K) { return (K + 31) / 32 * 32; }

  // Pages lie anywhere, and are read across: the hardware does not see what comes next.
  static void fetch(const Bf16* ahead, int offset) {
    if (ahead != nullptr) _mm_prefetch(ahead + offset, _MM_HINT_T1);
  }

  template <int Rows, int Keys>
  static void score_block(const Bf16* q, const Bf16* keys, int S, int K, float* scores,
                          const Bf16* ahead) {
    __m512 sum[Rows][4];
    for (int r = 0; r < Rows; ++r)
      for (int s = 0; s < 4; ++s) sum[r][s] = _mm512_setzero_ps();
    for (int i = 0; i < K; i += 32) {
      const __mmask32 mask = tail(K - i);
      __m512bh key[Keys];
      for (int s = 0; s < Keys; ++s) fetch(ahead, s * K + i);
      for (int s = 0; s < Keys; ++s)
        key[s] = (__m512bh)_mm512_maskz_loadu_epi16(mask, keys + s * K + i);
      for (int r = 0; r < Rows; ++r) {
        const __m512bh query = (__m512bh)_mm512_maskz_loadu_epi16(mask, q + r * K + i);
        for (int s = 0; s < Keys; ++s) sum[r][s] = _mm512_dpbf16_ps(sum[r][s], query, key[s]);
      }
    }
    for (int r = 0; r < Rows; ++r) {
      const __m128 four = sums(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
      _mm_mask_storeu_ps(scores + r * S, (1 << Keys) - 1, four);
    }
  }

  template <int Keys>
  static void score_rows(const Bf16* q, int rows, const Bf16* keys, int S, int K, float* scores,
                         const Bf16* ahead) {
    int row = 0;
    for (; row + 4 <= rows; row += 4, ahead = nullptr)
      score_block<4, Keys>(q + row * K, keys, S, K, scores + row * S, ahead);
    const Bf16* rest = q + row * K;
    float* out = scores + row * S;
    if (rows - row == 3) score_block<3, Keys>(rest, keys, S, K, out, ahead);
    if (rows - row == 2) score_block<2, Keys>(rest, keys, S, K, out, ahead);
    if (rows - row == 1) score_block<1, Keys>(rest, keys, S, K, out, ahead);
  }

  static void score(const Bf16* q, int rows, const Bf16* keys, int S, int K, float* scores,
                    const Bf16* ahead) {
    int s = 0;
    for (; s + 4 <= S; s += 4)
      score_rows<4>(q, rows, keys + s * K, S, K, scores + s, ahead ? ahead + s * K : nullptr);
    for (; s < S; ++s)
      score_rows<1>(q, rows, keys + s * K, S, K, scores + s, ahead ? ahead + s * K : nullptr);
  }

  // Weights of two positions, one in each half of a 32-bit lane.
  static uint32_t pair(float first, float second) {
    return narrow<Bf16>(first).bits | uint32_t{narrow<Bf16>(second).bits} << 16;
  }

  template <int Rows>
  static void mix_block(const uint32_t* pairs, const float* fade, const Bf16* values, int S, int K,
                        float* mixed, const Bf16* ahead) {
    const int C = columns(K), P = (S + 1) / 2;
    for (int i = 0; i < K; i += 32) {
      const __mmask32 mask = tail(K - i);
      __m512 low[Rows], high[Rows];
      for (int r = 0; r < Rows; ++r) {
        const __m512 keep = _mm512_set1_ps(fade[r]);
        low[r] = _mm512_mul_ps(_mm512_load_ps(mixed + r * C + i), keep);
        high[r] = _mm512_mul_ps(_mm512_load_ps(mixed + r * C + i + 16), keep);
      }
      for (int p = 0; p < P; ++p) {
        const Bf16* at = values + 2 * p * K + i;
        fetch(ahead, 2 * p * K + i);
        fetch(ahead, (2 * p + 1) * K + i);
        const __m512i a = _mm512_maskz_loadu_epi16(mask, at);
        const __m512i b = _mm512_maskz_loadu_epi16(2 * p + 1 < S ? mask : 0, at + K);
        const __m512bh lo = (__m512bh)_mm512_unpacklo_epi16(a, b);
        const __m512bh hi = (__m512bh)_mm512_unpackhi_epi16(a, b);
        for (int r = 0; r < Rows; ++r) {
          const __m512bh weight = (__m512bh)_mm512_set1_epi32(pairs[r * P + p]);
          low[r] = _mm512_dpbf16_ps(low[r], lo, weight);
          high[r] = _mm512_dpbf16_ps(high[r], hi, weight);
        }
      }
      for (int r = 0; r < Rows; ++r) {
        _mm512_store_ps(mixed + r * C + i, low[r]);
        _mm512_store_ps(mixed + r * C + i + 16, high[r]);
      }
    }
  }

  static void mix(const float* weights, const float* fade, int rows, const Bf16* values, int S,
                  int K, float* mixed, const Bf16* ahead) {
    const int C = columns(K), P = (S + 1) / 2;
    uint32_t* pairs = scratch<Tile<Bf16>, uint32_t>(static_cast<size_t>(rows) * P);
    for (int r = 0; r < rows; ++r)
      for (int p = 0; p < P; ++p) {
        const float* w = weights + r * S + 2 * p;
        pairs[r * P + p] = pair(w[0], 2 * p + 1 < S ? w[1] : 0.0f);
      }
    int r = 0;
    for (; r + 4 <= rows; r += 4, ahead = nullptr)
      mix_block<4>(pairs + r * P, fade + r, values, S, K, mixed + r * C, ahead);
    const uint32_t* rest = pairs + r * P;
    float* out = mixed + r * C;
    if (rows - r == 3) mix_block<3>(rest, fade + r, values, S, K, out, ahead);
    if (rows - r == 2) mix_block<2>(rest, fade + r, values, S, K, out, ahead);
    if (rows - r == 1) mix_block<1>(rest, fade + r, values, S, K, out, ahead);
  }

  // A vector holds columns 0-3, 8-11, ... of 32, the next one 4-7, 12-15, ...
  static void unmix(const float* mixed, int K, float scale, float* out) {
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    const __m512 by = _mm512_set1_ps(scale);
    for (int i = 0; i < K; i += 32) {
      const __mmask32 mask = tail(K - i);
      const __m512 low = _mm512_mul_ps(_mm512_load_ps(mixed + i), by);
      const __m512 high = _mm512_mul_ps(_mm512_load_ps(mixed + i + 16), by);
      _mm512_mask_storeu_ps(out + i, static_cast<__mmask16>(mask),
                            _mm512_permutex2var_ps(low, first, high));
      _mm512_mask_storeu_ps(out + i + 16, static_cast<__mmask16>(mask >> 16),
                            _mm512_permutex2var_ps(low, second, high));
    }
  }
};

#endif

}  // namespace pollux
