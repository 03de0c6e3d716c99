/* paths.h: the paths in requests. */
#pragma once

#include "agent.h"

/* path=, absolute; NULL and err if it is not. */
const char *request_path(const struct vivi_aw_frame *q, viv_error *err);
/*
 * Where a copy goes (PATH_MAX bytes): path=, or path=/name= where path is a directory and a name
 * is given; a link is followed to the file it means. mkdir= makes missing parents.
 */
int request_target(const struct vivi_aw_frame *q, char *ret, viv_error *err);
