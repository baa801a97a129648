// What XLA calls: checks of shapes and types, then the kernel for them.

#include "attention.h"

namespace pollux {
namespace {

ffi::Error wrong(const char* what) { return ffi::Error::InvalidArgument(what); }

const float* optional(const ffi::AnyBuffer& x) {
  return x.element_count() == 0 ? nullptr : static_cast<const float*>(x.untyped_data());
}

template <class T, class Out>
void run_attention(ffi::ThreadPool& pool, const AttentionShape& shape, const AttentionInput& in,
                   const ffi::AnyBuffer& k, const ffi::AnyBuffer& v, const ffi::AnyBuffer& out) {
  Attention<T, Out>(shape, in, static_cast<T*>(k.untyped_data()), static_cast<T*>(v.untyped_data()),
                    static_cast<Out*>(out.untyped_data()))
      .run(pool);
}

// k_in and v_in are the memory of k_pages and v_pages: the call is declared to update them.
ffi::Error attention(ffi::ThreadPool pool, ffi::AnyBuffer qkv, ffi::AnyBuffer bias,
                     ffi::AnyBuffer q_norm, ffi::AnyBuffer k_norm, ffi::AnyBuffer cos,
                     ffi::AnyBuffer sin, ffi::AnyBuffer k_in, ffi::AnyBuffer v_in,
                     ffi::AnyBuffer table, ffi::AnyBuffer positions, ffi::Result<ffi::AnyBuffer> out,
                     ffi::Result<ffi::AnyBuffer> k_pages, ffi::Result<ffi::AnyBuffer> v_pages,
                     float scale, float eps, int64_t window) {
  const auto qkv_dims = qkv.dimensions(), page_dims = k_pages->dimensions();
  if (qkv_dims.size() != 5 || page_dims.size() != 4 || table.dimensions().size() != 2)
    return wrong("attention: ranks");
  const AttentionShape shape{.B = qkv_dims[0],
                             .Q = qkv_dims[1],
                             .G = qkv_dims[2],
                             .R = qkv_dims[3] - 2,
                             .K = qkv_dims[4],
                             .S = page_dims[2],
                             .W = table.dimensions()[1]};
  const size_t angles = shape.B * shape.Q * shape.K / 2;
  if (page_dims[1] != shape.G || page_dims[3] != shape.K || shape.R < 1 || shape.K % 2 != 0 ||
      v_pages->element_count() != k_pages->element_count() || cos.element_count() != angles ||
      sin.element_count() != angles || table.dimensions()[0] != shape.B ||
      positions.element_count() != static_cast<size_t>(shape.B * shape.Q) ||
      out->element_count() != static_cast<size_t>(shape.B * shape.Q * shape.G * shape.R * shape.K))
    return wrong("attention: shapes");
  if (k_in.untyped_data() != k_pages->untyped_data() ||
      v_in.untyped_data() != v_pages->untyped_data())
    return wrong("attention: pages are not updated in place");
  const AttentionInput in{.qkv = static_cast<const float*>(qkv.untyped_data()),
                          .bias = optional(bias),
                          .q_norm = optional(q_norm),
                          .k_norm = optional(k_norm),
                          .cos = static_cast<const float*>(cos.untyped_data()),
                          .sin = static_cast<const float*>(sin.untyped_data()),
                          .table = static_cast<const int32_t*>(table.untyped_data()),
                          .positions = static_cast<const int32_t*>(positions.untyped_data()),
                          .scale = scale,
                          .eps = eps,
                          .window = window};
  const auto kept = k_pages->element_type(), wanted = out->element_type();
  if (kept == ffi::U16 && wanted == ffi::BF16)
    run_attention<Bf16, Bf16>(pool, shape, in, *k_pages, *v_pages, *out);
  else if (kept == ffi::U16 && wanted == ffi::F32)
    run_attention<Bf16, float>(pool, shape, in, *k_pages, *v_pages, *out);
  else if (kept == ffi::F32 && wanted == ffi::F32)
    run_attention<float, float>(pool, shape, in, *k_pages, *v_pages, *out);
  else
    return wrong("attention: types");
  return ffi::Error::Success();
}

}  // namespace

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
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("scale")
                                  .Attr<float>("eps")
                                  .Attr<int64_t>("window"));

}  // namespace pollux
