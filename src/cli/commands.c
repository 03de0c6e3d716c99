/* The one table of commands: parser, help, man pages and completion follow from it. */
#include "cli/cli.h"

#include <string.h>

#define END {.name = NULL}

const struct vivi_flag vivi_flags_global[] = {
    {"--root", 0, VIVI_V_DIR, "DIR", NULL, "$VIV_HOME, else the user's state directory",
     "state root: where the VMs are recorded"},
    {"--output", 'o', VIVI_V_CHOICE, "FORMAT", "table|json|yaml", "table",
     "how results are printed; with json errors are JSON too"},
    {"--format", 0, VIVI_V_TEXT, "TEMPLATE", NULL, NULL,
     "one line per result, as in '{name} {ip}'"},
    {"--quiet", 'q', VIVI_V_NONE, NULL, NULL, NULL, "names only"},
    {"--help", 'h', VIVI_V_NONE, NULL, NULL, NULL, "help about the command"},
    END,
};

/* ---- sets that commands share ---- */

static const struct vivi_flag flags_select[] = {
    {"--all", 'a', VIVI_V_NONE, NULL, NULL, NULL, "every VM that the command can apply to"},
    {"--filter", 0, VIVI_V_FILTER, "FILTER", NULL, NULL,
     "only VMs that match, as in state=ready,labels.job=42; may be repeated"},
    {"--label", 0, VIVI_V_TEXT, "KEY=VALUE", NULL, NULL,
     "only VMs with this label; may be repeated"},
    END,
};

static const struct vivi_flag flags_config[] = {
    {"--file", 'f', VIVI_V_FILE, "FILE", NULL, NULL,
     "configuration, YAML or JSON (- = standard input); may be repeated, the last one wins"},
    {"--set", 0, VIVI_V_SETTING, "PATH=VALUE", NULL, NULL,
     "sets any field, after all other flags; disks.+ID.path=… adds, disks.ID- removes"},
    {"--require-kvm", 0, VIVI_V_NONE, NULL, NULL, NULL, "fail rather than emulate (accel: kvm)"},
    END,
};

static const struct vivi_flag flags_dry_run[] = {
    {"--dry-run", 0, VIVI_V_NONE, NULL, NULL, NULL, "print what a start would do, and do nothing"},
    END,
};

static const struct vivi_flag flags_changing[] = {
    {"--next", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "leave this run alone: only from the next start on"},
    {"--live", 0, VIVI_V_NONE, NULL, NULL, NULL, "change only this run, not the next start"},
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "60s",
     "how long each change may take that waits for the guest"},
    END,
};

static const struct vivi_flag flags_device[] = {
    {"--force", 'f', VIVI_V_NONE, NULL, NULL, NULL,
     "rm: take away a disk that the guest uses; what it has not written yet is lost"},
    END,
};

static const struct vivi_flag flags_async[] = {
    {"--async", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "return as soon as it is accepted; viv events tells how it ends"},
    END,
};

static const struct vivi_flag flags_resize[] = {
    {"--cpus", 'c', VIVI_V_NUMBER, "N", NULL, NULL, "so many CPUs, up to cpus.max"},
    {"--memory", 'm', VIVI_V_TEXT, "SIZE", NULL, NULL, "so much memory, up to memory.max"},
    {"--balloon", 0, VIVI_V_TEXT, "SIZE", NULL, NULL,
     "so much of the memory is left to the guest; all takes the balloon away"},
    {"--disk", 0, VIVI_V_TEXT, "ID=SIZE", NULL, NULL, "so large a disk; may be repeated"},
    {"--zone", 0, VIVI_V_TEXT, "ID=SIZE", NULL, NULL,
     "so much memory of one NUMA node; may be repeated"},
    {"--force", 'f', VIVI_V_NONE, NULL, NULL, NULL,
     "cut a disk's image, too; what lies behind is lost for good"},
    END,
};

static const struct vivi_flag flags_diff[] = {
    {"--dry-run", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "print what would be changed, and change nothing"},
    END,
};

/* ---- flags of single commands ---- */

static const struct vivi_flag flags_apply[] = {
    {"--dry-run", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "print what would be changed, and change nothing"},
    {"--next", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "leave this run alone: only from the next start on"},
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "60s",
     "how long each change may take that waits for the guest"},
    END,
};

static const struct vivi_flag flags_show[] = {
    {"--pending", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "show VM: what of its configuration waits for the next start"},
    END,
};

