// Causal attention over paged KV for one layer, from the fused projection to the mixed values:
// bias, RMSNorm of queries and keys, rotary embedding, the new rows of the pages, attention.
#pragma once

#include "attention_heads.h"
#include "attention_plan.h"
#include "attention_softmax.h"
#include "parallel.h"

namespace pollux {

template <class T, class Out>
class Attention {
 public:
  // k_pages, v_pages: [P, G, S, K]. out: [T, G, R, K]; rows of padding are left as they are.
  Attention(const AttentionShape& shape, const AttentionPlan& plan, const HeadsInput& in,
            float scale, T* k_pages, T* v_pages, Out* out)
      : s_(shape), plan_(plan), heads_(shape, in), scale_(scale), k_pages_(k_pages),
        v_pages_(v_pages), out_(out) {}

  void run(ffi::ThreadPool& pool) const {
    constexpr int64_t kTokens = 16;
    const int64_t early = plan_.early.size();
    parallel_for(pool, round_up(early, kTokens) / kTokens, [&](int64_t part) {
      for (int64_t i = part * kTokens; i < std::min(early, (part + 1) * kTokens); ++i)
        for (int64_t g = 0; g < s_.G; ++g) store(plan_.live[plan_.early[i]], g);
    });
    const int64_t tiles = plan_.tiles.size();
    parallel_for(pool, tiles * s_.G, [&](int64_t i) {
      // The last tiles see most: they go first, so that no thread is left alone with one.
      attend(plan_.tiles[tiles - 1 - i / s_.G], i % s_.G);
    });
  }

 private:
  using Query = typename Tile<T>::Query;
  struct Wide;
  struct Sums;

  void store(const LiveToken& at, int64_t g) const {
    const int64_t K = s_.K, page = plan_.page(at.owner, at.position / s_.S);
    if (page == 0) return;  // The null page: nobody reads it.
    float* x = scratch<Wide, float>(K);
    const int64_t offset = ((page * s_.G + g) * s_.S + at.position % s_.S) * K;
    heads_.key(at.token, g, x);
    for (int64_t i = 0; i < K; ++i) k_pages_[offset + i] = nan_to_num(kept<T>(x[i]));
    heads_.value(at.token, g, x);
    for (int64_t i = 0; i < K; ++i) v_pages_[offset + i] = nan_to_num(kept<T>(x[i]));
  }

  const LiveToken& live(const QueryTile& tile, int row) const {
    return plan_.live[(tile.first + row) / s_.R];
  }

  void attend(const QueryTile& tile, int64_t g) const {
    const int K = static_cast<int>(s_.K), rows = static_cast<int>(tile.rows);
    const int size = Tile<T>::query_size(K);
    if (tile.stores)
      for (int r = 0; r < rows; r += s_.R) store(live(tile, r), g);
    Query* queries = scratch<Query, Query>(static_cast<size_t>(rows) * size);
    float* wide = scratch<Wide, float>(K);
    for (int r = 0; r < rows; ++r) {
      heads_.query(live(tile, r).token, g, (tile.first + r) % s_.R, wide);
      Tile<T>::prepare(wide, scale_, K, queries + r * size);
    }
    Softmax<T> softmax(scratch<Sums, float>(Softmax<T>::floats(rows, K)), rows, K);
    softmax.clear();
    walk(tile, g, 0, rows, tile.begin, tile.end, queries, softmax);
    for (int r = 0; r < rows; ++r) {
      const int64_t slot = (tile.first + r) % s_.R;
      Out* out = out_ + ((live(tile, r).token * s_.G + g) * s_.R + slot) * K;
      softmax.result(r, wide);
      for (int i = 0; i < K; ++i) out[i] = kept<Out>(wide[i]);
    }
  }

  // Rows [first, first + count) of a tile over blocks [from, to), where they have the same pages.
  void walk(const QueryTile& tile, int64_t g, int first, int count, int64_t from, int64_t to,
            const Query* queries, Softmax<T>& softmax) const {
    int64_t low[kTileRows], high[kTileRows], highest = 0;
    for (int r = first; r < first + count; ++r) {
      low[r] = live(tile, r).low - from * s_.S;
      high[r] = live(tile, r).position - from * s_.S;
      highest = std::max(highest, high[r]);
    }
    const int64_t owner = live(tile, first).owner;
    for (int64_t block = from; block < to; ++block) {
      const int64_t here = offset(owner, block, g);
      const int64_t next = block + 1 < to ? offset(owner, block + 1, g) : here;
      const int seen = static_cast<int>(std::min(s_.S, highest + 1));
      softmax.take(first, count, queries, {k_pages_ + here, v_pages_ + here, k_pages_ + next},
                   seen, low, high);
      for (int r = first; r < first + count; ++r) low[r] -= s_.S, high[r] -= s_.S;
      highest -= s_.S;
    }
  }

  int64_t offset(int64_t owner, int64_t block, int64_t g) const {
    return (plan_.page(owner, block) * s_.G + g) * s_.S * s_.K;
  }

  AttentionShape s_;
  const AttentionPlan& plan_;
  Heads heads_;
  float scale_;
  T* k_pages_;
  T* v_pages_;
  Out* out_;
};

}  // namespace pollux
