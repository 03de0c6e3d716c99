/*
 * The pretended guest of viv-fake.
 *
 * Theory of operation: each beat of the script has a due time on the guest's clock, which starts
 * with the boot and stands still while the machine is paused. play() takes whichever beat is due
 * first, again and again, until none is due or the serial FIFO is full: a guest whose console
 * nobody reads stalls, it loses nothing.
 */
#include "driver/fake/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define FAKE_IP        "192.0.2.1"
#define STEPS_PER_PLAY 256 /* then the control socket gets its turn */
#define FILL_CHUNK     4096
#define LINE_MAX_BYTES 4096
#define NEVER          UINT64_MAX

/* ---- FIFOs ---- */

void fake_out_flush(struct fake_out *o)
{
    while (o->pending.len > 0) {
        ssize_t n = write(o->fd, o->pending.data, o->pending.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        vivi_buf_consume(&o->pending, (size_t)n);
    }
}

int fake_out_write(struct fake_out *o, const void *data, size_t len)
{
    ssize_t n = 0;
    int r;

    if (o->pending.len == 0) {
        n = write(o->fd, data, len);
        if (n < 0)
            n = 0;
    }
    if ((size_t)n == len)
        return 0;
    r = vivi_buf_add(&o->pending, (const char *)data + n, len - (size_t)n);
    o->pending.failed = false; /* a full queue drops this piece only */
    return r;
}

static void tell(struct fake_vmm *v, const char *line)
{
    (void)fake_out_write(&v->events, line, strlen(line));
}

static void print(struct fake_vmm *v, const void *data, size_t len)
{
    (void)fake_out_write(&v->serial, data, len);
}

/* ---- the agent in the guest ---- */

static void start_agent(struct fake_vmm *v)
{
    if (v->agent.alive || v->agent.listen_fd < 0)
        return;
    v->agent.deaf = v->script->agent_deaf;
    fake_agent_start(&v->agent);
    tell(v, "agent open\n");
}

static void stop_agent(struct fake_vmm *v)
{
    if (!v->agent.alive)
        return;
    fake_agent_stop(&v->agent);
    tell(v, "agent closed\n");
}

/* ---- the guest's clock ---- */

uint64_t fake_guest_now_us(const struct fake_vmm *v)
{
    return v->state == FAKE_RUNNING ? vivi_mono_us() - v->clock_base_us : v->clock_frozen_us;
}

static void freeze(struct fake_vmm *v, enum fake_state state)
{
    v->clock_frozen_us = fake_guest_now_us(v);
    v->state = state;
}

void fake_guest_pause(struct fake_vmm *v)
{
    if (v->state == FAKE_RUNNING)
        freeze(v, FAKE_PAUSED);
    else if (v->state == FAKE_RESETTING)
        v->pause_wanted = true;
}

void fake_guest_resume(struct fake_vmm *v)
{
    uint64_t base_us;

    v->pause_wanted = false;
    if (v->state != FAKE_PAUSED)
        return;
    base_us = vivi_mono_us() - v->clock_frozen_us;
    v->agent.wall_off_us -= (int64_t)(base_us - v->clock_base_us); /* it stood still, too */
    v->clock_base_us = base_us;
    v->state = FAKE_RUNNING;
}

void fake_guest_boot(struct fake_vmm *v)
{
    char text[64];

    v->boot++;
    memset(v->beats, 0, sizeof(v->beats));
    v->button_due_us = NEVER;
    fake_hot_boot(v);
    v->clock_frozen_us = 0;
    v->clock_base_us = vivi_mono_us();
    v->agent.wall_off_us = 0; /* read from the host */
    v->state = v->pause_wanted ? FAKE_PAUSED : FAKE_RUNNING;
    v->pause_wanted = false;
    if (v->script->no_banner)
        return;
    (void)snprintf(text, sizeof(text), "viv-fake: boot %" PRIu64 "\r\n", v->boot);
    print(v, text, strlen(text));
}

void fake_guest_reset(struct fake_vmm *v)
{
    stop_agent(v);
    freeze(v, FAKE_RESETTING);
    tell(v, "reset\n");
}

static void end(struct fake_vmm *v, const char *reason, const char *text)
{
    char line[sizeof(v->end) + 8];

    stop_agent(v);
    freeze(v, FAKE_ENDED);
    (void)snprintf(v->end, sizeof(v->end), "%s%s%.250s", reason, text ? " " : "", text ? text : "");
    for (char *p = v->end; *p; p++)
        if (*p == '\n' || *p == '\r')
            *p = ' ';
    (void)snprintf(line, sizeof(line), "end %s\n", v->end);
    tell(v, line);
}

void fake_guest_button(struct fake_vmm *v)
{
    if (v->state == FAKE_RUNNING && !v->button_ignored && v->button_due_us == NEVER)
        v->button_due_us = fake_guest_now_us(v) + v->script->button_after_us;
}

/* Keys: what is typed commands the guest; all else, or everything with echo, is printed back. */
void fake_guest_input(struct fake_vmm *v, const char *data, size_t len)
{
    for (size_t i = 0; i < len && v->state == FAKE_RUNNING; i++) {
        char key = v->script->keys ? data[i] : '\0';

        if (key == 'p')
            end(v, "guest-poweroff", NULL);
        else if (key == 'r')
            fake_guest_reset(v);
        else if (key == 'k')
            end(v, "guest-panic", NULL);
        else if (key == 'i')
            v->button_ignored = true;
        else if (v->script->keys || v->script->echo)
            print(v, &data[i], 1);
    }
}

/* ---- beats ---- */

static const char *nonce_of(const struct fake_vmm *v, const struct fake_beat *b)
{
    const char *nonce = b->nonce ? b->nonce : "good";

    if (strcmp(nonce, "good") == 0)
        return v->nonce;
    if (strcmp(nonce, "wrong") == 0)
        return "ffffffffffffffff";
    return strcmp(nonce, "none") == 0 ? "" : nonce;
}

static void write_marker(struct fake_vmm *v, const struct fake_beat *b, char *ret, size_t size)
{
    const char *nonce = nonce_of(v, b);

    (void)snprintf(ret, size, "%.512sVMRS_READY %.64s%s%.64s\r\n", b->text ? b->text : "",
                   b->ip ? b->ip : FAKE_IP, *nonce ? " " : "", nonce);
}

/* The clock is read last, and both lines are one write of less than PIPE_BUF: what a reader sees
 * later than the stamp is not ours. */
static void play_ready(struct fake_vmm *v, const struct fake_beat *b, struct fake_beat_state *s)
{
    char marker[800], both[900];

    write_marker(v, b, marker, sizeof(marker));
    if (b->every_us > 0) {
        print(v, marker + s->emitted, 1);
        s->emitted++;
        s->done = marker[s->emitted] == '\0';
        return;
    }
    s->done = true;
    if (!v->script->stamp) {
        print(v, marker, strlen(marker));
        return;
    }
    (void)snprintf(both, sizeof(both), "stamp %" PRIu64 "\n%s", vivi_mono_ns(), marker);
    print(v, both, strlen(both));
}

/* "line 17", padded with '.' to size bytes with its LF. Returns its length. */
static size_t number_line(char ret[LINE_MAX_BYTES], const struct fake_beat *b, uint64_t number)
{
    size_t want = b->size_bytes < LINE_MAX_BYTES ? (size_t)b->size_bytes : LINE_MAX_BYTES - 1;
    int n =
        snprintf(ret, LINE_MAX_BYTES - 2, "%.200s %" PRIu64, b->text ? b->text : "line", number);

    if (n < 0)
        return 0;
    if ((size_t)n + 1 < want) {
        memset(ret + n, '.', want - 1 - (size_t)n);
        n = (int)want - 1;
    }
    ret[n++] = '\n';
    return (size_t)n;
}

static void play_line(struct fake_vmm *v, const struct fake_beat *b, struct fake_beat_state *s)
{
    char text[LINE_MAX_BYTES];

    if (s->emitted < b->count) {
        print(v, text, number_line(text, b, ++v->lines));
        s->emitted++;
    }
    s->done = s->emitted >= b->count;
}

/* Like any VMM, it loses what its stderr does not take. */
static void play_complain(const struct fake_beat *b, struct fake_beat_state *s)
{
    char text[LINE_MAX_BYTES];

    if (s->emitted < b->count)
        (void)!write(STDERR_FILENO, text, number_line(text, b, ++s->emitted));
    s->done = s->emitted >= b->count;
}

static void play_fill(struct fake_vmm *v, const struct fake_beat *b, struct fake_beat_state *s)
{
    char chunk[FILL_CHUNK];
    size_t n = sizeof(chunk);

    if (b->size_bytes - s->emitted < n)
        n = (size_t)(b->size_bytes - s->emitted);
    for (size_t i = 0; i < n; i++)
        chunk[i] = b->text_len ? b->text[(s->emitted + i) % b->text_len] : 'x';
    print(v, chunk, n);
    s->emitted += n;
    s->done = s->emitted >= b->size_bytes;
}

static void play_beat(struct fake_vmm *v, size_t i)
{
    const struct fake_beat *b = &v->script->beats[i];
    struct fake_beat_state *s = &v->beats[i];

    switch (b->act) {
    case FAKE_READY: play_ready(v, b, s); return;
    case FAKE_LINE:
    case FAKE_FLOOD: play_line(v, b, s); return;
    case FAKE_FILL: play_fill(v, b, s); return;
    case FAKE_COMPLAIN: play_complain(b, s); return;
    case FAKE_PRINT: print(v, b->text, b->text_len); break;
    case FAKE_POWEROFF: end(v, "guest-poweroff", NULL); break;
    case FAKE_PANIC: end(v, "guest-panic", b->text); break;
    case FAKE_REBOOT:
        s->done = true;
        fake_guest_reset(v);
        return;
    case FAKE_EVENT: (void)fake_out_write(&v->events, b->text, b->text_len); break;
    case FAKE_AGENT: start_agent(v); break;
    case FAKE_AGENT_READY:
        start_agent(v);
        fake_agent_say_ready(&v->agent, b->ip ? b->ip : FAKE_IP, nonce_of(v, b));
        break;
    case FAKE_AGENT_GONE: stop_agent(v); break;
    case FAKE_LISTEN: v->agent.port = b->count; break;
    case FAKE_HANG_API: v->api_hung = true; break;
    case FAKE_CRASH: (void)raise(b->number); break;
    case FAKE_EXIT:
        if (b->text)
            (void)fprintf(stderr, "viv-fake: %s\n", b->text);
        v->exit_code = b->number;
        v->quit = true;
        break;
    }
    s->done = true;
}

static uint64_t due_us(const struct fake_vmm *v, size_t i)
{
    const struct fake_beat *b = &v->script->beats[i];
    const struct fake_beat_state *s = &v->beats[i];

    if (s->done || v->boot < b->boot_from || v->boot > b->boot_to)
        return NEVER;
    if (b->act == FAKE_LINE || b->act == FAKE_READY)
        return b->after_us + s->emitted * b->every_us;
    return b->after_us;
}

/* The beat that is due first; its index or FAKE_MAX_BEATS. */
static size_t first_due(const struct fake_vmm *v, uint64_t *ret_due_us)
{
    size_t first = FAKE_MAX_BEATS;

    *ret_due_us = NEVER;
    for (size_t i = 0; i < v->script->n_beats; i++) {
        uint64_t due = due_us(v, i);

        if (due < *ret_due_us) {
            *ret_due_us = due;
            first = i;
        }
    }
    return first;
}

/* What the agent was asked to do to its guest, once its answer is out. */
static void obey_agent(struct fake_vmm *v)
{
    if (v->state != FAKE_RUNNING || v->agent.out.len > 0)
        return;
    if (v->agent.power_off)
        end(v, "guest-poweroff", NULL);
    else if (v->agent.reboot)
        fake_guest_reset(v);
}

uint64_t fake_guest_play(struct fake_vmm *v)
{
    obey_agent(v);
    for (int i = 0; i < STEPS_PER_PLAY && !v->quit; i++) {
        uint64_t due, now;
        size_t first;

        if (v->state != FAKE_RUNNING || v->serial.pending.len > 0)
            return NEVER;
        now = fake_guest_now_us(v);
        first = first_due(v, &due);
        if (v->button_due_us <= now && v->button_due_us <= due) {
            end(v, "guest-poweroff", NULL);
            return NEVER;
        }
        if (due > now) {
            due = v->button_due_us < due ? v->button_due_us : due;
            return due == NEVER ? NEVER : due - now;
        }
        play_beat(v, first);
    }
    return 0;
}

/* ---- what its VMM can do to it ---- */

void fake_guest_nmi(struct fake_vmm *v)
{
    static const char text[] = "viv-fake: NMI\n";

    (void)fake_out_write(&v->serial, text, sizeof(text) - 1);
}

const char *fake_guest_core(const char *path)
{
    static const unsigned char head[64] = {[0] = 0x7f, [1] = 'E', [2] = 'L', [3] = 'F',
                                           [4] = 2,    [5] = 1,   [6] = 1,   [16] = 4 /* ET_CORE */,
                                           [18] = 62,  [20] = 1,  [52] = 64, [54] = 56};
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return strerror(errno);
    return write(fd, head, sizeof(head)) == (ssize_t)sizeof(head) ? NULL : "cannot be written";
}
