/* SPDX-License-Identifier: BSD-2-Clause */
/* zcache-bench: a command, and the options that options.h describes. */
#include "command.h"
#include "suggest.h"

#include <stdio.h>
#include <string.h>

static const struct command *const commands[] = {
    &command_codec,     &command_hit,   &command_put,  &command_scale, &command_tenants,
    &command_writeback, &command_churn, &command_grow, &command_busy,  &command_replay,
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(FILE *to)
{
    (void)fputs("Usage: zcache-bench COMMAND --corpus FILE [OPTION...]\n"
                "       zcache-bench replay TRACE... [OPTION...]\n\nCommands:\n",
                to);
    for (size_t i = 0; i < COMMANDS; i++) {
        (void)fprintf(to, "  %-10s %s\n", commands[i]->defaults.command, commands[i]->summary);
    }
    (void)fputs("\n'zcache-bench COMMAND --help' lists the options.\n", to);
}

static void print_wrong(const char *name)
{
    const char *names[COMMANDS], *near;

    for (size_t i = 0; i < COMMANDS; i++) {
        names[i] = commands[i]->defaults.command;
    }
    near = suggest(name, names, COMMANDS);
    (void)fprintf(stderr, "zcache-bench: there is no command '%s'", name);
    if (near != NULL) {
        (void)fprintf(stderr, "; perhaps '%s'", near);
    }
    (void)fputs("\n\n", stderr);
    print_help(stderr);
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
        if (strcmp(argv[1], commands[i]->defaults.command) == 0) {
            return command_run(commands[i], argc - 1, argv + 1);
        }
    }
    print_wrong(argv[1]);
    return 2;
}