static const struct vivi_flag flags_run[] = {
    {"--detach", 'd', VIVI_V_NONE, NULL, NULL, NULL,
     "return when the guest is ready and print only the name"},
    {"--rm", 0, VIVI_V_NONE, NULL, NULL, NULL, "remove the VM when it ends"},
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "120s, three times that when emulated",
     "how long the guest may take to be ready"},
    {"--raw", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "pass the guest's escape sequences to the terminal"},
    END,
};

static const struct vivi_flag flags_start[] = {
    {"--wait", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "return when the guest is ready, not when it runs"},
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "30s; with --wait that of ready.timeout",
     "how long it may take"},
    {"--unless-stopped", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "leave alone those that were ended by viv stop or viv kill, as autostart does"},
    END,
};

static const struct vivi_flag flags_autostart[] = {
    {"--unit-dir", 0, VIVI_V_DIR, "DIR", NULL,
     "/etc/systemd/system, or the user's own ~/.config/systemd/user",
     "write the unit here, as for a system that is not booted"},
    END,
};

static const struct vivi_flag flags_snapshot[] = {
    {"--allow-long-pause", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "create: copy the disks although the guest stands still for so long"},
    END,
};

static const struct vivi_flag flags_restore[] = {
    {"--on-demand", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "run before the memory is read, and read it as it is used, where the host allows it"},
    END,
};

static const struct vivi_flag flags_upgrade[] = {
    {"--vmm", 0, VIVI_V_FILE, "FILE", NULL, "that of vmm.path, else the one that is installed now",
     "this program, from now on (it becomes vmm.path)"},
    END,
};

static const struct vivi_flag flags_migrate[] = {
    {"--via", 0, VIVI_V_TEXT, "WAY", NULL, "tcp:HOST of ssh://HOST, else unix",
     "how the machine goes: unix (both ends are on this host), or tcp:HOST[:PORT] as the "
     "destination is reached from here"},
    {"--tls", 0, VIVI_V_DIR, "DIR", NULL, NULL,
     "encrypt, with the keys in this directory (Cloud Hypervisor 53 or later)"},
    {"--remote-tls", 0, VIVI_V_TEXT, "DIR", NULL, "that of --tls", "the same on the destination"},
    {"--local", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "both ends are on this host: the memory changes hands as it is"},
    {"--downtime", 0, VIVI_V_DURATION, "TIME", NULL, "that of the VMM",
     "how long the guest may stand still"},
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "that of the VMM",
     "give up after this time; the guest goes on here"},
    {"--connections", 0, VIVI_V_NUMBER, "N", NULL, "1", "how many of them carry memory, with tcp"},
    {"--resolve", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "ask the destination of an interrupted migration whether the VM is there"},
    {"--stdio", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "receive: the other end is at standard input and output"},
    END,
};

static const struct vivi_flag flags_stop[] = {
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "60s",
     "how long the guest may take before the VMM is ended; 0 kills at once"},
    {"--no-kill", 0, VIVI_V_NONE, NULL, NULL, NULL, "give up after the timeout (exit 6)"},
    {"--for-now", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "autostart starts them all the same when the host boots next"},
    END,
};

static const struct vivi_flag flags_kill[] = {
    {"--force", 'f', VIVI_V_NONE, NULL, NULL, NULL, "even when its monitor does not answer"},
    END,
};

static const struct vivi_flag flags_reboot[] = {
    {"--hard", 0, VIVI_V_NONE, NULL, NULL, NULL, "the VMM's reset, without asking the guest"},
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "60s",
     "how long the guest may take to shut down"},
    END,
};

static const struct vivi_flag flags_agent[] = {
    {"--init", 0, VIVI_V_CHOICE, "INIT", "systemd|openrc|busybox", "what is found in the directory",
     "what starts services there"},
    {"--agent", 0, VIVI_V_FILE, "FILE", NULL, "the one installed with viv",
     "this program, as for guests of another architecture"},
    END,
};

static const struct vivi_flag flags_pause[] = {
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "10s", "how long it may take"},
    END,
};

static const struct vivi_flag flags_nmi[] = {
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "10s", "how long the VMM may take"},
    END,
};

static const struct vivi_flag flags_coredump[] = {
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "none", "give up after this time (exit 6)"},
    END,
};

static const struct vivi_flag flags_api[] = {
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "as long as the endpoint should take",
     "give up after this time (exit 6); the VMM goes on"},
    END,
};

