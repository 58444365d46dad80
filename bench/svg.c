/* SPDX-License-Identifier: BSD-2-Clause */
#include "svg.h"

#include <math.h>

#define WIDTH        640
#define LABEL_WIDTH  190
#define VALUE_WIDTH  90
#define BAR_HEIGHT   16
#define BAR_STEP     22
#define TITLE_HEIGHT 28
#define PLOT_HEIGHT  240
#define LEGEND_STEP  18
#define MARGIN       60

static const char *const colors[] = {"#c2410c", "#475569", "#0f766e", "#7c3aed",
                                     "#a16207", "#be185d", "#1d4ed8", "#4d7c0f"};

#define COLORS (sizeof colors / sizeof colors[0])

void svg_text(FILE *to, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        switch (*p) {
        case '&':
            (void)fputs("&amp;", to);
            break;
        case '<':
            (void)fputs("&lt;", to);
            break;
        case '>':
            (void)fputs("&gt;", to);
            break;
        case '"':
            (void)fputs("&quot;", to);
            break;
        default:
            (void)fputc(*p, to);
        }
    }
}

static void begin(FILE *to, const char *title, double height)
{
    (void)fprintf(to,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" "
                  "role=\"img\"><text x=\"0\" y=\"16\" class=\"title\">",
                  WIDTH, height);
    svg_text(to, title);
    (void)fputs("</text>\n", to);
}

/* A number in about four digits. */
static void number(FILE *to, double value)
{
    if (fabs(value) >= 1e6) {
        (void)fprintf(to, "%.4g M", value / 1e6);
    } else {
        (void)fprintf(to, fabs(value) >= 1000 ? "%.0f" : "%.4g", value);
    }
}

static void text_at(FILE *to, double x, double y, const char *anchor, const char *text)
{
    (void)fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    svg_text(to, text);
    (void)fputs("</text>", to);
}

static void number_at(FILE *to, double x, double y, const char *anchor, double value)
{
    (void)fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    number(to, value);
    (void)fputs("</text>", to);
}

void svg_bars(FILE *to, const char *title, const struct bar *bar, unsigned n)
{
    const double room = WIDTH - LABEL_WIDTH - VALUE_WIDTH;
    double most = 0;

    for (unsigned i = 0; i < n; i++) {
        most = fmax(most, fmax(bar[i].value, isnan(bar[i].high) ? 0 : bar[i].high));
    }
    begin(to, title, TITLE_HEIGHT + n * BAR_STEP + 4);
    for (unsigned i = 0; i < n; i++) {
        const struct bar *b = &bar[i];
        const double scale = most > 0 ? room / most : 0;
        const double y = TITLE_HEIGHT + i * BAR_STEP;
        const double end = LABEL_WIDTH + fmax(b->value, isnan(b->high) ? 0 : b->high) * scale;

        text_at(to, LABEL_WIDTH - 8, y + 12, "end", b->label);
        (void)fprintf(to, "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>",
                      LABEL_WIDTH, y, fmax(b->value * scale, 0.5), BAR_HEIGHT,
                      b->ours ? colors[0] : colors[1]);
        if (!isnan(b->low) && !isnan(b->high)) {
            (void)fprintf(
                to, "<path d=\"M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8\" class=\"spread\"/>",
                LABEL_WIDTH + b->low * scale, y + 8, LABEL_WIDTH + b->high * scale,
                LABEL_WIDTH + b->low * scale, y + 4, LABEL_WIDTH + b->high * scale, y + 4);
        }
        number_at(to, end + 6, y + 12, "start", b->value);
        (void)fputc('\n', to);
    }
    (void)fputs("</svg>\n", to);
}

static void curve(FILE *to, const struct line *l, const char *color, double x_scale, double y_scale)
{
    const double bottom = TITLE_HEIGHT + PLOT_HEIGHT;

    (void)fprintf(to, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%d\" points=\"", color,
                  l->ours ? 3 : 2);
    for (unsigned i = 0; i < l->n; i++) {
        (void)fprintf(to, "%.1f,%.1f ", MARGIN + l->x[i] * x_scale, bottom - l->y[i] * y_scale);
    }
    (void)fputs("\"/>", to);
    for (unsigned i = 0; i < l->n; i++) {
        (void)fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>",
                      MARGIN + l->x[i] * x_scale, bottom - l->y[i] * y_scale, color);
        number_at(to, MARGIN + l->x[i] * x_scale, bottom + 16, "middle", l->x[i]);
    }
    (void)fputc('\n', to);
}

void svg_lines(FILE *to,
               const char *title,
               const char *x_title,
               const struct line *line,
               unsigned n)
{
    const double bottom = TITLE_HEIGHT + PLOT_HEIGHT;
    double x_most = 0, y_most = 0;

    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < line[i].n; k++) {
            x_most = fmax(x_most, line[i].x[k]);
            y_most = fmax(y_most, line[i].y[k]);
        }
    }
    begin(to, title, bottom + 40 + n * LEGEND_STEP);
    (void)fprintf(to, "<path d=\"M%d %dV%.1fH%d\" class=\"axis\"/>", MARGIN, TITLE_HEIGHT, bottom,
                  WIDTH);
    number_at(to, MARGIN - 4, TITLE_HEIGHT + 10, "end", y_most);
    text_at(to, WIDTH, bottom + 16, "end", x_title);
    for (unsigned i = 0; i < n; i++) {
        const char *color = line[i].ours ? colors[0] : colors[1 + i % (COLORS - 1)];
        const double y = bottom + 40 + i * LEGEND_STEP;

        if (x_most > 0 && y_most > 0) {
            curve(to, &line[i], color, (WIDTH - MARGIN - 80) / x_most, PLOT_HEIGHT / y_most);
        }
        (void)fprintf(to, "<rect x=\"%d\" y=\"%.1f\" width=\"12\" height=\"4\" fill=\"%s\"/>",
                      MARGIN, y - 6, color);
        text_at(to, MARGIN + 18, y, "start", line[i].label);
    }
    (void)fputs("</svg>\n", to);
}
