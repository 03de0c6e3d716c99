/*
 * The error value: born once where the cause is known (vivi_fail*), wrapped outward with what only
 * the caller knows (vivi_wrap). The caller owns the struct; NULL is allowed everywhere. When text
 * runs out, outer context is dropped and the cause kept (flag VIV_ERR_TRUNCATED).
 *
 * Every function here returns −code, so `return vivi_fail(...)` is the only form of failing.
 * Thread: any; nothing is shared.
 */
#pragma once

#include <vivarium/vivarium.h>
#include "base/cleanup.h"

/* A new error; text is "fmt". Returns -code. */
int vivi_fail(viv_error *err, int code, const char *fmt, ...) VIVI_PRINTF(3, 4);

/*
 * As above, about one configuration field ("disks.data.path"), which is also kept in err->field.
 * The message becomes "field: text", so fmt must not repeat the path: a message always carries
 * everything that is shown after "viv: verb vm: ".
 */
int vivi_fail_field(viv_error *err, int code, const char *field, const char *fmt, ...)
    VIVI_PRINTF(4, 5);

/* From errno (an argument, so evaluated in the failing statement): text is "fmt: <strerror>", lower
 * case. Code by vivi_code_of_errno. */
int vivi_fail_errno(viv_error *err, int sys_errno, const char *fmt, ...) VIVI_PRINTF(3, 4);

/* Out of memory: no allocation, fixed text "out of memory". */
int vivi_fail_oom(viv_error *err);

/* Puts "fmt: " before the text; r (< 0) is returned unchanged. */
int vivi_wrap(viv_error *err, int r, const char *fmt, ...) VIVI_PRINTF(3, 4);

/* Sets the hint (the next command to try, or 'did you mean "x"?'); an earlier hint is replaced. */
void vivi_hint(viv_error *err, const char *fmt, ...) VIVI_PRINTF(2, 3);

/* Names the VM the error is about, unless one is named already. */
void vivi_error_vm(viv_error *err, const char *vm);

/* Empties the value but keeps err->size. */
void vivi_error_clear(viv_error *err);

/*
 * ENOENT → NOT_FOUND, EACCES/EPERM/EROFS → DENIED, EEXIST → EXISTS, EBUSY/EAGAIN → BUSY, ENOMEM →
 * NO_MEMORY, ETIMEDOUT → TIMEOUT, EINVAL → INVALID, ENOSYS/EOPNOTSUPP → UNSUPPORTED, ECANCELED →
 * CANCELLED, all others → IO.
 */
int vivi_code_of_errno(int sys_errno);

/* "ENOENT" for ENOENT; "0" for 0; NULL never. */
const char *vivi_errno_name(int sys_errno);
