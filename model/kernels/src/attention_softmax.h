// A running softmax of up to kTileRows query rows over pages, and its weighted sum of values.
#pragma once

#include "attention_bf16.h"
#include "attention_int8.h"
#include "attention_plan.h"
#include "attention_tile.h"

namespace pollux {

template <class T>
class Softmax {
 public:
  static size_t floats(int rows, int K) {
    return kTileRows + static_cast<size_t>(rows) * (kLanes + Tile<T>::columns(K));
  }

  // memory: floats(rows, K) of them, aligned to 64 bytes. Nothing is read before `clear`.
  Softmax(float* memory, int rows, int K)
      : rows_(rows), K_(K), peak_(memory), total_(memory + kTileRows),
        mixed_(total_ + static_cast<size_t>(rows) * kLanes) {}

  void clear() {
    std::fill(peak_, peak_ + kTileRows, kNothing);
    std::fill(total_, mixed_ + rows_ * Tile<T>::columns(K_), 0.0f);
  }

  // Rows [first, first + count) against the first `seen` positions of a page, of which row r sees
  // [low[r], high[r]].
  void take(int first, int count, const typename Tile<T>::Query* queries, const Page<T>& page,
            int seen, const int64_t* low, const int64_t* high) {
    const int stride = static_cast<int>(round_up(seen, kLanes));
    float* scores = scratch<Softmax, float>(static_cast<size_t>(count) * stride);
    float fade[kTileRows];
    Tile<T>::score(queries + first * Tile<T>::query_size(K_), count, page, seen, K_, scores,
                   stride);
    for (int r = 0; r < count; ++r)
      fade[r] = weigh(scores + r * stride, seen, low[first + r], high[first + r], first + r);
    Tile<T>::mix(scores, stride, fade, count, page, seen, K_,
                 mixed_ + first * Tile<T>::columns(K_));
  }

  // Goes on with what `next` saw, behind all that was seen here.
  void absorb(const Softmax& next) {
    const int columns = Tile<T>::columns(K_);
    for (int r = 0; r < rows_; ++r) {
      const float peak = std::max(peak_[r], next.peak_[r]);
      const float ours = exp_negative(peak_[r] - peak), theirs = exp_negative(next.peak_[r] - peak);
      peak_[r] = peak;
      blend(total_ + r * kLanes, ours, next.total_ + r * kLanes, theirs, kLanes);
      blend(mixed_ + r * columns, ours, next.mixed_ + r * columns, theirs, columns);
    }
  }

  void result(int row, float* out) const {
    const float total = sum_of(load(total_ + row * kLanes));
    Tile<T>::unmix(mixed_ + row * Tile<T>::columns(K_), K_, 1.0f / std::max(total, 1e-30f), out);
  }

 private:
  static constexpr float kNothing = -3e38f;

  static void blend(float* x, float ours, const float* y, float theirs, int count) {
    for (int i = 0; i < count; i += kLanes)
      store(load(x + i) * ours + load(y + i) * theirs, x + i);
  }

  // Scores of one row become weights; those outside [low, high] count nothing, whatever they are.
  float weigh(float* scores, int seen, int64_t low, int64_t high, int row) {
    const int stride = static_cast<int>(round_up(seen, kLanes));
    const int from = static_cast<int>(std::clamp<int64_t>(low, 0, seen));
    const int to = static_cast<int>(std::clamp<int64_t>(high + 1, from, seen));
    std::fill(scores, scores + from, -INFINITY);
    std::fill(scores + to, scores + stride, -INFINITY);
    Lanes most = Lanes{} + peak_[row];
    for (int i = 0; i < stride; i += kLanes) most = max(load(scores + i), most);
    const float peak = max_of(most);
    const float fade = exp_negative(peak_[row] - peak);
    Lanes total = load(total_ + row * kLanes) * fade;
    for (int i = 0; i < stride; i += kLanes) {
      const Lanes weights = exp_negative(load(scores + i) - peak);
      total += weights;
      store(weights, scores + i);
    }
    store(total, total_ + row * kLanes);
    peak_[row] = peak;
    return fade;
  }

  int rows_, K_;
  float* peak_;   // [kTileRows]
  float* total_;  // [rows, kLanes], summed at the end
  float* mixed_;  // [rows, columns]
};

}  // namespace pollux
