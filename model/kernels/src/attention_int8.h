// attention_tile.h for pages of bytes: a key or value of K is K bytes and a float scale.
//
// All products are of integers, so their sums are exact in any order, on any CPU. Queries (by row)
// and weights (by row and page) are scaled to 16 bits and kept as two planes of bytes, the high and
// the low ones: what a page loses is lost when it is written, not again when it is read.
#pragma once

#include "attention_tile.h"

namespace pollux {

// Where sums of 32 bits hold: 127 * 32512 * K and 65535 * 127 * S.
constexpr int64_t kMaxInt8K = 512, kMaxInt8S = 256;

// The largest size of numbers, zero of none.
inline float largest(const float* x, int64_t count) {
  Lanes most = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Lanes some = load_some(x + i, count - i);
    most = max(max(some, -some), most);
  }
  return max_of(most);
}

// What is smaller is taken for zero: its inverse would overflow.
constexpr float kLeastScaled = 1e-30f;

template <>
inline void keep(const float* x, int64_t K, int8_t* out, float* scale) {
  float* tame = scratch<int8_t, float>(K);
  // A little less than the largest float, which 127 times its 127th part may exceed.
  for (int64_t i = 0; i < K; ++i) tame[i] = std::clamp(nan_to_num(x[i]), -3e38f, 3e38f);
  const float most = largest(tame, K);
  const float factor = most < kLeastScaled ? 0.0f : 127.0f / most;
  *scale = most < kLeastScaled ? 0.0f : most / 127.0f;
  for (int64_t i = 0; i < K; ++i) out[i] = static_cast<int8_t>(std::nearbyint(tame[i] * factor));
}

template <>
struct Tile<int8_t> {
  // High bytes [plane], low bytes [plane], then Tail.
  using Query = int8_t;
  struct Tail {
    float step;      // What one is worth.
    int32_t offset;  // Sum of the products with 128, to be taken off where keys are unsigned.
  };

  static int plane(int K) { return static_cast<int>(round_up(K, 64)); }
  static int query_size(int K) { return 2 * plane(K) + 64; }
  static int columns(int K) { return plane(K); }

  static void prepare(const float* x, float scale, int K, Query* q) {
    std::fill(q, q + query_size(K), int8_t{0});
    const float most = largest(x, K);
    Tail tail{most / 32512.0f * scale, 0};
    bool finite = true;
    for (int i = 0; i < K; ++i) finite &= nan_to_num(x[i]) == x[i];
    if (!finite) tail.step = float_of(0x7FC00000u);
    if (finite && most >= kLeastScaled) {
      const float factor = 32512.0f / most;
      for (int i = 0; i < K; ++i) {
        const int32_t value = static_cast<int32_t>(std::nearbyint(x[i] * factor));
        const int32_t high = (value + 128) >> 8;
        q[i] = static_cast<int8_t>(high);
        q[plane(K) + i] = static_cast<int8_t>(value - 256 * high);
        tail.offset = wrapping_add(tail.offset, 128 * value);
      }
    }
    std::memcpy(q + 2 * plane(K), &tail, sizeof tail);
  }

  static void score(const Query* q, int rows, const Page<int8_t>& page, int seen, int K,
                    float* scores, int stride) {
    dots(q, rows, page, seen, K, scores, stride);
    for (int r = 0; r < rows; ++r) {
      const Tail tail = tail_of(q + r * query_size(K), K);
      for (int s = 0; s < seen; s += kLanes) {
        float* at = scores + r * stride + s;
        const Lanes product = __builtin_convertvector((IntLanes)load(at), Lanes);
        store(product * (load_some(page.k_scale + s, seen - s) * tail.step), at);
      }
    }
  }

  static void mix(const float* weights, int stride, const float* fade, int rows,
                  const Page<int8_t>& page, int seen, int K, float* mixed) {
    uint8_t* levels = scratch<Tile<int8_t>, uint8_t>(2 * static_cast<size_t>(rows) * stride);
    float unit[16];
    for (int r = 0; r < rows; ++r)
      unit[r] = split(weights + r * stride, stride, page, seen, levels + 2 * r * stride);
    sums(levels, stride, unit, fade, rows, page, seen, K, mixed);
  }

  // Of 64 columns lie 0-3, 16-19, 32-35 and 48-51 together, then 4-7, 20-23, ...
  static void unmix(const float* mixed, int K, float scale, float* out) {
    for (int i = 0; i < K; ++i) {
      const int lane = i / 16 % 4, within = i % 16;
      out[i] = mixed[i / 64 * 64 + within / 4 * 16 + 4 * lane + within % 4] * scale;
    }
  }

 private:
  typedef int32_t IntLanes __attribute__((vector_size(64)));
  typedef uint8_t Bytes __attribute__((vector_size(16)));

