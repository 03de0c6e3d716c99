/* What an errno is called and how it reads inside a sentence; the same on every system and locale.
 */
#pragma once

/* "permission denied"; "no such file" for ENOENT; never NULL. Static text. */
const char *vivi_errno_text(int sys_errno);
