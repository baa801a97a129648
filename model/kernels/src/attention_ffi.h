// What XLA calls for attention: checks of shapes and types, then the kernel for them.
#pragma once

#include "attention.h"
#include "buffers.h"

namespace pollux {

class AttentionCall {
 public:
  ffi::AnyBuffer qkv, bias, q_norm, k_norm, cos, sin, table, owners, positions;
  ffi::AnyBuffer out, k_pages, v_pages;
  float scale, eps;
  int64_t window;

  ffi::Error run(ffi::ThreadPool& pool) const {
    const auto heads = qkv.dimensions(), page = k_pages.dimensions(), rows = table.dimensions();
    if (heads.size() != 4 || page.size() != 4 || rows.size() != 2)
      return wrong("attention: ranks");
    const AttentionShape s{.T = heads[0],
                           .G = heads[1],
                           .R = heads[2] - 2,
                           .K = heads[3],
                           .P = page[0],
                           .S = page[2],
                           .N = rows[0],
                           .W = rows[1]};
    const int64_t angles = s.T * s.K / 2;
    if (s.R < 1 || s.K < 2 || s.K % 2 != 0 || s.K > kMaxK || s.P < 1 || s.S < 1 ||
        s.S > kMaxS || page[1] != s.G || page[3] != s.K ||
        !has(v_pages, s.P * s.G * s.S * s.K) || !has(cos, angles) || !has(sin, angles) ||
        !has(owners, s.T) || !has(positions, s.T) || !has(out, s.T * s.G * s.R * s.K) ||
        !has_or_none(bias, s.G * (s.R + 2) * s.K) || !has_or_none(q_norm, s.K) ||
        !has_or_none(k_norm, s.K))
      return wrong("attention: shapes");
    if (!floats(qkv) || !floats(bias) || !floats(q_norm) || !floats(k_norm) || !floats(cos) ||
        !floats(sin) || !integers(table) || !integers(owners) || !integers(positions) ||
        v_pages.element_type() != k_pages.element_type())
      return wrong("attention: types");
    const auto kept = k_pages.element_type(), wanted = out.element_type();
    if (kept == ffi::U16 && wanted == ffi::BF16) return run_as<Bf16, Bf16>(pool, s);
    if (kept == ffi::U16 && wanted == ffi::F32) return run_as<Bf16, float>(pool, s);
    if (kept == ffi::F32 && wanted == ffi::F32) return run_as<float, float>(pool, s);
    return wrong("attention: types");
  }

 private:
  static constexpr int64_t kMaxK = 8192, kMaxS = 1 << 16;

  static bool has(const ffi::AnyBuffer& x, int64_t count) {
    return static_cast<int64_t>(x.element_count()) == count;
  }
  static bool has_or_none(const ffi::AnyBuffer& x, int64_t count) {
    return has(x, 0) || has(x, count);
  }
  static bool floats(const ffi::AnyBuffer& x) { return x.element_type() == ffi::F32; }
  static bool integers(const ffi::AnyBuffer& x) { return x.element_type() == ffi::S32; }

  template <class X>
  static X* data(const ffi::AnyBuffer& x) {
    return static_cast<X*>(x.untyped_data());
  }

  template <class T, class Out>
  ffi::Error run_as(ffi::ThreadPool& pool, const AttentionShape& s) const {
    const HeadsInput in{.qkv = data<float>(qkv),
                        .bias = optional(bias),
                        .q_norm = optional(q_norm),
                        .k_norm = optional(k_norm),
                        .cos = data<float>(cos),
                        .sin = data<float>(sin),
                        .eps = eps};
    const AttentionPlan plan(s, data<int32_t>(owners), data<int32_t>(positions),
                             data<int32_t>(table), window);
    Attention<T, Out>(s, plan, in, scale, data<T>(k_pages), data<T>(v_pages), data<Out>(out))
        .run(pool);
    return ffi::Error::Success();
  }
};

// k_in and v_in are the memory of k_pages and v_pages: the call is declared to update them.
inline ffi::Error attention(ffi::ThreadPool pool, ffi::AnyBuffer qkv, ffi::AnyBuffer bias,
                            ffi::AnyBuffer q_norm, ffi::AnyBuffer k_norm, ffi::AnyBuffer cos,
                            ffi::AnyBuffer sin, ffi::AnyBuffer k_in, ffi::AnyBuffer v_in,
                            ffi::AnyBuffer table, ffi::AnyBuffer owners, ffi::AnyBuffer positions,
                            ffi::Result<ffi::AnyBuffer> out, ffi::Result<ffi::AnyBuffer> k_pages,
                            ffi::Result<ffi::AnyBuffer> v_pages, float scale, float eps,
                            int64_t window) {
  if (k_in.untyped_data() != k_pages->untyped_data() ||
      v_in.untyped_data() != v_pages->untyped_data())
    return wrong("attention: pages are not updated in place");
  return AttentionCall{.qkv = qkv,
                       .bias = bias,
                       .q_norm = q_norm,
                       .k_norm = k_norm,
                       .cos = cos,
                       .sin = sin,
                       .table = table,
                       .owners = owners,
                       .positions = positions,
                       .out = *out,
                       .k_pages = *k_pages,
                       .v_pages = *v_pages,
                       .scale = scale,
                       .eps = eps,
                       .window = window}
      .run(pool);
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(pollux_attention, attention,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("scale")
                                  .Attr<float>("eps")
                                  .Attr<int64_t>("window"));

}  // namespace pollux
