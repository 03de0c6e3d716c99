/* The fake driver's two tables, for the registries. */
#pragma once

#include "driver/driver.h"

extern const struct vivi_driver vivi_driver_fake;
extern const struct vivi_driver_effects vivi_effects_fake;
