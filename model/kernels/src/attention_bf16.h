// attention_tile.h for bfloat16 on AVX-512: products in pairs, summed in float32.
#pragma once

#include "attention_tile.h"

#if defined(POLLUX_BF16)

namespace pollux {

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

template <>
struct Tile<Bf16> {
  using Query = Bf16;

  static int query_size(int K) { return columns(K); }

  static void prepare(const float* x, float scale, int K, Query* q) {
    for (int i = 0; i < K; ++i) q[i] = kept<Bf16>(widen(kept<Bf16>(x[i])) * scale);
    std::fill(q + K, q + query_size(K), Bf16{});
  }

  static int columns(int K) { return static_cast<int>(round_up(K, 32)); }

  static void score(const Query* q, int rows, const Page<Bf16>& page, int seen, int K,
                    float* scores, int stride) {
    int s = 0;
    for (; s + 4 <= seen; s += 4) score_rows<4>(q, rows, page, s, K, scores + s, stride);
    for (; s < seen; ++s) score_rows<1>(q, rows, page, s, K, scores + s, stride);
  }

  static void mix(const float* weights, int stride, const float* fade, int rows,
                  const Page<Bf16>& page, int seen, int K, float* mixed) {
    const int C = columns(K);
    Bf16* narrowed = scratch<Tile<Bf16>, Bf16>(static_cast<size_t>(rows) * stride);
    for (int i = 0; i < rows * stride; i += kLanes) {
      const __m256i some = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(weights + i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(narrowed + i), some);
    }
    int r = 0;
    const T* ahead = page.next_k;
    for (; r + 4 <= rows; r += 4, ahead = nullptr)
      mix_block<4>(narrowed + r * stride, stride, fade + r, page.v, seen, K, mixed + r * C, ahead);
    const Bf16* rest = narrowed + r * stride;
    float* out = mixed + r * C;
    if (rows - r == 3) mix_block<3>(rest, stride, fade + r, page.v, seen, K, out, ahead);
    if (rows - r == 2) mix_block<2>(rest, stride, fade + r, page.v, seen, K, out, ahead);
    if (rows - r == 1) mix_block<1>(rest, stride, fade + r, page.v, seen, K, out, ahead);
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

 private:
  using T = Bf16;

  static __mmask32 tail(int64_t left) { return left >= 32 ? ~0u : (1u << left) - 1; }

  // Pages lie anywhere, and are read across: the hardware does not see what comes next.
  static void fetch(const T* ahead, int64_t offset) {
    if (ahead != nullptr) _mm_prefetch(ahead + offset, _MM_HINT_T1);
  }

  template <int Keys>
  static void score_rows(const Query* q, int rows, const Page<T>& page, int s, int K,
                         float* scores, int stride) {
    const int C = query_size(K);
    const T *keys = page.k + s * K, *ahead = page.v + s * K;
    int r = 0;
    for (; r + 4 <= rows; r += 4, ahead = nullptr)
      score_block<4, Keys>(q + r * C, keys, K, scores + r * stride, stride, ahead);
    const Query* rest = q + r * C;
    float* out = scores + r * stride;
    if (rows - r == 3) score_block<3, Keys>(rest, keys, K, out, stride, ahead);
    if (rows - r == 2) score_block<2, Keys>(rest, keys, K, out, stride, ahead);
    if (rows - r == 1) score_block<1, Keys>(rest, keys, K, out, stride, ahead);
  }

  template <int Rows, int Keys>
  static void score_block(const Query* q, const T* keys, int64_t K, float* scores, int64_t stride,
                          const T* ahead) {
    const int64_t C = round_up(K, 32);
    __m512 sum[Rows][4];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) sum[r][s] = _mm512_setzero_ps();
    for (int64_t i = 0; i < K; i += 32) {
      const __mmask32 mask = tail(K - i);
      __m512bh key[Keys];
#pragma GCC unroll 4
      for (int s = 0; s < Keys; ++s) fetch(ahead, s * K + i);
#pragma GCC unroll 4
      for (int s = 0; s < Keys; ++s)
        key[s] = (__m512bh)_mm512_maskz_loadu_epi16(mask, keys + s * K + i);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const __m512bh query = (__m512bh)_mm512_loadu_si512(q + r * C + i);
#pragma GCC unroll 4
        for (int s = 0; s < Keys; ++s) sum[r][s] = _mm512_dpbf16_ps(sum[r][s], query, key[s]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const __m128 four = sums(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
      _mm_mask_storeu_ps(scores + r * stride, (1 << Keys) - 1, four);
    }
  }

  // weights: those of two positions lie in each half of 32 bits, as their values will.
  template <int Rows>
  static void mix_block(const Bf16* weights, int64_t stride, const float* fade, const T* values,
                        int64_t seen, int64_t K, float* mixed, const T* ahead) {
    const int64_t C = round_up(K, 32);
    for (int64_t i = 0; i < K; i += 32) {
      const __mmask32 mask = tail(K - i);
      __m512 low[Rows], high[Rows];
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const __m512 keep = _mm512_set1_ps(fade[r]);
        low[r] = _mm512_mul_ps(_mm512_load_ps(mixed + r * C + i), keep);
        high[r] = _mm512_mul_ps(_mm512_load_ps(mixed + r * C + i + 16), keep);
      }
      for (int64_t s = 0; s < seen; s += 2) {
        const T* at = values + s * K + i;
        fetch(ahead, s * K + i);
        fetch(ahead, (s + 1) * K + i);
        const __m512i a = _mm512_maskz_loadu_epi16(mask, at);
        const __m512i b = _mm512_maskz_loadu_epi16(s + 1 < seen ? mask : 0, at + K);
        const __m512bh lo = (__m512bh)_mm512_unpacklo_epi16(a, b);
        const __m512bh hi = (__m512bh)_mm512_unpackhi_epi16(a, b);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
          int32_t two;
          std::memcpy(&two, weights + r * stride + s, sizeof two);
          const __m512bh weight = (__m512bh)_mm512_set1_epi32(two);
          low[r] = _mm512_dpbf16_ps(low[r], lo, weight);
          high[r] = _mm512_dpbf16_ps(high[r], hi, weight);
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        _mm512_store_ps(mixed + r * C + i, low[r]);
        _mm512_store_ps(mixed + r * C + i + 16, high[r]);
      }
    }
  }
};

}  // namespace pollux

#endif
