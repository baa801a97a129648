// What XLA calls: checks of shapes and types, then the kernel for them.

#include <limits>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "attention_ffi.h"
#include "buffers.h"
#include "draw.h"
#include "linear.h"

namespace pollux {
namespace {

using Floats = ffi::Buffer<ffi::F32>;
using Integers = ffi::Buffer<ffi::S32>;
using Bytes = ffi::Buffer<ffi::U8>;

template <class Buffer>
bool holds(const Buffer& x, int64_t count) {
  return static_cast<int64_t>(x.element_count()) == count;
}

template <class Buffer>
bool holds_if_any(const Buffer& x, int64_t count) {
  return holds(x, 0) || holds(x, count);
}

template <class Buffer>
auto* data_if_any(const Buffer& x) {
  return holds(x, 0) ? nullptr : x.typed_data();
}

// A packed matrix of so many tiles of K inputs, in one of the formats, as XLA aligns arrays.
bool is_matrix(const Bytes& blob, int64_t tiles, int64_t K) {
  const auto dims = blob.dimensions();
  return reinterpret_cast<uintptr_t>(blob.typed_data()) % 64 == 0 && dims.size() == 3 && dims[0] == tiles && dims[1] == ceil_div(K, kGroup) &&
         (dims[2] == Eight::kBytes || dims[2] == Four::kBytes);
}

template <class Body>
ffi::Error with_format(const Bytes& blob, const Body& body) {
  if (blob.dimensions()[2] == Eight::kBytes) body(Eight{});
  else body(Four{});
  return ffi::Error::Success();
}

ffi::Error linear(ffi::ThreadPool pool, Floats x, Bytes blob, Floats unit, Integers live,
                  Floats norm, Floats post_norm, Floats residual, ffi::Result<Floats> out,
                  float eps, int32_t gate) {
  if (x.dimensions().size() == 0 || out->dimensions().size() == 0) return wrong("linear: ranks");
  const int64_t K = x.dimensions().back(), N = out->dimensions().back();
  if (K == 0 || N == 0) return wrong("linear: no columns");
  const int64_t M = static_cast<int64_t>(x.element_count()) / K;
  if (gate < 0 || gate > static_cast<int32_t>(Gate::kGeluTanh)) return wrong("linear: gate");
  const Gate activation{gate};
  const int64_t width = activation == Gate::kNone ? kTile : kTile / 2;
  if (!holds(*out, M * N) || !is_matrix(blob, ceil_div(N, width), K) || !holds(unit, 1) ||
      !holds_if_any(live, M) || !holds_if_any(norm, K) || !holds_if_any(post_norm, N) ||
      !holds_if_any(residual, M * N))
    return wrong("linear: shapes");
  const LiveRows rows = live_rows(data_if_any(live), M);
  return with_format(blob, [&]<class Format>(Format) {
    Linear<Format>{.K = K,
                   .N = N,
                   .live = rows,
                   .x = x.typed_data(),
                   .norm = data_if_any(norm),
                   .blob = blob.typed_data(),
                   .unit = *unit.typed_data(),
                   .gate = activation,
                   .post_norm = data_if_any(post_norm),
                   .residual = data_if_any(residual),
                   .eps = eps,
                   .out = out->typed_data()}
        .run(pool);
  });
}

// Rows `tokens` of a packed table, times `scale`.
ffi::Error embed(ffi::ThreadPool pool, Integers tokens, Bytes blob, Floats unit, Integers live,
                 ffi::Result<Floats> out, float scale) {
  if (out->dimensions().size() == 0) return wrong("embed: ranks");
  const int64_t K = out->dimensions().back(), count = tokens.element_count();
  const int64_t tiles = blob.dimensions().size() == 3 ? blob.dimensions()[0] : 0;
  if (!holds(*out, count * K) || !holds(unit, 1) || !holds_if_any(live, count) || tiles == 0 ||
      !is_matrix(blob, tiles, K))
    return wrong("embed: shapes");
  const int32_t* ids = tokens.typed_data();
  const float factor = scale * *unit.typed_data();
  const LiveRows rows = live_rows(data_if_any(live), count);
  return with_format(blob, [&]<class Format>(Format) {
    constexpr int64_t kPart = 16;  // Fewer are not worth another thread's waking up.
    parallel_for(pool, ceil_div(rows.count, kPart), [&](int64_t part) {
      for (int64_t i = part * kPart; i < std::min(rows.count, (part + 1) * kPart); ++i) {
        const int64_t row = rows.index[i];
        const int64_t id = std::clamp<int64_t>(ids[row], 0, tiles * kTile - 1);
        unpack_row<Format>(blob.typed_data(), factor, K, id, out->typed_data() + row * K);
      }
    });
  });
}

ffi::Error draw(ffi::ThreadPool pool, ffi::BufferR2<ffi::F32> logits, Integers live,
                Floats temperature, Floats uniform, Integers top_k, Floats top_p, Floats min_p,
                ffi::Result<Integers> token, ffi::Result<Floats> log_total) {
  const int64_t R = logits.dimensions()[0], V = logits.dimensions()[1];
  if (V == 0 || V > std::numeric_limits<int32_t>::max() || !holds(live, R) ||
      !holds(temperature, R) || !holds(uniform, R) || !holds(top_k, R) || !holds(top_p, R) ||
      !holds(min_p, R) || !holds(*token, R) || !holds(*log_total, R))
    return wrong("draw: shapes");
  Draw{.V = V,
       .live = live_rows(live.typed_data(), R),
       .logits = logits.typed_data(),
       .temperature = temperature.typed_data(),
       .uniform = uniform.typed_data(),
       .top_k = top_k.typed_data(),
       .top_p = top_p.typed_data(),
       .min_p = min_p.typed_data(),
       .token = token->typed_data(),
       .log_total = log_total->typed_data()}
      .run(pool);
  return ffi::Error::Success();
}

}  // namespace

// For Python, without XLA: packs W[N, K] into blob and returns its unit.
extern "C" float pollux_pack_eight(const float* w, int64_t N, int64_t K, uint8_t* blob) {
  return pack<Eight>(w, N, K, blob);
}

extern "C" float pollux_pack_four(const float* w, int64_t N, int64_t K, uint8_t* blob) {
  return pack<Four>(w, N, K, blob);
}

// Logits of many rows are tens of megabytes, which malloc would map anew for every step: touching
// fresh pages costs as much as a third of the product. The process keeps what it has freed.
extern "C" void pollux_keep_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(pollux_linear, linear,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<Bytes>()
                                  .Arg<Floats>()
                                  .Arg<Integers>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Attr<float>("eps")
                                  .Attr<int32_t>("gate"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(pollux_draw, draw,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::BufferR2<ffi::F32>>()
                                  .Arg<Integers>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Integers>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Integers>()
                                  .Ret<Floats>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(pollux_embed, embed,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Integers>()
                                  .Arg<Bytes>()
                                  .Arg<Floats>()
                                  .Arg<Integers>()
                                  .Ret<Floats>()
                                  .Attr<float>("scale"));

}  // namespace pollux
