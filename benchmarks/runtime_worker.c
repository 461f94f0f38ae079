/* A process that labels one cloud with libhaskd as often as it is asked to, for runtime.py:
 *
 *   runtime_worker MODEL THREADS CLOUD.bin POINTS
 *
 * Each line on its input is answered by the milliseconds that a labelling took. */
#define _POSIX_C_SOURCE 200809L
#include <haskd.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static int fail(const char* text) {
    fprintf(stderr, "%s\n", text);
    return 1;
}

int main(int count, char** words) {
    char error[HASKD_ERROR_SIZE], line[8];
    if (count != 5) return fail("usage: runtime_worker MODEL THREADS CLOUD.bin POINTS");
    haskd_model* model = haskd_open(words[1], HASKD_AUTO, NULL, error, sizeof error);
    if (!model) return fail(error);
    const size_t points = strtoul(words[4], NULL, 10);
    void* data = malloc(16 * points);
    uint8_t* class_id = malloc(points);
    float* numbers = malloc(2 * points * sizeof(float));
    FILE* file = fopen(words[3], "rb");
    if (!data || !class_id || !numbers || !file || fread(data, 16, points, file) != points)
        return fail("the cloud can't be read");
    fclose(file);
    const haskd_cloud cloud = {
        .data = data, .bytes = 16 * points, .height = 1, .width = points, .point_step = 16,
        .x = {0, HASKD_FLOAT32}, .y = {4, HASKD_FLOAT32}, .z = {8, HASKD_FLOAT32},
        .intensity = {12, HASKD_FLOAT32}};
    const haskd_options options = {.threads = atoi(words[2])};
    const haskd_labels labels = {class_id, numbers, numbers + points};
    while (fgets(line, sizeof line, stdin)) {
        const double started = now_ms();
        if (haskd_label(model, &cloud, &options, &labels, NULL, error, sizeof error))
            return fail(error);
        printf("%.4f\n", now_ms() - started);
        fflush(stdout);
    }
    free(numbers);
    free(class_id);
    free(data);
    haskd_close(model);
    return 0;
}
