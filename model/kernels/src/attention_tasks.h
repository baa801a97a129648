// Tiles of a plan as work for threads: the costliest first, and long ones in parts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "attention_plan.h"

namespace pollux {

// A row's context is always gone through in parts of so many positions, each with a softmax of its
// own, merged in order: what a thread does alone and what many do are then the same sums.
constexpr int64_t kPartPositions = 1024;

// One KV head of a tile, parts [from, to) of its context. split: index in `splits`, or -1.
struct AttentionTask {
  int64_t tile, g, from, to, cost, split;
};

// A tile and KV head whose parts are tasks of their own. memory: where their results begin.
struct SplitTile {
  int64_t tile, g, from, to, memory;
};

struct AttentionTasks {
  std::vector<AttentionTask> tasks;
  std::vector<SplitTile> splits;
  int64_t part_blocks;
  int64_t parts = 0;  // Of all split tiles.

  AttentionTasks(const AttentionShape& s, const AttentionPlan& plan, int64_t threads)
      : part_blocks(std::max<int64_t>(1, kPartPositions / s.S)) {
    int64_t total = 0;
    for (const QueryTile& tile : plan.tiles) total += s.G * cost(s, tile, tile.begin, tile.end);
    for (int64_t t = 0; t < static_cast<int64_t>(plan.tiles.size()); ++t) {
      const QueryTile& tile = plan.tiles[t];
      const int64_t all = cost(s, tile, tile.begin, tile.end);
      const int64_t from = tile.begin / part_blocks, to = (tile.end - 1) / part_blocks + 1;
      const bool split = threads > 1 && to - from > 1 && all * 4 * threads > total;
      for (int64_t g = 0; g < s.G; ++g) {
        if (!split) {
          tasks.push_back({t, g, from, to, all, -1});
          continue;
        }
        for (int64_t part = from; part < to; ++part) {
          const int64_t first = std::max(tile.begin, part * part_blocks);
          const int64_t last = std::min(tile.end, (part + 1) * part_blocks);
          tasks.push_back({t, g, part, part + 1, cost(s, tile, first, last),
                           static_cast<int64_t>(splits.size())});
        }
        splits.push_back({t, g, from, to, parts});
        parts += to - from;
      }
    }
    std::stable_sort(tasks.begin(), tasks.end(),
                     [](const auto& a, const auto& b) { return a.cost > b.cost; });
  }

 private:
  // Of blocks [from, to): a page costs as much to load as some rows cost to compute.
  static int64_t cost(const AttentionShape& s, const QueryTile& tile, int64_t from, int64_t to) {
    constexpr int64_t kLoad = 8;
    const int64_t together = std::clamp<int64_t>(tile.shared - from, 0, to - from);
    const int64_t apart = (to - from - together) * std::max<int64_t>(1, tile.rows / s.R);
    return together * (kLoad + tile.rows) + apart * (kLoad + s.R);
  }
};

}  // namespace pollux
