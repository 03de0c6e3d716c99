#pragma once

#include "cli/cli.h"

/* viv migrate receive --stdio: the other end. */
int vivi_cmd_receive(struct vivi_cli *c);
