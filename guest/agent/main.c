/* main.c: viv-agent, the program inside a guest. See agent.h. */
#include "agent.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef VIV_VERSION
#define VIV_VERSION "unknown" /* the build gives it */
#endif

#define STATE_DIR "/run/viv-agent"

static const char *state_dir = STATE_DIR;

const char *agent_state_dir(void)
{
    return state_dir;
}

static const char usage_text[] =
    "usage: viv-agent [OPTION]\n"
    "Answers the host that runs this virtual machine: commands, files, state of the guest.\n"
    "\n"
    "Without an option it takes the virtio-serial port " VIVI_AW_PORT_NAME ", or listens on vsock\n"
    "port 1024 for the host alone, whichever there is, and waits for either to appear.\n"
    "\n"
    "  --port PATH          this virtio-serial port\n"
    "  --vsock PORT         listen on this vsock port\n"
    "  --tcp ADDRESS:PORT   listen there; whoever can connect commands this guest\n"
    "  --unix PATH          listen on this socket\n"
    "  --fd N               this connected socket\n"
    "  --state DIR          where it keeps notes for the agent after it (" STATE_DIR ")\n"
    "  -q, --quiet          no messages\n"
    "  --version, --help\n";

enum { OPT_PORT = 256, OPT_VSOCK, OPT_TCP, OPT_UNIX, OPT_FD, OPT_STATE, OPT_VERSION, OPT_HELP };

static int64_t number(const char *text, int64_t max)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && v >= 0 && v <= max ? v : -1;
}

static int usage(const char *why)
{
    if (why != NULL)
        (void)fprintf(stderr, "viv-agent: %s\n", why);
    (void)fputs("hint: viv-agent --help\n", stderr);
    return 2;
}

/* −1 = go on, else the exit code. */
static int parse(int argc, char **argv, struct agent_options *o)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, OPT_PORT},
        {"vsock", required_argument, NULL, OPT_VSOCK},
        {"tcp", required_argument, NULL, OPT_TCP},
        {"unix", required_argument, NULL, OPT_UNIX},
        {"fd", required_argument, NULL, OPT_FD},
        {"quiet", no_argument, NULL, 'q'},
        {"state", required_argument, NULL, OPT_STATE},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "q", options, NULL)) != -1) {
        switch (c) {
        case OPT_PORT: o->port = optarg; break;
        case OPT_TCP: o->tcp = optarg; break;
        case OPT_STATE: o->state_dir = optarg; break;
        case OPT_UNIX: o->unix_path = optarg; break;
        case OPT_VSOCK: o->vsock = number(optarg, UINT32_MAX - 1); break;
        case OPT_FD: o->fd = (int)number(optarg, 1 << 20); break;
        case 'q': o->quiet = true; break;
        case OPT_VERSION:
            (void)printf("viv-agent %s, protocol %u\n", VIV_VERSION, VIVI_AW_VERSION);
            return 0;
        case OPT_HELP: (void)fputs(usage_text, stdout); return 0;
        default: return usage(NULL);
        }
        if ((c == OPT_VSOCK && o->vsock < 0) || (c == OPT_FD && o->fd < 0))
            return usage("not a number");
    }
    return optind < argc ? usage("no operands are wanted") : -1;
}

static void introduce(struct agent *a)
{
    struct vivi_aw_writer w = VIVI_AW_WRITER(a->about);
    char boot[64];

    sys_read_text("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
    vivi_aw_put(&w, "name", "viv-agent");
    vivi_aw_put(&w, "release", VIV_VERSION);
    vivi_aw_put(&w, "boot", boot);
    vivi_aw_about(&a->channel.aw, a->about, w.len);
}

static void end(struct agent *a)
{
    channel_close(a);
    /* What still runs gets the polite signal now and, with this process, SIGKILL. */
    for (size_t i = 0; i < a->n_streams; i++)
        a->streams[i]->over = true;
    streams_sweep(a);
    events_done(a);
    loop_done(a);
    vivi_close(&a->left_fd);
}

int main(int argc, char **argv)
{
    static struct agent agent; /* zeroed; its buffers become memory when they are used */
    struct agent_options options = {.vsock = -1, .fd = -1, .state_dir = STATE_DIR};
    struct agent *a = &agent;
    viv_error err = VIV_ERROR_INIT;
    int r = parse(argc, argv, &options);

    if (r >= 0)
        return r;
    a->options = &options;
    state_dir = options.state_dir;
    child_prepare();
    left_open(a);
    a->thaw_at_ms = left_frozen(a) ? 0 : AGENT_NEVER;
    a->signals.fd = a->epoll_fd = -1;
    channel_init(a);
    introduce(a);
    r = loop_init(a, &err);
    if (r == 0) {
        events_init(a);
        r = channel_open(a, &err);
    }
    if (r < 0) {
        (void)fprintf(stderr, "viv-agent: %s\n", err.message);
        return viv_code_exit(r);
    }
    if (a->channel.stream.fd < 0 && a->channel.listener.fd < 0)
        agent_say(a, "no channel to a host yet: waiting for one");
    loop_run(a);
    end(a);
    return a->exit_code;
}
