/*
 * The command line of a VM without an API: the same VmConfig, said in options. Pure.
 *
 * Every option is a list of key=value between commas. Its keys are those of the JSON but for a few,
 * and what is nested there is flat here. A value with a comma or a bracket stands in quotes; a
 * quote in it is doubled.
 */
#include <string.h>

#include "base/buf.h"
#include "driver/cloud_hypervisor/ch.h"

#define OPTION_MAX (1u << 20) /* of one option */

/* ---- values ---- */

static void add_text(struct vivi_buf *out, const char *text)
{
    if (!strpbrk(text, ",[]\"")) {
        (void)vivi_buf_str(out, text);
        return;
    }
    (void)vivi_buf_str(out, "\"");
    for (; *text; text++) {
        if (*text == '"')
            (void)vivi_buf_str(out, "\"");
        (void)vivi_buf_add(out, text, 1);
    }
    (void)vivi_buf_str(out, "\"");
}

static void add_scalar(struct vivi_buf *out, const json_t *value)
{
    if (json_is_boolean(value))
        (void)vivi_buf_str(out, json_is_true(value) ? "on" : "off");
    else if (json_is_integer(value))
        (void)vivi_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        add_text(out, json_string_value(value));
}

static void add_list(struct vivi_buf *out, const json_t *list)
{
    (void)vivi_buf_str(out, "[");
    for (size_t i = 0; i < json_array_size(list); i++) {
        (void)vivi_buf_str(out, i ? "," : "");
        add_scalar(out, json_array_get(list, i));
    }
    (void)vivi_buf_str(out, "]");
}

static void add_key(struct vivi_buf *out, const char *key)
{
    (void)vivi_buf_printf(out, "%s%s=", out->len ? "," : "", key);
}

/* threads, cores, dies, packages */
static void add_topology(struct vivi_buf *out, const json_t *t)
{
    static const char *const parts[] = {"threads_per_core", "cores_per_die", "dies_per_package",
                                        "packages"};

    add_key(out, "topology");
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        (void)vivi_buf_printf(out, "%s%" JSON_INTEGER_FORMAT, i ? ":" : "",
                              json_integer_value(json_object_get(t, parts[i])));
}

/* [0@[2,3],1@[4]] */
static void add_affinity(struct vivi_buf *out, const json_t *list)
{
    add_key(out, "affinity");
    (void)vivi_buf_str(out, "[");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);

        (void)vivi_buf_printf(out, "%s%" JSON_INTEGER_FORMAT "@", i ? "," : "",
                              json_integer_value(json_object_get(one, "vcpu")));
        add_list(out, json_object_get(one, "host_cpus"));
    }
    (void)vivi_buf_str(out, "]");
}

/* [1@20,2@30] */
static void add_distances(struct vivi_buf *out, const json_t *list)
{
    add_key(out, "distances");
    (void)vivi_buf_str(out, "[");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);

        (void)vivi_buf_printf(out, "%s%" JSON_INTEGER_FORMAT "@%" JSON_INTEGER_FORMAT, i ? "," : "",
                              json_integer_value(json_object_get(one, "destination")),
                              json_integer_value(json_object_get(one, "distance")));
    }
    (void)vivi_buf_str(out, "]");
}

static void add_limit(struct vivi_buf *out, const json_t *limit)
{
    static const struct {
        const char *key, *size, *refill;
    } buckets[] = {{"bandwidth", "bw_size", "bw_refill_time"},
                   {"ops", "ops_size", "ops_refill_time"}};

    for (size_t i = 0; i < ARRAY_SIZE(buckets); i++) {
        const json_t *b = json_object_get(limit, buckets[i].key);

        if (!b)
            continue;
        add_key(out, buckets[i].size);
        add_scalar(out, json_object_get(b, "size"));
        add_key(out, buckets[i].refill);
        add_scalar(out, json_object_get(b, "refill_time"));
    }
}

/* ---- options ---- */

static const char *renamed(const char *key)
{
    static const struct {
        const char *json, *option;
    } names[] = {
        {"boot_vcpus", "boot"}, {"max_vcpus", "max"}, {"vhost_socket", "socket"}, {"fds", "fd"}};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(names[i].json, key) == 0)
            return names[i].option;
    return key;
}

/* Words that the command line spells in its own way; NULL: it has none of its own. */
static const char *respelt(const char *word)
{
    static const struct {
        const char *json, *option;
    } words[] = {{"Raw", "raw"},   {"Qcow2", "qcow2"}, {"FixedVhd", "vhd"},
                 {"Vhdx", "vhdx"}, {"Acpi", "acpi"},   {"VirtioMem", "virtio-mem"}};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(words[i].json, word) == 0)
            return words[i].option;
    return NULL;
}

