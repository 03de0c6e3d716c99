/* How a VM's state is shown to people. */
#pragma once

#include "cli/cli.h"

/* The state's word; "ready" for a running VM that is ready. Borrowed. */
const char *vivi_shown_state(const viv_rec *rec);
