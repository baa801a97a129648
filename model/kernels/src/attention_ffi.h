// What XLA calls for attention: checks of shapes and types, then the kernel for them.
#pragma once

#include <vector>

#include "attention.h"
#include "buffers.h"

namespace pollux {

class AttentionCall {
 public:
  ffi::AnyBuffer qkv, bias, q_norm, k_norm, cos, sin, table, owners, positions;
  ffi::AnyBuffer out;
  std::vector<ffi::AnyBuffer> pages;  // Keys and values, or these and their scales.
  float scale, eps;
  int64_t window;

  ffi::Error run(ffi::ThreadPool& pool) const {
    const auto heads = qkv.dimensions(), page = pages[0].dimensions(), rows = table.dimensions();
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
        !has(pages[1], s.P * s.G * s.S * s.K) || !has(cos, angles) || !has(sin, angles) ||
        !has(owners, s.T) || !has(positions, s.T) || !has(out, s.T * s.G * s.R * s.K) ||
        !has_or_none(bias, s.G * (s.R + 2) * s.K) || !has_or_none(q_norm, s.K) ||
        !has_or_none(k_norm, s.K))
      return wrong("attention: shapes");
    if (!floats(qkv) || !floats(bias) || !floats(q_norm) || !floats(k_norm) || !floats(cos) ||
        !floats(sin) || !integers(table) || !integers(owners) || !integers(positions) ||
        pages[0].element_type() != pages[1].element_type())
      return wrong("attention: types");
    const auto kept = pages[0].element_type();
    if ((kept == ffi::S8) != (pages.size() == 4)) return wrong("attention: scales");
    if (kept == ffi::F32) return run_kept<float>(pool, s);
    if (kept == ffi::U16) return run_kept<Bf16>(pool, s);
    if (kept != ffi::S8) return wrong("attention: types");
    const int64_t scales = s.P * s.G * s.S;
    if (s.K > kMaxInt8K || s.S > kMaxInt8S || !has(pages[2], scales) || !has(pages[3], scales) ||
        !floats(pages[2]) || !floats(pages[3]))
      return wrong("attention: scales");
    return run_kept<int8_t>(pool, s);
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

  template <class T>
  ffi::Error run_kept(ffi::ThreadPool& pool, const AttentionShape& s) const {
    if (out.element_type() == ffi::F32) return run_as<T, float>(pool, s);
    if (out.element_type() == ffi::BF16) return run_as<T, Bf16>(pool, s);
    return wrong("attention: types");
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
                             data<int32_t>(table), window, pool.num_threads());
    const Pages<T> kv{.k = data<T>(pages[0]),
                      .v = data<T>(pages[1]),
                      .k_scale = pages.size() == 4 ? data<float>(pages[2]) : nullptr,
                      .v_scale = pages.size() == 4 ? data<float>(pages[3]) : nullptr};
    Attention<T, Out>(s, plan, in, scale, kv, data<Out>(out)).run(pool);
    return ffi::Error::Success();
  }
};

// before and after: the pages as arguments and as results, in the same memory.
inline ffi::Error attention(ffi::ThreadPool pool, ffi::AnyBuffer qkv, ffi::AnyBuffer bias,
                            ffi::AnyBuffer q_norm, ffi::AnyBuffer k_norm, ffi::AnyBuffer cos,
                            ffi::AnyBuffer sin, ffi::AnyBuffer table, ffi::AnyBuffer owners,
                            ffi::AnyBuffer positions, ffi::RemainingArgs before,
                            ffi::Result<ffi::AnyBuffer> out, ffi::RemainingRets after, float scale,
                            float eps, int64_t window) {
  if (before.size() != after.size() || (before.size() != 2 && before.size() != 4))
    return wrong("attention: pages");
  std::vector<ffi::AnyBuffer> pages;
  for (size_t i = 0; i < before.size(); ++i) {
    const auto from = before.get<ffi::AnyBuffer>(i);
    auto to = after.get<ffi::AnyBuffer>(i);
    if (!from.has_value() || !to.has_value()) return wrong("attention: pages");
    if (from->untyped_data() != (*to)->untyped_data())
      return wrong("attention: pages are not updated in place");
    pages.push_back(**to);
  }
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
                       .pages = pages,
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
                                  .RemainingArgs()
                                  .Ret<ffi::AnyBuffer>()
                                  .RemainingRets()
                                  .Attr<float>("scale")
                                  .Attr<float>("eps")
                                  .Attr<int64_t>("window"));

}  // namespace pollux