static void add_word_of(struct vivi_buf *out, const char *key, const char *word)
{
    const char *own = respelt(word);

    add_key(out, key);
    (void)vivi_buf_str(out, own ? own : word);
}

static void add_member(struct vivi_buf *out, const char *key, const json_t *value)
{
    if (strcmp(key, "topology") == 0) {
        add_topology(out, value);
    } else if (strcmp(key, "affinity") == 0) {
        add_affinity(out, value);
    } else if (strcmp(key, "distances") == 0) {
        add_distances(out, value);
    } else if (strcmp(key, "zones") == 0) {
        return; /* an option of their own */
    } else if (strcmp(key, "rate_limiter_config") == 0) {
        add_limit(out, value);
    } else if (strcmp(key, "image_type") == 0 || strcmp(key, "hotplug_method") == 0) {
        add_word_of(out, key, json_string_value(value));
    } else {
        add_key(out, renamed(key));
        if (json_is_array(value))
            add_list(out, value);
        else
            add_scalar(out, value);
    }
}

static int add_object(struct vivi_plan *p, const json_t *object)
{
    struct vivi_buf out = VIVI_BUF(OPTION_MAX);
    const char *key;
    json_t *value;
    int r;

    json_object_foreach((json_t *)(uintptr_t)object, key, value) add_member(&out, key, value);
    r = out.failed || !out.data ? -VIV_E_NO_MEMORY : vivi_plan_arg(p, "%s", out.data);
    vivi_buf_done(&out);
    return r;
}

/* An option with one object behind it, or all of a list. */
static int add_option(struct vivi_plan *p, const char *option, const json_t *value)
{
    int r = value ? vivi_plan_arg(p, "%s", option) : 0;

    if (!value || r < 0)
        return r;
    if (json_is_object(value))
        return add_object(p, value);
    for (size_t i = 0; i < json_array_size(value) && r == 0; i++)
        r = add_object(p, json_array_get(value, i));
    return r;
}

static int add_word(struct vivi_plan *p, const char *option, const char *value)
{
    int r = value ? vivi_plan_arg(p, "%s", option) : 0;

    return !value || r < 0 ? r : vivi_plan_arg(p, "%s", value);
}

static int add_payload(struct vivi_plan *p, const json_t *payload)
{
    static const struct {
        const char *key, *option;
    } words[] = {{"firmware", "--firmware"},
                 {"kernel", "--kernel"},
                 {"initramfs", "--initramfs"},
                 {"cmdline", "--cmdline"}};
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(words) && r == 0; i++)
        r = add_word(p, words[i].option, json_string_value(json_object_get(payload, words[i].key)));
    return r;
}

int ch_command_line(const json_t *config, struct vivi_plan *p)
{
    static const struct {
        const char *key, *option;
    } options[] = {{"cpus", "--cpus"},
                   {"memory", "--memory"},
                   {"numa", "--numa"},
                   {"rate_limit_groups", "--rate-limit-group"},
                   {"disks", "--disk"},
                   {"net", "--net"},
                   {"generic_vhost_user", "--generic-vhost-user"},
                   {"fs", "--fs"},
                   {"pmem", "--pmem"},
                   {"devices", "--device"},
                   {"user_devices", "--user-device"},
                   {"vdpa", "--vdpa"},
                   {"rng", "--rng"},
                   {"balloon", "--balloon"},
                   {"vsock", "--vsock"},
                   {"tpm", "--tpm"},
                   {"landlock_rules", "--landlock-rules"}};
    static const struct {
        const char *key, *option;
    } flags[] = {
        {"pvpanic", "--pvpanic"}, {"watchdog", "--watchdog"}, {"landlock_enable", "--landlock"}};
    int r = add_payload(p, json_object_get(config, "payload"));

    for (size_t i = 0; i < ARRAY_SIZE(options) && r == 0; i++)
        r = add_option(p, options[i].option, json_object_get(config, options[i].key));
    if (r == 0)
        r = add_option(p, "--memory-zone",
                       json_object_get(json_object_get(config, "memory"), "zones"));
    if (r == 0)
        r = add_word(p, "--serial", "tty");
    if (r == 0)
        r = add_word(p, "--console", "off");
    for (size_t i = 0; i < ARRAY_SIZE(flags) && r == 0; i++)
        if (json_is_true(json_object_get(config, flags[i].key)))
            r = vivi_plan_arg(p, "%s", flags[i].option);
    return r;
}