static const struct vivi_flag flags_rm[] = {
    {"--force", 'f', VIVI_V_NONE, NULL, NULL, NULL, "kill a running VM first"},
    {"--ignore-missing", 0, VIVI_V_NONE, NULL, NULL, NULL, "a VM that is not there is no error"},
    END,
};

static const struct vivi_flag flags_wait[] = {
    {"--timeout", 't', VIVI_V_DURATION, "TIME", NULL, "for ready that of ready.timeout, else none",
     "give up after this time (exit 6)"},
    END,
};

static const struct vivi_flag flags_ps[] = {
    {"--all", 'a', VIVI_V_NONE, NULL, NULL, NULL, "accepted: all states are always listed"},
    {"--running", 0, VIVI_V_NONE, NULL, NULL, NULL, "only VMs that have a VMM"},
    {"--filter", 0, VIVI_V_FILTER, "FILTER", NULL, NULL,
     "only VMs that match, as in state=ready,labels.job=42; may be repeated"},
    {"--label", 0, VIVI_V_TEXT, "KEY=VALUE", NULL, NULL,
     "only VMs with this label; may be repeated"},
    END,
};

static const struct vivi_flag flags_stats[] = {
    {"--prometheus", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "in the text format that Prometheus collects"},
    END,
};

static const struct vivi_flag flags_logs[] = {
    {"--follow", 'f', VIVI_V_NONE, NULL, NULL, NULL, "go on until the VM ends, across reboots"},
    {"--lines", 'n', VIVI_V_NUMBER, "N", NULL, "all", "only the last N lines"},
    {"--since", 0, VIVI_V_TEXT, "TIME", NULL, NULL,
     "from this time on (10m ago, or 2026-01-02T03:04:05Z)"},
    {"--timestamps", 't', VIVI_V_NONE, NULL, NULL, NULL, "begin each line with its time"},
    {"--boot", 0, VIVI_V_NUMBER, "N", NULL, NULL, "only boot N; -1 is the last"},
    {"--monitor", 0, VIVI_V_NONE, NULL, NULL, NULL, "the log of the VM's monitor and keeper"},
    {"--vmm", 0, VIVI_V_NONE, NULL, NULL, NULL, "what the VMM wrote to its standard error"},
    {"--raw", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "pass the guest's escape sequences to the terminal"},
    END,
};

static const struct vivi_flag flags_console[] = {
    {"--steal", 0, VIVI_V_NONE, NULL, NULL, NULL, "take the place of another writer"},
    {"--read-only", 0, VIVI_V_NONE, NULL, NULL, NULL, "only look"},
    {"--raw", 0, VIVI_V_NONE, NULL, NULL, NULL,
     "pass the guest's escape sequences to the terminal"},
    END,
};

static const struct vivi_flag flags_guest[] = {
    {"--env", 'e', VIVI_V_TEXT, "KEY=VALUE", NULL, NULL,
     "set in the program's environment; may be repeated"},
    {"--workdir", 'w', VIVI_V_TEXT, "DIR", NULL, "the user's home", "where it runs, in the guest"},
    {"--user", 'u', VIVI_V_TEXT, "USER", NULL, "root", "as whom: a name, or UID[:GID]"},
    END,
};

static const struct vivi_flag flags_cp[] = {
    {"--mkdir", 0, VIVI_V_NONE, NULL, NULL, NULL, "make missing directories in the guest"},
    {"--timeout", 0, VIVI_V_DURATION, "TIME", NULL, "none", "give up after this time"},
    END,
};

static const struct vivi_flag flags_exec[] = {
    {"--interactive", 'i', VIVI_V_NONE, NULL, NULL, NULL, "pass on standard input"},
    {"--tty", 't', VIVI_V_NONE, NULL, NULL, NULL,
     "give it a terminal, whose keys, size and output are this one's"},
    {"--timeout", 0, VIVI_V_DURATION, "TIME", NULL, "none", "end it after this time (exit 125)"},
    {"--connect-timeout", 0, VIVI_V_DURATION, "TIME", NULL, "10s", "how long to wait for an agent"},
    END,
};

