// What the bindings say about buffers of XLA.
#pragma once

#include "xla/ffi/api/ffi.h"

namespace pollux {

namespace ffi = xla::ffi;

inline ffi::Error wrong(const char* what) { return ffi::Error::InvalidArgument(what); }

// An array that may be absent is empty then.
inline const float* optional(const ffi::AnyBuffer& x) {
  return x.element_count() == 0 ? nullptr : static_cast<const float*>(x.untyped_data());
}

}  // namespace pollux
