/* Where this program stands: what belongs to it is looked up beside it. */
#pragma once

#include <limits.h>

/* Directory of the running program, without a slash at its end; "" = unknown. */
void vivi_exe_dir(char ret[PATH_MAX]);
