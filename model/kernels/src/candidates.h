// The ids that a row's filters leave: min-p, then top-k, then top-p of what is left.
//
// A bound on the logits that may stay is found first, so that only a few ids out of a vocabulary
// are looked at closely. Thresholds are exact, and ids as likely as one that stays stay too.
#pragma once

#include <algorithm>
#include <functional>

#include "numeric.h"

namespace pollux {

class Candidates {
 public:
  // x[V]: logits, the greatest of which is `most`, a finite number. factor: 1 / temperature.
  Candidates(const float* x, int64_t V, float most, float factor)
      : x_(x), V_(V), most_(most), factor_(factor) {
    struct Ids;
    struct Weights;
    ids_ = scratch<Ids, int32_t>(V + kRoom);
    weights_ = scratch<Weights, float>(V + kRoom);
  }

  // One id of those that stay, by inverting their distribution in id order. all: the sum of every
  // id's weight, exp((x - most) * factor).
  int32_t draw(int32_t top_k, float top_p, float min_p, double all, float uniform) {
    if (top_k > 0 || min_p > 0) {
      all = cut(top_k, min_p > 0 ? std::min(min_p, 1.0f) : 0.0f);
    } else {
      // Ids of less weight than this have together too little mass for their absence to matter.
      const double least = (1 - std::max(top_p, 0.0f)) * all / static_cast<double>(V_);
      const float bound = std::max(kNone, static_cast<float>(std::log(least)) - kSlack);
      float tried = -6.0f;
      while (gather(std::max(tried, bound)) < top_p * all && tried > bound) tried *= 2;
    }
    // Rounding must not ask for more mass than there is.
    if (top_p < 1) all = keep(threshold<true>(top_p * all * (1 - 1e-6)));
    double sum = 0;
    for (int64_t i = 0; i < count_; ++i) {
      sum += weights_[i];
      if (sum > uniform * all) return ids_[i];
    }
    return ids_[count_ - 1];
  }

 private:
  static constexpr float kNone = -87.0f;  // Where weights become 0.
  static constexpr float kSlack = 1e-3f;  // Far above what rounding does to an exponent.
  static constexpr int64_t kRoom = 16;  // For whole vectors to be stored at the end.

  float exponent(float x) const { return (x - most_) * factor_; }

  // min-p and top-k; returns the mass they leave.
  double cut(int32_t top_k, float min_p) {
    float bound = min_p > 0 ? std::log(min_p) - kSlack : kNone;
    if (top_k > 0) bound = std::max(bound, bound_of(top_k));
    gather(std::max(bound, kNone));
    const double mass = keep(min_p);
    return top_k > 0 && top_k < count_ ? keep(threshold<false>(top_k)) : mass;
  }

  // An exponent that at least k ids reach: as many blocks have a peak that does. The larger the
  // blocks, the fewer peaks there are to choose from.
  float bound_of(int64_t k) const {
    const int64_t block = 4 * k <= V_ / 64 ? 64 : 16, blocks = V_ / block;
    if (k > blocks) return kNone;
    float* peaks = weights_;
    for (int64_t b = 0; b < blocks; ++b) {
      const float* x = x_ + b * block;
      float peak = x[0];
#pragma omp simd reduction(max : peak)
      for (int64_t i = 0; i < block; ++i) peak = std::max(peak, x[i]);
      peaks[b] = peak;
    }
    std::nth_element(peaks, peaks + k - 1, peaks + blocks, std::greater<>());
    return exponent(peaks[k - 1]) - kSlack;
  }

  // Makes those of at least this exponent the candidates; returns their mass.
  double gather(float bound) {
    int64_t at = 0, count = 0;
#if defined(POLLUX_AVX512)
    __m512i ids = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (; at + 16 <= V_; at += 16, ids = _mm512_add_epi32(ids, _mm512_set1_epi32(16))) {
      const __m512 above = _mm512_sub_ps(_mm512_loadu_ps(x_ + at), _mm512_set1_ps(most_));
      const __m512 y = _mm512_mul_ps(above, _mm512_set1_ps(factor_));
      const __mmask16 wanted = _mm512_cmp_ps_mask(y, _mm512_set1_ps(bound), _CMP_GE_OQ);
      if (wanted == 0) continue;
      _mm512_storeu_si512(ids_ + count, _mm512_maskz_compress_epi32(wanted, ids));
      count += __builtin_popcount(wanted);
    }
#endif
    for (; at < V_; ++at)
      if (exponent(x_[at]) >= bound) ids_[count++] = static_cast<int32_t>(at);
    count_ = count;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) weights_[i] = exp_negative(exponent(x_[ids_[i]]));
    return total();
  }

  // Drops those of less weight; returns the mass of the others.
  double keep(float threshold) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count_; ++i) {
      ids_[kept] = ids_[i];
      weights_[kept] = weights_[i];
      kept += weights_[i] >= threshold;
    }
    count_ = kept;
    return total();
  }

  double total() const {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count_; ++i) sum += weights_[i];
    return sum;
  }

  // The greatest weight that, with those above it, makes up `goal` in number or in mass; the
  // least weight if all together do not. Ten bits of it at a time: they order as the values do.
  template <bool kMass>
  float threshold(double goal) const {
    constexpr int kBits = 10, kBuckets = 1 << kBits;
    uint32_t found = 0;
    for (int shift = 2 * kBits; shift >= 0; shift -= kBits) {
      double buckets[kBuckets] = {};
      for (int64_t i = 0; i < count_; ++i) {
        const uint32_t bits = bits_of(weights_[i]) >> shift;
        if (bits >> kBits == found) buckets[bits % kBuckets] += kMass ? weights_[i] : 1.0;
      }
      uint32_t last = 0;
      for (int bucket = kBuckets - 1; bucket >= 0; --bucket) {
        if (buckets[bucket] == 0) continue;
        last = bucket;
        if (buckets[bucket] >= goal) break;
        goal -= buckets[bucket];
      }
      found = found << kBits | last;
    }
    return float_of(found);
  }

  const float* x_;
  int64_t V_;
  float most_, factor_;
  int32_t* ids_;
  float* weights_;
  int64_t count_ = 0;
};

}  // namespace pollux
