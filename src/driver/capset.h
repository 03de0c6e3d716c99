/*
 * Capability sets as constant initializers: a driver lists its rows once,
 *     #define QEMU_CAPS(X) X(PAUSE) X(RESET)
 * and writes .caps = VIVI_CAPSET(QEMU_CAPS).
 */
#pragma once

#include "model/caps.h"

#define VIVI_CAPSET_BIT0_(e) \
    | (VIVI_CAP_##e < 64 ? UINT64_C(1) << (VIVI_CAP_##e % 64) : UINT64_C(0))
#define VIVI_CAPSET_BIT1_(e) \
    | (VIVI_CAP_##e >= 64 ? UINT64_C(1) << (VIVI_CAP_##e % 64) : UINT64_C(0))
#define VIVI_CAPSET(LIST)                                                                    \
    {                                                                                        \
        .bits = { UINT64_C(0) LIST(VIVI_CAPSET_BIT0_), UINT64_C(0) LIST(VIVI_CAPSET_BIT1_) } \
    }
_Static_assert(VIVI_CAPS_WORDS == 2, "VIVI_CAPSET fills two words");
