/* SPDX-License-Identifier: BSD-2-Clause */
/* zcache-bench: a command, and the options that options.h describes. */
#include "commands.h"

#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, const char **argv);
};

static const struct command commands[] = {
    {"hit", "get and pin in each tier, beside the bare codec", cmd_hit},
    {"put", "put into the raw tier, beside memcpy()", cmd_put},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(FILE *to)
{
    (void)fputs("Usage: zcache-bench COMMAND --corpus FILE [OPTION...]\n\nCommands:\n", to);
    for (size_t i = 0; i < COMMANDS; i++) {
        (void)fprintf(to, "  %-6s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fputs("\n'zcache-bench COMMAND --help' lists the options.\n", to);
}

int main(int argc, const char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0) {
        print_help(stdout);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    (void)fprintf(stderr, "zcache-bench: there is no command '%s'\n\n", argv[1]);
    print_help(stderr);
    return 2;
}
