/* The public header as C++17 sees it, and one scenario through it. */
#include <vivarium/vivarium.h>

#include "check.h"

static_assert(sizeof(viv_error) == 1024, "fixed for the life of soname 1");

int main()
{
    char dir[] = "/tmp/vivx.XXXXXX";
    viv *v = nullptr;
    viv_config *config = nullptr;
    viv_vm *vm = nullptr;
    viv_rec *info = nullptr;
    viv_list *list = nullptr;
    int changed = 0;

    puts("1..1");
    CHECK(mkdtemp(dir));
    OK(viv_open(dir, VIV_OPEN_CREATE, &v, &err));
    OK(viv_config_new(&config, &err));
    OK(viv_config_set(config, "name", "web", &err));
    OK(viv_config_set(config, "driver", "fake", &err));
    OK(viv_create(v, config, 0, &vm, &changed, &err));
    CHECK(changed == 1);
    OK(viv_vm_info(vm, &info, &err));
    CHECK(!strcmp(viv_rec_str(info, "state"), "created"));
    OK(viv_ls(v, "state=created", &list, &err));
    CHECK(viv_list_len(list) == 1);
    CHECK(viv_lookup(v, "wob", &vm, &err) == -VIV_E_NOT_FOUND);
    CHECK(!strcmp(err.hint, "did you mean \"web\"?"));
    OK(viv_vm_remove(vm, nullptr, nullptr, nullptr, &err));
    viv_list_free(list);
    viv_rec_free(info);
    viv_vm_free(vm);
    viv_config_free(config);
    viv_close(v);
    remove_tree(dir);
    puts("ok 1 - a C++17 program uses the library");
    return 0;
}