static const struct vivi_flag flags_events[] = {
    {"--since", 0, VIVI_V_NUMBER, "SEQ", NULL, "from now on",
     "every event after this number that is still kept; 0 is all"},
    {"--no-follow", 0, VIVI_V_NONE, NULL, NULL, NULL, "print what is there, then end"},
    {"--filter", 0, VIVI_V_FILTER, "FILTER", NULL, NULL,
     "only events that match, as in vm=web,type=state or labels.job=42; may be repeated"},
    {"--label", 0, VIVI_V_TEXT, "KEY=VALUE", NULL, NULL,
     "only events of VMs with this label; may be repeated"},
    {"--all", 'a', VIVI_V_NONE, NULL, NULL, NULL,
     "accepted: without a filter the events of all VMs are told"},
    END,
};

#define ONLY(own)                          \
    {                                      \
        .sets = { own, vivi_flags_global } \
    }
#define AND_SELECT(own)                                  \
    {                                                    \
        .sets = { own, flags_select, vivi_flags_global } \
    }
#define ASYNC_SELECT(own)                                             \
    {                                                                 \
        .sets = { own, flags_async, flags_select, vivi_flags_global } \
    }
#define AND_ASYNC(own)                                  \
    {                                                   \
        .sets = { own, flags_async, vivi_flags_global } \
    }
#define NO_FLAGS                      \
    {                                 \
        .sets = { vivi_flags_global } \
    }
#define ONLY_SELECT                                 \
    {                                               \
        .sets = { flags_select, vivi_flags_global } \
    }
#define AND_CONFIG(own) \
    {.sets = {own, flags_config, flags_dry_run, vivi_flags_global}, .fields = true}

