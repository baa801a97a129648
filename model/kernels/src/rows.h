// Which rows of a batch are computed: batches have few shapes, so many rows are padding.
#pragma once

#include "numeric.h"

namespace pollux {

struct LiveRows {
  int64_t count;
  const int32_t* index;  // [count], rising. Valid until the thread's next call of live_rows.
};

// Those of `rows` rows whose mark is not negative; all where there are no marks.
inline LiveRows live_rows(const int32_t* marks, int64_t rows) {
  int32_t* index = scratch<LiveRows, int32_t>(rows);
  int64_t count = 0;
  for (int64_t row = 0; row < rows; ++row)
    if (marks == nullptr || marks[row] >= 0) index[count++] = static_cast<int32_t>(row);
  return {count, index};
}

}  // namespace pollux
