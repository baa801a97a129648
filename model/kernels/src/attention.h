// Causal attention over paged KV for one layer, from the fused projection to the mixed values:
// bias, RMSNorm of queries and keys, rotary embedding, the new rows of the pages, attention.
#pragma once

#include <atomic>
#include <vector>

#include "attention_heads.h"
#include "attention_plan.h"
#include "attention_softmax.h"
#include "attention_tasks.h"
#include "parallel.h"

namespace pollux {

// All pages of a layer: [P, G, S, K], and scales of bytes [P, G, S], null for other types.
template <class T>
struct Pages {
  T* k;
  T* v;
  float* k_scale;
  float* v_scale;
};

template <class T, class Out>
class Attention {
 public:
  // out: [T, G, R, K]; rows of padding are left as they are.
  Attention(const AttentionShape& shape, const AttentionPlan& plan, const HeadsInput& in,
            float scale, const Pages<T>& pages, Out* out)
      : s_(shape), plan_(plan), heads_(shape, in), scale_(scale), pages_(pages), out_(out) {}

  void run(ffi::ThreadPool& pool) const {
    constexpr int64_t kTokens = 16;
    const int64_t early = plan_.early.size();
    parallel_for(pool, round_up(early, kTokens) / kTokens, [&](int64_t part) {
      for (int64_t i = part * kTokens; i < std::min(early, (part + 1) * kTokens); ++i)
        for (int64_t g = 0; g < s_.G; ++g) store(plan_.live[plan_.early[i]], g);
    });
    const AttentionTasks work(s_, plan_, pool.num_threads());
    const size_t part = Softmax<T>::floats(kTileRows, static_cast<int>(s_.K));
    float* parts = scratch<Part, float>(work.parts * part);
    std::vector<std::atomic<int64_t>> missing(work.splits.size());
    for (size_t i = 0; i < missing.size(); ++i) missing[i] = work.splits[i].to - work.splits[i].from;
    parallel_for(pool, work.tasks.size(), [&](int64_t i) {
      const AttentionTask& task = work.tasks[i];
      const QueryTile& tile = plan_.tiles[task.tile];
      if (task.split < 0) {
        attend(tile, task, work.part_blocks);
        return;
      }
      const SplitTile& split = work.splits[task.split];
      float* first = parts + split.memory * part;
      attend_part(tile, task, work.part_blocks, first + (task.from - split.from) * part);
      // Whoever is last sees the parts of all others.
      if (missing[task.split].fetch_sub(1, std::memory_order_acq_rel) == 1)
        merge(tile, split, first, part);
    });
  }

 private:
  using Query = typename Tile<T>::Query;
  struct Wide;
  struct Sums;
  struct Next;
  struct Part;

  void store(const LiveToken& at, int64_t g) const {
    const int64_t block = at.position / s_.S;
    if (plan_.page(at.owner, block) == 0) return;  // The null page: nobody reads it.
    float* x = scratch<Wide, float>(s_.K);
    const int64_t to = first(at.owner, block, g) + at.position % s_.S;
    const bool scaled = pages_.k_scale != nullptr;
    heads_.key(at.token, g, x);
    keep(x, s_.K, pages_.k + to * s_.K, scaled ? pages_.k_scale + to : nullptr);
    heads_.value(at.token, g, x);
    keep(x, s_.K, pages_.v + to * s_.K, scaled ? pages_.v_scale + to : nullptr);
  }

  const LiveToken& live(const QueryTile& tile, int row) const {
    return plan_.live[(tile.first + row) / s_.R];
  }

  Softmax<T> softmax(const QueryTile& tile, float* memory) const {
    return Softmax<T>(memory, static_cast<int>(tile.rows), static_cast<int>(s_.K));
  }

  void attend(const QueryTile& tile, const AttentionTask& task, int64_t part_blocks) const {
    const Query* queries = prepare(tile, task.g);
    const size_t floats = Softmax<T>::floats(static_cast<int>(tile.rows), static_cast<int>(s_.K));
    Softmax<T> sums = softmax(tile, scratch<Sums, float>(floats));
    Softmax<T> next = softmax(tile, scratch<Next, float>(floats));
    for (int64_t part = task.from; part < task.to; ++part) {
      see(tile, task.g, part * part_blocks, (part + 1) * part_blocks, queries,
          part == task.from ? sums : next);
      if (part > task.from) sums.absorb(next);
    }
    finish(tile, task.g, sums);
  }

  void attend_part(const QueryTile& tile, const AttentionTask& task, int64_t part_blocks,
                   float* memory) const {
    Softmax<T> sums = softmax(tile, memory);
    see(tile, task.g, task.from * part_blocks, task.to * part_blocks, prepare(tile, task.g), sums);
  }

