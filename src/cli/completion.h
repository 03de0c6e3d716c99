/* The completion scripts of completions/, embedded by the build (embed.py makes the .c). */
#pragma once

#include <stddef.h>

struct vivi_completion_script {
    const char *shell; /* "bash" */
    const char *text;
};

extern const struct vivi_completion_script vivi_completion_scripts[];
extern const size_t vivi_completion_scripts_count;
