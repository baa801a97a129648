// How a ragged batch of tokens is cut for attention: which query rows go over pages together, and
// which thread's work that is. What a row's result is does not depend on anything decided here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace pollux {

// T tokens, G KV heads, R queries per KV head, K head size; P pages of S positions; a table of N
// rows of W pages.
struct AttentionShape {
  int64_t T, G, R, K, P, S, N, W;
};

constexpr int kTileRows = 16;

// A token that is no padding. It sees positions [low, position].
struct LiveToken {
  int64_t token, owner, position, low;
};

// Query rows [first, first + rows) of live tokens x R. All of them have the same pages in blocks
// [begin, shared); in [shared, end) each token goes alone.
struct QueryTile {
  int64_t first, rows;
  int64_t begin, shared, end;
  bool stores;  // Tokens of rows of their own, whose KV nobody stored before.
};

class AttentionPlan {
 public:
  std::vector<LiveToken> live;
  std::vector<int64_t> early;  // Live tokens that others see: their KV is stored before all else.
  std::vector<QueryTile> tiles;

  // owners, positions: [T]; table: [N, W], read later too.
  AttentionPlan(const AttentionShape& shape, const int32_t* owners, const int32_t* positions,
                const int32_t* table, int64_t window, int64_t threads)
      : s_(shape), table_(table) {
    for (int64_t t = 0; t < s_.T; ++t) {
      const int64_t at = positions[t], owner = owners[t];
      if (at < 0 || at >= s_.W * s_.S || owner < 0 || owner >= s_.N) continue;
      live.push_back({t, owner, at, window > 0 ? std::max<int64_t>(0, at - window + 1) : 0});
    }
    // Few rows are not put together where threads would be left without any.
    const int64_t fair = static_cast<int64_t>(live.size()) * s_.G / (2 * threads);
    const int64_t most = std::clamp<int64_t>(fair, 1, std::max<int64_t>(1, kTileRows / s_.R));
    const int64_t count = live.size();
    for (int64_t i = 0, next; i < count; i = next) {
      next = i + 1;
      if (s_.R <= kTileRows && single(i)) {
        while (next < std::min(count, i + most) && single(next) && alike(i, next)) ++next;
        add_rows(i, next);
      } else {
        while (next < count && live[next].owner == live[i].owner) ++next;
        add_chunk(i, next);
      }
    }
  }

  // A page outside the pool reads as the null page.
  int64_t page(int64_t owner, int64_t block) const {
    const int64_t page = table_[owner * s_.W + block];
    return page < 0 || page >= s_.P ? 0 : page;
  }

  int64_t begin(int64_t i) const { return live[i].low / s_.S; }
  int64_t end(int64_t i) const { return live[i].position / s_.S + 1; }

 private:
  // No neighbour of token i is of its sequence.
  bool single(int64_t i) const {
    const int64_t last = static_cast<int64_t>(live.size()) - 1;
    return (i == 0 || live[i - 1].owner != live[i].owner) &&
           (i == last || live[i + 1].owner != live[i].owner);
  }

  // Rows of their own that begin at the same page.
  bool alike(int64_t i, int64_t j) const {
    const int64_t block = begin(i);
    return block == begin(j) && page(live[i].owner, block) == page(live[j].owner, block);
  }

  // Tokens [from, to) of one sequence.
  void add_chunk(int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) early.push_back(i);
    const int64_t last = to * s_.R;
    for (int64_t first = from * s_.R; first < last; first += kTileRows) {
      QueryTile tile{.first = first, .rows = std::min<int64_t>(kTileRows, last - first)};
      tile.begin = s_.W;
      for (int64_t i = first / s_.R; i <= (first + tile.rows - 1) / s_.R; ++i) {
        tile.begin = std::min(tile.begin, begin(i));
        tile.end = std::max(tile.end, end(i));
      }
      tile.shared = tile.end;
      tiles.push_back(tile);
    }
  }

  // Tokens [from, to), each of its own sequence.
  void add_rows(int64_t from, int64_t to) {
    QueryTile tile{.first = from * s_.R, .rows = (to - from) * s_.R, .stores = true};
    tile.begin = begin(from);
    tile.shared = tile.end = end(from);
    for (int64_t i = from + 1; i < to; ++i) {
      int64_t block = tile.begin;
      const int64_t stop = std::min(tile.shared, end(i));
      while (block < stop && page(live[from].owner, block) == page(live[i].owner, block)) ++block;
      tile.shared = block;
      tile.end = std::max(tile.end, end(i));
    }
    tiles.push_back(tile);
  }

  AttentionShape s_;
  const int32_t* table_;
};

}  // namespace pollux
