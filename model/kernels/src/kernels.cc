// What XLA calls: checks of shapes and types, then the kernel for them.

#include "attention_ffi.h"
#include "buffers.h"
#include "draw.h"
#include "linear.h"

namespace pollux {
namespace {

bool holds(const ffi::AnyBuffer& x, int64_t count) {
  return static_cast<int64_t>(x.element_count()) == count;
}

bool holds_if_any(const ffi::AnyBuffer& x, int64_t count) { return holds(x, 0) || holds(x, count); }

ffi::Error linear(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer blob, ffi::AnyBuffer unit,
                  ffi::AnyBuffer norm, ffi::AnyBuffer post_norm, ffi::AnyBuffer residual,
                  ffi::Result<ffi::AnyBuffer> out, float eps, int32_t gate) {
  if (x.dimensions().size() == 0 || out->dimensions().size() == 0) return wrong("linear: ranks");
  const int64_t K = x.dimensions().back(), N = out->dimensions().back();
  if (K == 0 || N == 0) return wrong("linear: no columns");
  const int64_t M = static_cast<int64_t>(x.element_count()) / K;
  const Gate activation{gate};
  const int64_t columns = activation == Gate::kNone ? N : 2 * ceil_div(N, kTile / 2) * kTile / 2;
  const int64_t bytes = ceil_div(columns, kTile) * ceil_div(K, kGroup) * kGroupBytes;
  if (!holds(*out, M * N) || !holds(blob, bytes) || !holds(unit, 1) || !holds_if_any(norm, K) ||
      !holds_if_any(post_norm, N) || !holds_if_any(residual, M * N))
    return wrong("linear: shapes");
  Linear{.M = M,
         .K = K,
         .N = N,
         .x = static_cast<const float*>(x.untyped_data()),
         .norm = optional(norm),
         .blob = static_cast<const uint8_t*>(blob.untyped_data()),
         .unit = *static_cast<const float*>(unit.untyped_data()),
         .gate = activation,
         .post_norm = optional(post_norm),
         .residual = optional(residual),
         .eps = eps,
         .out = static_cast<float*>(out->untyped_data())}
      .run(pool);
  return ffi::Error::Success();
}

// Rows `tokens` of a packed table, times `scale`.
ffi::Error embed(ffi::AnyBuffer tokens, ffi::AnyBuffer blob, ffi::AnyBuffer unit,
                 ffi::Result<ffi::AnyBuffer> out, float scale) {
  if (blob.dimensions().size() != 3 || out->dimensions().size() == 0) return wrong("embed: ranks");
  const int64_t K = out->dimensions().back(), count = tokens.element_count();
  const int64_t last = blob.dimensions()[0] * kTile - 1;
  if (!holds(*out, count * K) || !holds(unit, 1) || blob.dimensions()[1] != ceil_div(K, kGroup) ||
      blob.dimensions()[2] != kGroupBytes)
    return wrong("embed: shapes");
  const int32_t* ids = static_cast<const int32_t*>(tokens.untyped_data());
  const float factor = scale * *static_cast<const float*>(unit.untyped_data());
  for (int64_t i = 0; i < count; ++i)
    unpack_row(static_cast<const uint8_t*>(blob.untyped_data()), factor, K,
               std::clamp<int64_t>(ids[i], 0, last),
               static_cast<float*>(out->untyped_data()) + i * K);
  return ffi::Error::Success();
}

ffi::Error draw(ffi::ThreadPool pool, ffi::AnyBuffer logits, ffi::AnyBuffer temperature,
                ffi::AnyBuffer uniform, ffi::Result<ffi::AnyBuffer> token,
                ffi::Result<ffi::AnyBuffer> log_total) {
  if (logits.dimensions().size() != 2) return wrong("draw: ranks");
  const int64_t R = logits.dimensions()[0], V = logits.dimensions()[1];
  if (V == 0 || !holds(temperature, R) || !holds(uniform, R) || !holds(*token, R) ||
      !holds(*log_total, R))
    return wrong("draw: shapes");
  Draw{.R = R,
       .V = V,
       .logits = static_cast<const float*>(logits.untyped_data()),
       .temperature = static_cast<const float*>(temperature.untyped_data()),
       .uniform = static_cast<const float*>(uniform.untyped_data()),
       .token = static_cast<int32_t*>(token->untyped_data()),
       .log_total = static_cast<float*>(log_total->untyped_data())}
      .run(pool);
  return ffi::Error::Success();
}

}  // namespace

// For Python, without XLA: packs W[N, K] into blob and returns its unit.
extern "C" float pollux_pack(const float* w, int64_t N, int64_t K, uint8_t* blob) {
  return pack(w, N, K, blob);
}

// Whether this CPU multiplies bytes fast enough for eight-bit weights to pay.
extern "C" int pollux_multiplies_bytes() {
#if defined(POLLUX_VNNI)
  return 1;
#else
  return 0;
#endif
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(pollux_linear, linear,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("eps")
                                  .Attr<int32_t>("gate"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(pollux_draw, draw,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(pollux_embed, embed,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("scale"));

}  // namespace pollux
