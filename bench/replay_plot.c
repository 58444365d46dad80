/* SPDX-License-Identifier: BSD-2-Clause */
#include "replay_plot.h"
#include "fail.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PANEL_WIDTH  560
#define PANEL_HEIGHT 380
#define ACROSS       2u

extern char **environ;

/* ---------------------------------------------------------------------------------------------
 * gnuplot, which reads commands from a pipe.
 */

bool replay_plot_possible(void)
{
    const char *path = getenv("PATH"); /* NOLINT(concurrency-mt-unsafe): nobody sets it */
    char file[4096];

    while (path != NULL && *path != '\0') {
        const size_t n = strcspn(path, ":");

        (void)snprintf(file, sizeof file, "%.*s/gnuplot", (int)n, path);
        if (access(file, X_OK) == 0) {
            return true;
        }
        path += n + (path[n] == ':' ? 1 : 0);
    }
    return false;
}

static FILE *start(pid_t *pid)
{
    char name[] = "gnuplot";
    char *const argv[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    int fds[2], rc;
    FILE *to;

    if (pipe(fds) != 0) {
        fail("no pipe: %s", error_text(-errno));
    }
    must(-posix_spawn_file_actions_init(&actions), "start gnuplot");
    must(-posix_spawn_file_actions_adddup2(&actions, fds[0], STDIN_FILENO), "start gnuplot");
    must(-posix_spawn_file_actions_addclose(&actions, fds[1]), "start gnuplot");
    rc = posix_spawnp(pid, name, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(fds[0]);
    to = fdopen(fds[1], "w");
    if (rc != 0 || to == NULL) {
        fail("start gnuplot: %s", error_text(rc != 0 ? -rc : -errno));
    }
    return to;
}

/* Between single quotes, inside of which only these mean something. */
static void quoted(FILE *to, const char *text)
{
    (void)fputc('\'', to);
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            (void)fputc('\'', to);
        }
        (void)fputc(*text == '\n' ? ' ' : *text, to);
    }
    (void)fputc('\'', to);
}

/* ---------------------------------------------------------------------------------------------
 * Panels of lines of points.
 */

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text != NULL ? text : "";
}

static bool same(const json_t *a, const json_t *b, const char *key)
{
    return strcmp(text_of(a, key), text_of(b, key)) == 0;
}

static bool same_panel(const json_t *a, const json_t *b)
{
    return same(a, b, "trace") && same(a, b, "case");
}

static bool same_line(const json_t *a, const json_t *b)
{
    return same_panel(a, b) && same(a, b, "subject") && same(a, b, "policy");
}

/* The first row that is as @row in this respect and has a result; @row itself if none is before. */
static bool is_first(const json_t *rows,
                     const json_t *row,
                     bool (*alike)(const json_t *a, const json_t *b))
{
    const json_t *other;
    size_t i;

    if (json_object_get(row, "missing") != NULL) {
        return false;
    }
    json_array_foreach(rows, i, other)
    {
        if (json_object_get(other, "missing") == NULL && alike(row, other)) {
            return other == row;
        }
    }
    return false;
}

static void write_points(FILE *to, const json_t *rows, const json_t *first, unsigned number)
{
    const bool pages = strcmp(text_of(first, "case"), "pages") == 0;
    const json_t *row;
    size_t i;

    (void)fprintf(to, "$line%u << END\n", number);
    json_array_foreach(rows, i, row)
    {
        if (same_line(first, row) && json_object_get(row, "missing") == NULL) {
            (void)fprintf(to, "%.6g %.4f\n",
                          pages
                              ? json_number_value(json_object_get(row, "cache_pages"))
                              : json_number_value(json_object_get(row, "cache_bytes")) / (1 << 20),
                          json_number_value(json_object_get(row, "hit_percent")));
        }
    }
    (void)fputs("END\n", to);
}

static void write_panel(FILE *to, const json_t *rows, const json_t *panel)
{
    const bool pages = strcmp(text_of(panel, "case"), "pages") == 0;
    const json_t *row;
    unsigned lines = 0, drawn = 0;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (same_panel(panel, row) && is_first(rows, row, same_line)) {
            write_points(to, rows, row, lines++);
        }
    }
    (void)fputs("set title ", to);
    quoted(to, text_of(panel, "trace"));
    (void)fprintf(to, "\nset xlabel '%s'\nplot ", pages ? "pages" : "MiB");
    json_array_foreach(rows, i, row)
    {
        char title[128];

        if (same_panel(panel, row) && is_first(rows, row, same_line)) {
            (void)snprintf(title, sizeof title, "%s %s", text_of(row, "subject"),
                           text_of(row, "policy"));
            (void)fprintf(to, "%s$line%u with linespoints linewidth %d title ",
                          drawn == 0 ? "" : ", ", drawn,
                          strcmp(text_of(row, "subject"), "zcache") == 0 ? 3 : 1);
            quoted(to, title);
            drawn++;
        }
    }
    (void)fputc('\n', to);
}

static unsigned count_panels(const json_t *rows)
{
    const json_t *row;
    unsigned n = 0;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        n += is_first(rows, row, same_panel) ? 1 : 0;
    }
    return n;
}

static void write_plot(FILE *to, const char *path, const json_t *rows)
{
    const unsigned panels = count_panels(rows);
    const unsigned across = panels == 1 ? 1 : ACROSS;
    const unsigned down = (panels + across - 1) / across;
    const json_t *row;
    size_t i;

    (void)fprintf(to, "set terminal svg size %u,%u noenhanced background '#ffffff'\nset output ",
                  PANEL_WIDTH * across, PANEL_HEIGHT * down);
    quoted(to, path);
    (void)fprintf(to,
                  "\nset logscale x 2\nset ylabel 'hit ratio, %%'\nset yrange [0:100]\nset grid\n"
                  "set key left top\nset multiplot layout %u,%u\n",
                  down, across);
    json_array_foreach(rows, i, row)
    {
        if (is_first(rows, row, same_panel)) {
            write_panel(to, rows, row);
        }
    }
    (void)fputs("unset multiplot\n", to);
}

void replay_plot(const char *path, const json_t *rows)
{
    bool written;
    pid_t pid;
    int status;
    FILE *to;

    (void)signal(SIGPIPE, SIG_IGN);
    to = start(&pid);
    write_plot(to, path, rows);
    written = ferror(to) == 0;
    written = fclose(to) == 0 && written;
    if (waitpid(pid, &status, 0) != pid || status != 0 || !written) {
        fail("gnuplot did not draw %s", path);
    }
}