  void merge(const QueryTile& tile, const SplitTile& split, float* memory, size_t part) const {
    Softmax<T> sums = softmax(tile, memory);
    for (int64_t i = 1; i < split.to - split.from; ++i)
      sums.absorb(softmax(tile, memory + i * part));
    finish(tile, split.g, sums);
  }

  const Query* prepare(const QueryTile& tile, int64_t g) const {
    const int K = static_cast<int>(s_.K), size = Tile<T>::query_size(K);
    Query* queries = scratch<Query, Query>(static_cast<size_t>(tile.rows) * size);
    float* wide = scratch<Wide, float>(K);
    for (int r = 0; r < tile.rows; ++r) {
      heads_.query(live(tile, r).token, g, (tile.first + r) % s_.R, wide);
      Tile<T>::prepare(wide, scale_, K, queries + r * size);
    }
    return queries;
  }

  void finish(const QueryTile& tile, int64_t g, const Softmax<T>& sums) const {
    float* wide = scratch<Wide, float>(s_.K);
    for (int r = 0; r < tile.rows; ++r) {
      const int64_t slot = (tile.first + r) % s_.R;
      Out* out = out_ + ((live(tile, r).token * s_.G + g) * s_.R + slot) * s_.K;
      sums.result(r, wide);
      for (int64_t i = 0; i < s_.K; ++i) out[i] = kept<Out>(wide[i]);
    }
  }

  // Blocks [from, to) of a tile: together where all rows have the same pages, then token by token.
  void see(const QueryTile& tile, int64_t g, int64_t from, int64_t to, const Query* queries,
           Softmax<T>& sums) const {
    sums.clear();
    const int rows = static_cast<int>(tile.rows), R = static_cast<int>(s_.R);
    if (tile.stores)
      for (int r = 0; r < rows; r += R) {
        const LiveToken& token = live(tile, r);
        const int64_t own = token.position / s_.S;
        if (from <= own && own < to) store(token, g);
      }
    Stretch todo[kTileRows + 1];
    int count = 0;
    const auto add = [&](int first, int rows, int64_t begin, int64_t end) {
      begin = std::max(from, begin), end = std::min(to, end);
      if (begin < end) todo[count++] = {first, rows, begin, end};
    };
    add(0, rows, tile.begin, tile.shared);
    if (tile.shared < tile.end)
      for (int r = 0; r < rows; r += R) add(r, R, tile.shared, live(tile, r).position / s_.S + 1);
    for (int i = 0; i < count; ++i)
      walk(tile, g, todo[i], i + 1 < count ? &todo[i + 1] : nullptr, queries, sums);
  }

  // Rows [first, first + count) of a tile over blocks [from, to), where they have the same pages.
  struct Stretch {
    int first, count;
    int64_t from, to;
  };

  void walk(const QueryTile& tile, int64_t g, const Stretch& now, const Stretch* after,
            const Query* queries, Softmax<T>& sums) const {
    int64_t low[kTileRows], high[kTileRows], highest = 0;
    for (int r = now.first; r < now.first + now.count; ++r) {
      low[r] = live(tile, r).low - now.from * s_.S;
      high[r] = live(tile, r).position - now.from * s_.S;
      highest = std::max(highest, high[r]);
    }
    const int64_t owner = live(tile, now.first).owner;
    int64_t here = first(owner, now.from, g);
    for (int64_t block = now.from; block < now.to; ++block) {
      int64_t next = here;
      if (block + 1 < now.to)
        next = first(owner, block + 1, g);
      else if (after != nullptr)
        next = first(live(tile, after->first).owner, after->from, g);
      const int seen = static_cast<int>(std::min(s_.S, highest + 1));
      sums.take(now.first, now.count, queries, page(here, next), seen, low, high);
      for (int r = now.first; r < now.first + now.count; ++r) low[r] -= s_.S, high[r] -= s_.S;
      highest -= s_.S;
      here = next;
    }
  }

  // Where a page's positions begin, among all positions of all pages and heads.
  int64_t first(int64_t owner, int64_t block, int64_t g) const {
    return (plan_.page(owner, block) * s_.G + g) * s_.S;
  }

  Page<T> page(int64_t here, int64_t next) const {
    Page<T> page{.k = pages_.k + here * s_.K, .v = pages_.v + here * s_.K};
    page.next_k = pages_.k + next * s_.K;
    if (pages_.k_scale != nullptr) {
      page.k_scale = pages_.k_scale + here;
      page.v_scale = pages_.v_scale + here;
    }
    return page;
  }

  AttentionShape s_;
  const AttentionPlan& plan_;
  Heads heads_;
  float scale_;
  Pages<T> pages_;
  Out* out_;
};

}  // namespace pollux
