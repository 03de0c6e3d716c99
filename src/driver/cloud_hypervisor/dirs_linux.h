/* The VM's directories as every one of its VMMs sees them, by descriptors that it is given. The
 * numbers are part of what a snapshot holds and a migration sends: they stay. */
#pragma once

#define CH_FD_RUN  8
#define CH_FD_VM   9
#define CH_FD_NETS 10 /* without an API: those of NICs, by their index */
#define CH_RUN_DIR "/proc/self/fd/8"
#define CH_VM_DIR  "/proc/self/fd/9"
