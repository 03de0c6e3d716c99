#include "cli/say.h"

#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "cli/escape.h"
#include "cli/out.h"
#include "model/model.h"

#define TAIL_LINES 5
#define TAIL_BYTES 4096

void vivi_say_ready(struct vivi_cli *c, FILE *to, const struct vivi_job *job)
{
    const char *ip = viv_rec_str(job->result, "ip");
    char after[24];
    int64_t ms;

    (void)c;
    if (viv_rec_is_null(job->result, "ready")) { /* running is all that was to be waited for */
        (void)fprintf(to, "%s: running\n", vivi_job_name(job));
        return;
    }
    (void)fprintf(to, "%s: ready%s%s", vivi_job_name(job), ip ? " " : "", ip ? ip : "");
    if (viv_rec_i64(job->result, "ready.after_ms", &ms) == 0) {
        vivi_text_seconds(ms, after);
        (void)fprintf(to, " after %s", after);
    }
    (void)fputs("\n", to);
}

void vivi_say_state(struct vivi_cli *c, const struct vivi_job *job, const char *word)
{
    int changed = 1;

    (void)c;
    (void)viv_rec_bool(job->result, "changed", &changed);
    (void)printf("%s: %s%s\n", vivi_job_name(job), word, changed ? "" : " already");
}

void vivi_say_accel(struct vivi_cli *c, const viv_rec *result)
{
    static char said[256]; /* of the last one: several targets share one host */
    const char *notice = viv_rec_str(result, "accel_notice");

    if (!notice || !strncmp(said, notice, sizeof(said) - 1))
        return;
    (void)snprintf(said, sizeof(said), "%s", notice);
    vivi_cli_note(c, "%s", notice);
}

void vivi_say_ended(struct vivi_cli *c, const struct vivi_job *job, const char *word)
{
    const char *state = viv_rec_str(job->result, "state");
    int changed = 1;

    (void)viv_rec_bool(job->result, "changed", &changed);
    if (changed || !state || !strcmp(state, "stopped"))
        vivi_say_state(c, job, changed ? word : "stopped");
    else
        (void)printf("%s: does not run (%s)\n", vivi_job_name(job), state);
}

/* Name of the last step that the boot timeline reached. */
static const char *last_step(const viv_rec *info)
{
    const char *found = NULL;
    int64_t us;

    for (int s = 0; s < VIVI_STEP_COUNT_; s++) {
        char path[64];

        (void)snprintf(path, sizeof(path), "timeline.%s", vivi_step_name((enum vivi_step)s));
        if (viv_rec_i64(info, path, &us) == 0)
            found = vivi_step_name((enum vivi_step)s);
    }
    return found;
}

/* The start of the last n lines of text; a final newline does not begin another line. */
static const char *last_lines(const char *text, size_t len, int n)
{
    const char *p = text + len;

    if (p > text && p[-1] == '\n')
        p--;
    while (p > text && !(p[-1] == '\n' && --n == 0))
        p--;
    return p;
}

void vivi_say_tail(struct vivi_cli *c, viv_vm *vm)
{
    cleanup_rec viv_rec *info = NULL;
    cleanup_close int fd = -1;
    char text[TAIL_BYTES + 1];
    uint64_t start;
    struct stat st;
    const char *step;
    off_t from;
    ssize_t n;

    if (viv_vm_info(vm, &info, NULL) == 0 && (step = last_step(info)))
        vivi_cli_note(c, "last step: %.*s", (int)strcspn(step, "_"), step);
    if (viv_vm_log_open(vm, "serial", &fd, &start, NULL) < 0 || fstat(fd, &st) < 0)
        return;
    from = st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0;
    n = pread(fd, text, TAIL_BYTES, from);
    if (n <= 0)
        return;
    text[n] = '\0';
    for (const char *p = last_lines(text, (size_t)n, TAIL_LINES); p < text + n;) {
        size_t len = strcspn(p, "\n");
        size_t shown = len && p[len - 1] == '\r' ? len - 1 : len;

        vivi_cli_note(c, "| %.*s", (int)shown, p);
        p += len + 1;
    }
}

void vivi_explain_wait(struct vivi_cli *c, const struct vivi_job *job)
{
    if (job->err.code == VIV_E_TIMEOUT && job->vm)
        vivi_say_tail(c, job->vm);
}
