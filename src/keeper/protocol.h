/*
 * Keeper ↔ monitor: frames of base/frame.h (version 1) over a socketpair; payload is NUL-separated text fields.
 * Includes base only: it is shared with the monitor (keeper_client.c there) and with the manager (how to start a keeper).
 *
 * monitor → keeper
 *   HOLD name                 + 1 descriptor: kept in the table under name (replaces), given to every later monitor and spawn
 *   DROP name
 *   LOG name file limit       + 1 descriptor (the FIFO, O_RDWR|O_NONBLOCK): keeps it as name and splices it into <vm dir>/file at offset = file size;
 *                             punches the head so that about limit bytes stay (0 = all)
 *   DRAIN token name          everything now in the FIFO is moved; answer DRAINED token name size
 *   SPAWN req role run exe n_argv argv… n_map (child_fd=name)…    names are table entries, "null" = /dev/null; answer SPAWNED or SPAWN_FAILED
 *   QUIT                      answer: the keeper ends (SIGTERM to nobody), its monitor being gone or going
 * keeper → monitor
 *   SPAWNED req pid start_time
 *   SPAWN_FAILED req errno text
 *   EXIT role run pid start_time wstatus|?      sent after every log of the table was drained
 *   GREW name size                              the log of FIFO name has grown to size (coalesced, never delayed)
 *   DRAINED token name size
 *   LOST name errno                             a log cannot be written now (disk full …): retried with back-off; sent once per episode, errno 0 = works again
 *   CALLER_GONE                                 the descriptor held as "caller" hung up
 *
 * exits.log, one line each, written with O_APPEND by the keeper before the gate opens and after a child was reaped:
 *   spawn <role> <run> <pid> <start_time> <host_boot_id> <pid_ns> <wall ms>
 *   exit <role> <run> <pid> <start_time> <wstatus|?> <wall ms>
 *
 * Starting a keeper: viv-keeper --vm-dir D --run-dir R --monitor EXE --status FD
 *   FD (write end of a pipe) gets one line and is closed: "ok <pid> <start_time>\n" (lock taken, control socket listens, monitor being started), "busy\n" (another one holds the lock),
 *   "gone\n" (the directory is no longer the VM's), "error <errno> <text>\n".
 * Taking over in place: the monitor execs viv-keeper --vm-dir D --run-dir R --monitor EXE --adopt with the environment below.
 *
 * Starting a monitor: MONITOR --vm-dir D --run-dir R --keeper EXE, EXE being the keeper's own absolute path (what the monitor execs in place later); stderr is the keeper's.
 *
 * Environment of a monitor (and of --adopt): VIV_FDS="lock=5,listener=6,keeper=7,serial.out=8,…" (decimal descriptors, all inherited).
 * Reserved names: lock, listener (run_dir/control.sock), keeper (the monitor's end of the socketpair), caller, null.
 * A LOG entry is listed as name@file@limit=fd, so that an adopting keeper goes on logging.
 */
#pragma once

#define VIVI_KEEPER_VERSION 1
#define VIVI_KEEPER_MAX_NAMES 64
#define VIVI_KEEPER_NAME_MAX 48
#define VIVI_FDS_ENV "VIV_FDS"
#define VIVI_CONTROL_SOCKET "control.sock"

enum vivi_keeper_op {
    VIVI_KO_HOLD = 1, VIVI_KO_DROP, VIVI_KO_LOG, VIVI_KO_DRAIN, VIVI_KO_SPAWN, VIVI_KO_QUIT,
    VIVI_KO_SPAWNED = 64, VIVI_KO_SPAWN_FAILED, VIVI_KO_EXIT, VIVI_KO_GREW, VIVI_KO_DRAINED, VIVI_KO_LOST, VIVI_KO_CALLER_GONE
};
