/* Whether VMMs can lock themselves in with Landlock on this host. */
#pragma once

/* The version of Landlock's interface in this kernel; 0: none, or switched off. */
int vivi_landlock_abi(void);