  static int32_t wrapping_add(int32_t a, int32_t b) {
    return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
  }

  static Tail tail_of(const Query* q, int K) {
    Tail tail;
    std::memcpy(&tail, q + 2 * plane(K), sizeof tail);
    return tail;
  }

  // Weights times the scales of their values, in 16 bits: high bytes [stride], low ones [stride].
  // Returns what one is worth.
  static float split(const float* weights, int stride, const Page<int8_t>& page, int seen,
                     uint8_t* levels) {
    Lanes most = {};
    for (int s = 0; s < seen; s += kLanes)
      most = max(load(weights + s) * load_some(page.v_scale + s, seen - s), most);
    const float wide = max_of(most);
    const float factor = wide < kLeastScaled ? 0.0f : 65535.0f / wide;
    const Lanes full = Lanes{} + 65535.0f;
    for (int s = 0; s < stride; s += kLanes) {
      const Lanes weight = load(weights + s) * load_some(page.v_scale + s, std::max(0, seen - s));
      const Lanes level = weight * factor + 0.5f;
      // Not a number where a query is none: its row's total says so.
      const IntLanes value = __builtin_convertvector(level < full ? level : full, IntLanes);
      const Bytes high = __builtin_convertvector(value >> 8, Bytes);
      const Bytes low = __builtin_convertvector(value & 255, Bytes);
      std::memcpy(levels + s, &high, sizeof high);
      std::memcpy(levels + stride + s, &low, sizeof low);
    }
    return wide < kLeastScaled ? 0.0f : wide / 65535.0f;
  }

#if defined(POLLUX_VNNI)
  static __mmask64 mask_of(int64_t left) { return left >= 64 ? ~0ull : (1ull << left) - 1; }

  static void dots(const Query* q, int rows, const Page<int8_t>& page, int seen, int K,
                   float* scores, int stride) {
    int s = 0;
    for (; s + 4 <= seen; s += 4) dot_rows<4>(q, rows, page, s, K, scores + s, stride);
    for (; s < seen; ++s) dot_rows<1>(q, rows, page, s, K, scores + s, stride);
  }

  template <int Keys>
  static void dot_rows(const Query* q, int rows, const Page<int8_t>& page, int s, int K,
                       float* scores, int stride) {
    const int8_t *keys = page.k + s * K, *ahead = page.v + s * K;
    const int size = query_size(K);
    int r = 0;
    for (; r + 2 <= rows; r += 2, ahead = nullptr)
      dot_block<2, Keys>(q + r * size, keys, K, scores + r * stride, stride, ahead);
    if (r < rows) dot_block<1, Keys>(q + r * size, keys, K, scores + r * stride, stride, ahead);
  }

  template <int Rows, int Keys>
  static void dot_block(const Query* q, const int8_t* keys, int64_t K, float* scores,
                        int64_t stride, const int8_t* ahead) {
    const int64_t P = round_up(K, 64), size = 2 * P + 64;
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    __m512i high[Rows][4], low[Rows][4];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) high[r][s] = low[r][s] = _mm512_setzero_si512();
    for (int64_t i = 0; i < K; i += 64) {
      const __mmask64 mask = mask_of(K - i);
      __m512i key[Keys];
#pragma GCC unroll 4
      for (int s = 0; s < Keys; ++s) {
        if (ahead != nullptr) _mm_prefetch(ahead + s * K + i, _MM_HINT_T1);
        key[s] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, keys + s * K + i), sign);
      }
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const __m512i h = _mm512_load_si512(q + r * size + i);
        const __m512i l = _mm512_load_si512(q + r * size + P + i);
