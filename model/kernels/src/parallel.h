// Loops over XLA's own thread pool.
//
// The calling thread takes part and only ever waits for work that another thread has begun, so a
// pool whose threads are all busy (or all inside a kernel) makes a loop slower, never stuck.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace pollux {

namespace ffi = xla::ffi;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

template <class Body>
struct Loop {
  const Body* body;  // Lives on the caller's stack: touched only between a claim and its `done`.
  int64_t count;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};

  Loop(const Body& work, int64_t n) : body(&work), count(n) {}

  void take_part() {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      (*body)(i);
      done.fetch_add(1, std::memory_order_release);
    }
  }
};

// Runs body(0) ... body(count - 1), in any order, on the caller and on idle threads of the pool.
template <class Body>
void parallel_for(ffi::ThreadPool& pool, int64_t count, const Body& body) {
  const int64_t threads = count > 1 ? pool.num_threads() : 1;
  if (threads <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  auto loop = std::make_shared<Loop<Body>>(body, count);
  const int64_t helpers = (threads < count ? threads : count) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([loop] { loop->take_part(); });
  loop->take_part();
  for (int spins = 0; loop->done.load(std::memory_order_acquire) < count; ++spins) {
    spins < 4000 ? relax() : std::this_thread::yield();
  }
}

}  // namespace pollux
