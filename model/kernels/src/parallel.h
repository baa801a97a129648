// Loops over XLA's own thread pool.
//
// The calling thread takes part and only ever waits for work that another thread has begun, so a
// pool whose threads are all busy (or all inside a kernel) makes a loop slower, never stuck.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "xla/ffi/api/ffi.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace pollux {

namespace ffi = xla::ffi;

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// While it lives, denormal numbers are zero: else each thread would round as it is set up, and
// which thread does what is chance.
class FlushedDenormals {
#if defined(__SSE__)
 public:
  FlushedDenormals() { _mm_setcsr(before_ | 0x8040); }
  ~FlushedDenormals() { _mm_setcsr(before_); }
  FlushedDenormals(const FlushedDenormals&) = delete;
  FlushedDenormals& operator=(const FlushedDenormals&) = delete;

 private:
  unsigned before_ = _mm_getcsr();
#endif
};

// body(0) ... body(count - 1), in any order and at the same time.
struct Phase {
  int64_t count;
  void (*call)(const void* body, int64_t i);
  const void* body;
};

// The body must outlive the phase's run.
template <class Body>
Phase phase(int64_t count, const Body& body) {
  return {count, [](const void* work, int64_t i) { (*static_cast<const Body*>(work))(i); }, &body};
}

template <size_t kPhases>
class Loop {
 public:
  explicit Loop(const std::array<Phase, kPhases>& phases) : phases_(phases) {}

  // A body is on the caller's stack: it is touched only between a claim and its `done`, and the
  // caller stays until all is done.
  void take_part() {
    const FlushedDenormals flushed;
    for (size_t p = 0; p < kPhases; ++p) {
      const Phase& phase = phases_[p];
      Progress& progress = progress_[p];
      for (int64_t i = progress.next.fetch_add(1, std::memory_order_relaxed); i < phase.count;
           i = progress.next.fetch_add(1, std::memory_order_relaxed)) {
        phase.call(phase.body, i);
        progress.done.fetch_add(1, std::memory_order_release);
      }
      for (int spins = 0; progress.done.load(std::memory_order_acquire) < phase.count;)
        spins < 4000 ? (++spins, relax()) : std::this_thread::yield();
    }
  }

 private:
  struct alignas(64) Progress {
    std::atomic<int64_t> next{0}, done{0};
  };

  std::array<Phase, kPhases> phases_;
  std::array<Progress, kPhases> progress_;
};

// Runs the phases one after the other, on the caller and on idle threads of the pool.
template <size_t kPhases>
void run_phases(ffi::ThreadPool& pool, const std::array<Phase, kPhases>& phases) {
  int64_t widest = 0;
  for (const Phase& phase : phases) widest = std::max(widest, phase.count);
  if (widest <= 1) {
    Loop<kPhases>(phases).take_part();
    return;
  }
  auto loop = std::make_shared<Loop<kPhases>>(phases);
  const int64_t helpers = std::min(pool.num_threads(), widest) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([loop] { loop->take_part(); });
  loop->take_part();
}

template <class Body>
void parallel_for(ffi::ThreadPool& pool, int64_t count, const Body& body) {
  run_phases(pool, std::array{phase(count, body)});
}

}  // namespace pollux