#pragma GCC unroll 4
        for (int s = 0; s < Keys; ++s) {
          high[r][s] = _mm512_dpbusd_epi32(high[r][s], key[s], h);
          low[r][s] = _mm512_dpbusd_epi32(low[r][s], key[s], l);
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      __m512i all[4];
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s)
        all[s] = _mm512_add_epi32(_mm512_slli_epi32(high[r][s], 8), low[r][s]);
      const int32_t offset = tail_of(q + r * size, static_cast<int>(K)).offset;
      const __m128i four = _mm_sub_epi32(four_sums(all), _mm_set1_epi32(offset));
      _mm_mask_storeu_epi32(scores + r * stride, (1 << Keys) - 1, four);
    }
  }

  static __m128i four_sums(const __m512i* x) {
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(x[0], x[1]),
                                        _mm512_unpackhi_epi32(x[0], x[1]));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(x[2], x[3]),
                                        _mm512_unpackhi_epi32(x[2], x[3]));
    const __m512i all =
        _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i half =
        _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti32x8_epi32(all, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }

  static void sums(const uint8_t* levels, int stride, const float* unit, const float* fade,
                   int rows, const Page<int8_t>& page, int seen, int K, float* mixed) {
    const int C = columns(K);
    const int8_t* ahead = page.next_k;
    int r = 0;
    for (; r + 2 <= rows; r += 2, ahead = nullptr)
      sum_block<2>(levels + 2 * r * stride, stride, unit + r, fade + r, page.v, seen, K,
                   mixed + r * C, ahead);
    if (r < rows)
      sum_block<1>(levels + 2 * r * stride, stride, unit + r, fade + r, page.v, seen, K,
                   mixed + r * C, ahead);
  }

  // Four positions of a column lie in 32 bits, as do their weights.
  template <int Rows>
  static void sum_block(const uint8_t* levels, int64_t stride, const float* unit,
                        const float* fade, const int8_t* values, int64_t seen, int64_t K,
                        float* mixed, const int8_t* ahead) {
    const int64_t C = round_up(K, 64);
    for (int64_t i = 0; i < K; i += 64) {
      const __mmask64 mask = mask_of(K - i);
      __m512i high[Rows][4], low[Rows][4];
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) high[r][c] = low[r][c] = _mm512_setzero_si512();
      for (int64_t s = 0; s < seen; s += 4) {
        __m512i v[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const int64_t at = (s + j) * K + i;
          if (ahead != nullptr) _mm_prefetch(ahead + at, _MM_HINT_T1);
          v[j] = _mm512_maskz_loadu_epi8(s + j < seen ? mask : 0, values + at);
        }
        const __m512i ab0 = _mm512_unpacklo_epi8(v[0], v[1]), cd0 = _mm512_unpacklo_epi8(v[2], v[3]);
        const __m512i ab1 = _mm512_unpackhi_epi8(v[0], v[1]), cd1 = _mm512_unpackhi_epi8(v[2], v[3]);
        const __m512i column[4] = {
            _mm512_unpacklo_epi16(ab0, cd0), _mm512_unpackhi_epi16(ab0, cd0),
            _mm512_unpacklo_epi16(ab1, cd1), _mm512_unpackhi_epi16(ab1, cd1)};
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
          const __m512i h = four_levels(levels + 2 * r * stride + s);
          const __m512i l = four_levels(levels + (2 * r + 1) * stride + s);
#pragma GCC unroll 4
          for (int c = 0; c < 4; ++c) {
            high[r][c] = _mm512_dpbusd_epi32(high[r][c], h, column[c]);
            low[r][c] = _mm512_dpbusd_epi32(low[r][c], l, column[c]);
          }
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const __m512 one = _mm512_set1_ps(unit[r]), keep = _mm512_set1_ps(fade[r]);
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) {
          float* at = mixed + r * C + i + 16 * c;
          const __m512i all = _mm512_add_epi32(_mm512_slli_epi32(high[r][c], 8), low[r][c]);
          const __m512 kept = _mm512_mul_ps(_mm512_load_ps(at), keep);
          _mm512_store_ps(at, _mm512_fmadd_ps(_mm512_cvtepi32_ps(all), one, kept));
        }
      }
    }
  }

  static __m512i four_levels(const uint8_t* at) {
    int32_t four;
    std::memcpy(&four, at, sizeof four);
    return _mm512_set1_epi32(four);
  }
#else
  static void dots(const Query* q, int rows, const Page<int8_t>& page, int seen, int K,
                   float* scores, int stride) {
    for (int r = 0; r < rows; ++r, q += query_size(K), scores += stride) {
      for (int s = 0; s < seen; ++s) {
        const int8_t* key = page.k + s * K;
        int32_t high = 0, low = 0;
        for (int i = 0; i < K; ++i) {
          high += int32_t{key[i]} * q[i];
          low += int32_t{key[i]} * q[plane(K) + i];
        }
        const int32_t all = 256 * high + low;
        std::memcpy(scores + s, &all, sizeof all);
      }
    }
  }

  static void sums(const uint8_t* levels, int stride, const float* unit, const float* fade,
                   int rows, const Page<int8_t>& page, int seen, int K, float* mixed) {
    for (int r = 0; r < rows; ++r, levels += 2 * stride, mixed += columns(K)) {
      for (int i = 0; i < K; i += 64) {
        int32_t all[64] = {};
        for (int s = 0; s < seen; ++s) {
          const int32_t level = 256 * levels[s] + levels[stride + s];
          const int8_t* value = page.v + s * K + i;
          for (int c = 0; c < std::min(64, K - i); ++c) all[c] += level * value[c];
        }
        for (int c = 0; c < 64; ++c) {  // In mixed order.
          float* at = mixed + i + c % 16 / 4 * 16 + c / 16 * 4 + c % 4;
          *at = *at * fade[r] + static_cast<float>(all[c]) * unit[r];
        }
      }
    }
  }
#endif
};

}  // namespace pollux
