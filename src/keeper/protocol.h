/*
 * Keeper <-> monitor: frames of base/frame.h (version 1) over a socketpair; the payload is
 * NUL-separated text fields. Includes base only: it is shared with the monitor (its client) and
 * with the manager (how to start a keeper).
 *
 * Names (table entries, roles): 1-47 of A-Z a-z 0-9 . _ -. A request that cannot be parsed ends the
 * monitor (SIGKILL) and a new one is started: the two no longer agree about the stream.
 *
 * monitor -> keeper
 *   HOLD name                + 1 descriptor: kept under name (replaces), given to every later
 *                            monitor and, where its map says so, to children. Reserved: "caller"
 *                            is also watched for hang-up. A full table (VIVI_KEEPER_MAX_NAMES)
 *                            and the names lock, listener, keeper, null are refused: logged only.
 *   DROP name                a missing one is fine. What a log's FIFO still holds is moved first.
 *   LOG name file limit      + 1 descriptor (the FIFO, O_RDWR|O_NONBLOCK): kept as name and spliced
 *                            into <vm dir>/file at offset = file size. Its head is punched out so
 *                            that about limit bytes stay (0 = all). file: a name ending in ".log",
 *                            not exits.log, monitor.log or ops.log, and no other entry's.
 *   DRAIN token name         all that is in the FIFO now is moved; answer DRAINED token name size
 *                            (size 0 when no log has that name)
 *   SPAWN req role run exe n_argv argv... n_map (child_fd=name)...
 *                            exe absolute; names are table entries or "null" (/dev/null), never
 *                            lock, listener or keeper. Descriptors 0-2 that the map does not name
 *                            are /dev/null. cwd "/". Answer SPAWNED or SPAWN_FAILED.
 *   QUIT                     the keeper removes the control socket, ends no child, waits up to 2 s
 *                            for its monitor to end, and ends
 * keeper -> monitor
 *   SPAWNED req pid start_time         the exec worked
 *   SPAWN_FAILED req errno text        no process is left; exits.log may have the child's two lines
 *   EXIT role run pid start_time wstatus|?
 *                            sent after every log of the table was drained. "?": the keeper was not
 *                            its parent and the system does not tell. At least once per child: a
 *                            monitor that starts at that moment also finds it in exits.log.
 *   GREW name size           the log of FIFO name has grown to size: sent at once, coalesced only
 *                            while the socket is full; once for every log to a new monitor
 *   DRAINED token name size
 *   LOST name errno          the log cannot be written now (disk full ...): nothing is lost yet,
 *                            the FIFO fills; retried with back-off. Once per episode (and to a new
 *                            monitor); errno 0 = works again
 *   CALLER_GONE              the descriptor held as "caller" hung up (also told to a new monitor)
 *
 * exits.log, one line each, by the keeper alone, before the gate opens and after a child was
 * reaped: spawn <role> <run> <pid> <start_time> <host_boot_id> <pid_ns> <wall ms> exit <role> <run>
 * <pid> <start_time> <wstatus|?> <wall ms> Monitors are in it with role "monitor" and run 0. It is
 * replaced by its tail when it passes VIVI_KEEPER_EXITS_MAX; the spawn lines of what lives are
 * kept.
 *
 * Starting a keeper: viv-keeper --vm-dir D --run-dir R --monitor EXE --status FD
 *   FD (write end of a pipe) gets one line and is closed:
 *     "ok <pid> <start_time>\n"    the lock is taken, the control socket listens, a monitor runs
 *     "busy\n"                     somebody else holds the lock
 *     "gone\n"                     D is no longer the VM's directory, or it has no lock file
 *     "error <errno> <text>\n"     text has no newline
 *   Its stderr is its log (monitor.log) and that of its monitors.
 * Taking over in place: the monitor execs
 *   viv-keeper --vm-dir D --run-dir R --monitor EXE --adopt     with VIV_FDS as it stands below.
 * Starting a monitor: EXE --vm-dir D --run-dir R --keeper K
 *   K is the keeper's own absolute path (what the monitor execs in place later); stderr is the
 *   keeper's.
 *
 * Environment of a monitor (and of --adopt): VIV_FDS="lock=5,listener=6,keeper=7,serial.out=8,..."
 * (decimal descriptors, all inherited). A LOG entry is listed as name@file@limit=fd.
 * Reserved names: lock, listener (run_dir/control.sock), keeper (the monitor's end of the
 * socketpair), caller, null.
 *
 * The keeper ignores SIGINT, SIGHUP and SIGTERM: it owns what must survive a log-out, and it is
 * ended by QUIT or SIGKILL.
 */
#pragma once

#define VIVI_KEEPER_VERSION   1
#define VIVI_KEEPER_MAX_NAMES 64
#define VIVI_KEEPER_NAME_MAX  48 /* with its NUL */
#define VIVI_KEEPER_EXITS_MAX (256u * 1024)
#define VIVI_FDS_ENV          "VIV_FDS"
#define VIVI_CONTROL_SOCKET   "control.sock"

enum vivi_keeper_op {
    VIVI_KO_HOLD = 1,
    VIVI_KO_DROP,
    VIVI_KO_LOG,
    VIVI_KO_DRAIN,
    VIVI_KO_SPAWN,
    VIVI_KO_QUIT,
    VIVI_KO_SPAWNED = 64,
    VIVI_KO_SPAWN_FAILED,
    VIVI_KO_EXIT,
    VIVI_KO_GREW,
    VIVI_KO_DRAINED,
    VIVI_KO_LOST,
    VIVI_KO_CALLER_GONE
};