const struct vivi_command vivi_commands[] = {
    {"run", NULL, "Making", "create and start a VM, here and now",
     "[FLAGS] FILE.yaml | IMAGE | --kernel FILE [-- COMMAND…]", "viv-run", VIVI_TARGETS_IMAGE, NULL,
     AND_CONFIG(flags_run), vivi_cmd_run, false},
    {"create",
     NULL,
     "Making",
     "define a VM without starting it",
     "[FLAGS] FILE.yaml | IMAGE | --kernel FILE",
     "viv-run",
     VIVI_TARGETS_IMAGE,
     NULL,
     {.sets = {flags_config, flags_dry_run, vivi_flags_global}, .fields = true},
     vivi_cmd_create,
     false},
    {"apply",
     NULL,
     "Making",
     "create a VM, or change it to a configuration",
     "[FLAGS] -f FILE",
     "viv-apply",
     VIVI_TARGETS_IMAGE,
     NULL,
     {.sets = {flags_apply, flags_config, vivi_flags_global}, .fields = true},
     vivi_cmd_apply,
     false},
    {"set",
     NULL,
     "Making",
     "change single fields of a VM",
     "[FLAGS] VM PATH=VALUE…",
     "viv-apply",
     VIVI_TARGETS_SET,
     NULL,
     {.sets = {flags_changing, flags_diff, vivi_flags_global}},
     vivi_cmd_set,
     false},
    {"edit", NULL, "Making", "change a VM's configuration in an editor", "[FLAGS] VM", "viv-apply",
     VIVI_TARGETS_ONE, NULL, ONLY(flags_changing), vivi_cmd_edit, false},
    {"device",
     NULL,
     "Making",
     "devices of a VM that come and go",
     "add [FLAGS] VM KIND [KEY=VALUE…] | rm [FLAGS] VM KIND ID | ls VM",
     "viv-device",
     VIVI_TARGETS_DEVICE,
     "add|rm|ls",
     {.sets = {flags_device, flags_changing, flags_async, vivi_flags_global}},
     vivi_cmd_device,
     false},
    {"resize",
     NULL,
     "Making",
     "more or fewer CPUs, more or less memory, larger disks",
     "[FLAGS] VM",
     "viv-device",
     VIVI_TARGETS_ONE,
     NULL,
     {.sets = {flags_resize, flags_changing, flags_async, vivi_flags_global}},
     vivi_cmd_resize,
     false},
    {"start",
     NULL,
     "Life",
     "start VMs",
     "[FLAGS] VM…",
     "viv-start",
     VIVI_TARGETS_MANY,
     NULL,
     {.sets = {flags_start, flags_dry_run, flags_select, vivi_flags_global}},
     vivi_cmd_start,
     false},
    {"stop", NULL, "Life", "stop VMs gracefully, then surely", "[FLAGS] VM…", "viv-start",
     VIVI_TARGETS_MANY, NULL, ASYNC_SELECT(flags_stop), vivi_cmd_stop, false},
    {"kill", NULL, "Life", "end VMs at once", "[FLAGS] VM…", "viv-start", VIVI_TARGETS_MANY, NULL,
     AND_SELECT(flags_kill), vivi_cmd_kill, false},
    {"reboot", NULL, "Life", "stop VMs gracefully and start them again", "[FLAGS] VM…", "viv-start",
     VIVI_TARGETS_MANY, NULL, ASYNC_SELECT(flags_reboot), vivi_cmd_reboot, false},
    {"pause", NULL, "Life", "freeze running VMs", "[FLAGS] VM…", "viv-start", VIVI_TARGETS_MANY,
     NULL, ASYNC_SELECT(flags_pause), vivi_cmd_pause, false},
    {"resume", NULL, "Life", "let paused VMs go on", "[FLAGS] VM…", "viv-start", VIVI_TARGETS_MANY,
     NULL, ASYNC_SELECT(flags_pause), vivi_cmd_resume, false},
    {"rm", NULL, "Life", "remove VMs and all their files", "[FLAGS] VM…", "viv-start",
     VIVI_TARGETS_MANY, NULL, AND_SELECT(flags_rm), vivi_cmd_rm, false},
    {"wait", NULL, "Life", "wait until VMs are ready, end, or reach a state",
     "[FLAGS] VM… [ready | exit | STATE]", "viv-start", VIVI_TARGETS_WAIT, NULL, ONLY(flags_wait),
     vivi_cmd_wait, false},
    {"autostart", NULL, "Life", "start VMs with their host, or no longer",
     "on [FLAGS] VM… | off VM… | status [VM…]", "viv-autostart", VIVI_TARGETS_SUB, "on|off|status",
     AND_SELECT(flags_autostart), vivi_cmd_autostart, false},
    {"snapshot", NULL, "Life", "keep the state of a VM with its disks",
     "create [FLAGS] VM NAME | ls VM | rm VM NAME", "viv-snapshot", VIVI_TARGETS_SUB,
     "create|ls|rm", AND_ASYNC(flags_snapshot), vivi_cmd_snapshot, false},
    {"restore", NULL, "Life", "go on from a snapshot", "[FLAGS] VM NAME", "viv-snapshot",
     VIVI_TARGETS_ONE, NULL, AND_ASYNC(flags_restore), vivi_cmd_restore, false},
    {"nmi", NULL, "Life", "inject a non-maskable interrupt", "[FLAGS] VM…", "viv-debug",
     VIVI_TARGETS_MANY, NULL, AND_SELECT(flags_nmi), vivi_cmd_nmi, false},
    {"coredump", NULL, "Life", "write the guest's memory as an ELF core", "[FLAGS] VM FILE",
     "viv-debug", VIVI_TARGETS_FILE, NULL, ONLY(flags_coredump), vivi_cmd_coredump, false},
    {"api", NULL, "Life", "call the VMM's own API", "[FLAGS] VM GET|PUT ENDPOINT [BODY]",
     "viv-debug", VIVI_TARGETS_API, NULL, ONLY(flags_api), vivi_cmd_api, false},
    {"migrate", NULL, "Life", "move a running VM to another host, without a stop",
     "[FLAGS] VM ssh://HOST | VM root:DIR | VM exec:COMMAND | --resolve VM | receive --stdio",
     "viv-migrate", VIVI_TARGETS_ONE, NULL, ONLY(flags_migrate), vivi_cmd_migrate, false},
    {"upgrade", NULL, "Life", "another VMM for running VMs, in place", "[FLAGS] VM…", "viv-migrate",
     VIVI_TARGETS_MANY, NULL, AND_SELECT(flags_upgrade), vivi_cmd_upgrade, false},
    {"ps", "ls", "Looking", "list VMs", "[FLAGS]", "viv-ps", VIVI_TARGETS_NONE, NULL,
     ONLY(flags_ps), vivi_cmd_ps, false},
    {"inspect", NULL, "Looking", "all that is known about VMs", "[FLAGS] VM…", "viv-ps",
     VIVI_TARGETS_MANY, NULL, ONLY_SELECT, vivi_cmd_inspect, false},
    {"ip", NULL, "Looking", "the address of a ready VM", "[FLAGS] VM…", "viv-ps", VIVI_TARGETS_MANY,
     NULL, ONLY_SELECT, vivi_cmd_ip, false},
    {"port", NULL, "Looking", "the forwarded ports of VMs", "[FLAGS] VM…", "viv-ps",
     VIVI_TARGETS_MANY, NULL, ONLY_SELECT, vivi_cmd_port, false},
    {"stats", NULL, "Looking", "what running VMs have used and moved", "[FLAGS] VM…", "viv-ps",
     VIVI_TARGETS_MANY, NULL, AND_SELECT(flags_stats), vivi_cmd_stats, false},
    {"events", NULL, "Looking", "what happens, as it happens", "[FLAGS]", "viv-ps",
     VIVI_TARGETS_NONE, NULL, ONLY(flags_events), vivi_cmd_events, false},
    {"caps", NULL, "Looking", "what works on this host, and why not", "[FLAGS] [DRIVER]", "viv-ps",
     VIVI_TARGETS_NONE, NULL, NO_FLAGS, vivi_cmd_caps, false},
    {"doctor", NULL, "Looking", "check this host and the state root", "[FLAGS]", "viv-ps",
     VIVI_TARGETS_NONE, NULL, NO_FLAGS, vivi_cmd_doctor, false},
    {"logs", NULL, "Guest", "the guest's serial output", "[FLAGS] VM", "viv-logs", VIVI_TARGETS_ONE,
     NULL, ONLY(flags_logs), vivi_cmd_logs, false},
    {"console", NULL, "Guest", "type at the guest's console; Ctrl-] leaves", "[FLAGS] VM",
     "viv-logs", VIVI_TARGETS_ONE, NULL, ONLY(flags_console), vivi_cmd_console, false},
    {"exec",
     NULL,
     "Guest",
     "run a program in the guest",
     "[FLAGS] VM -- COMMAND…",
     "viv-exec",
     VIVI_TARGETS_ONE,
     NULL,
     {.sets = {flags_exec, flags_guest, vivi_flags_global}},
     vivi_cmd_exec,
     false},
    {"cp", NULL, "Guest", "copy files into and out of the guest",
     "[FLAGS] VM:PATH PATH | PATH VM:PATH", "viv-exec", VIVI_TARGETS_NONE, NULL, ONLY(flags_cp),
     vivi_cmd_cp, false},
    {"shell", NULL, "Guest", "a login shell in the guest", "[FLAGS] VM", "viv-exec",
     VIVI_TARGETS_ONE, NULL, ONLY(flags_guest), vivi_cmd_shell, false},
    {"agent", NULL, "Guest", "put viv-agent into a guest's system", "install [FLAGS] DIR/ | VM",
     "viv-agent", VIVI_TARGETS_NONE, "install", ONLY(flags_agent), vivi_cmd_agent, false},
    {"config",
     NULL,
     "Tool",
     "check and show configurations, their schema and their fields",
     "check [FLAGS] FILE | show [FLAGS] [--pending] VM|FILE | schema | docs",
     "viv-config",
     VIVI_TARGETS_NONE,
     "check|show|schema|docs",
     {.sets = {flags_show, flags_config, vivi_flags_global}, .fields = true},
     vivi_cmd_config,
     false},
    {"completion", NULL, "Tool", "print the completion script of a shell", "bash | zsh | fish",
     "viv", VIVI_TARGETS_NONE, "bash|zsh|fish", NO_FLAGS, vivi_cmd_completion, false},
    {"version", NULL, "Tool", "print the version", "[FLAGS]", "viv", VIVI_TARGETS_NONE, NULL,
     NO_FLAGS, vivi_cmd_version, false},
    {"help", NULL, "Tool", "help about a command", "[COMMAND]", "viv", VIVI_TARGETS_NONE, NULL,
     NO_FLAGS, vivi_cmd_help, false},
    /* For our own scripts: completion at run time, man pages at build time. */
    {"__complete", NULL, NULL, "candidates for the last word", "WORD…", NULL, VIVI_TARGETS_NONE,
     NULL, NO_FLAGS, vivi_cmd_complete, true},
    {"__man", NULL, NULL, "man page sections in scdoc form", "SECTION [COMMAND]", NULL,
     VIVI_TARGETS_NONE, NULL, NO_FLAGS, vivi_cmd_man, true},
};

size_t vivi_commands_count(void)
{
    return ARRAY_SIZE(vivi_commands);
}

const struct vivi_command *vivi_command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(vivi_commands); i++) {
        const struct vivi_command *cmd = &vivi_commands[i];

        if (!strcmp(cmd->name, name) || (cmd->alias && !strcmp(cmd->alias, name)))
            return cmd;
    }
    return NULL;
}
