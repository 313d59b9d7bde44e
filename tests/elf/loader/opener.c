/* Opens names as they stand on its command line, and tells what came of each and what is loaded then.
 *
 * An argument is `NAME`, or `PATH|NAME`: then code in the loaded file PATH calls dlopen. Such a file must be
 * one of write.py's, which have that code at a fixed place. What is loaded from the start is told first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_DLOPEN 0x1c0

typedef void *opens(void *dlopen, const char *name, int flags);

static struct link_map *maps(void) { return dlopen(NULL, RTLD_LAZY); }

static void tell_loaded(void)
{
    for (struct link_map *map = maps(); map; map = map->l_next)
        if (strcmp(map->l_name, "linux-vdso.so.1"))
            printf("loaded %s\n", map->l_name);
}

static void *open_by(const char *path, const char *name)
{
    for (struct link_map *map = maps(); map; map = map->l_next)
        if (!strcmp(map->l_name, path))
            return ((opens *)(map->l_addr + CALLS_DLOPEN))((void *)dlopen, name, RTLD_LAZY);
    fprintf(stderr, "%s is not loaded\n", path);
    exit(2);
}

int main(int count, char **arguments)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* the loader may end the process in the midst of it */
    tell_loaded();
    for (int at = 1; at < count; at++) {
        char *bar = strchr(arguments[at], '|');
        if (bar)
            *bar = 0;
        struct link_map *opened =
            bar ? open_by(arguments[at], bar + 1) : dlopen(arguments[at], RTLD_LAZY);
        if (opened)
            printf("opened %s\n", opened->l_name);
        else
            printf("failed %s\n", dlerror());
        tell_loaded();
    }
    return 0;
}
