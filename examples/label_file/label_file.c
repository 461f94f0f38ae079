/* Labels clouds in KITTI's .bin files: float32 x y z intensity of each point, one after the other.
 *
 *   label_file MODEL THREADS CLOUD.bin LABELS [CLOUD.bin LABELS ..]
 *
 * LABELS gets a byte a point, its class id; 255 where it has none. */
#include <haskd.h>
#include <stdio.h>
#include <stdlib.h>

enum { POINT_STEP = 16 };

/* The content of a file; null where it can't be read. */
static void* read_file(const char* path, size_t* bytes) {
    FILE* file = fopen(path, "rb");
    char* content = NULL;
    size_t room = 1 << 16, count = 0, more = 1;
    while (file && more) {
        char* longer = realloc(content, room);
        if (!longer) break;
        content = longer;
        more = fread(content + count, 1, room - count, file);
        count += more;
        if (count == room) room *= 2;
    }
    if (!file || more || ferror(file)) {
        free(content);
        content = NULL;
    }
    if (file) fclose(file);
    *bytes = count;
    return content;
}

static int write_file(const char* path, const void* content, size_t bytes) {
    FILE* file = fopen(path, "wb");
    if (!file) return 0;
    const size_t count = fwrite(content, 1, bytes, file);
    return fclose(file) == 0 && count == bytes;
}

static int label_file(haskd_model* model, int threads, const char* from, const char* to) {
    char error[HASKD_ERROR_SIZE];
    size_t bytes;
    void* data = read_file(from, &bytes);
    if (!data || bytes % POINT_STEP) {
        fprintf(stderr, "%s can't be read, or is no file of points of 16 bytes\n", from);
        free(data);
        return 0;
    }
    const haskd_cloud cloud = {
        .data = data,
        .bytes = bytes,
        .height = 1,
        .width = bytes / POINT_STEP,
        .point_step = POINT_STEP,
        .x = {0, HASKD_FLOAT32},
        .y = {4, HASKD_FLOAT32},
        .z = {8, HASKD_FLOAT32},
        .intensity = {12, HASKD_FLOAT32},
    };
    /* KITTI's intensity goes from 0 to 1. */
    const haskd_options options = {.threads = threads, .intensity_scale = 1.0};
    uint8_t* class_id = malloc(cloud.width + 1);
    const haskd_labels labels = {.class_id = class_id};
    haskd_counts counts;
    haskd_status status = HASKD_NO_MEMORY;
    if (class_id)
        status = haskd_label(model, &cloud, &options, &labels, &counts, error, sizeof error);
    if (status != HASKD_OK)
        fprintf(stderr, "%s: %s\n", from, class_id ? error : "not enough memory");
    else if (!write_file(to, class_id, cloud.width))
        fprintf(stderr, "%s can't be written\n", to), status = HASKD_REFUSED;
    else
        printf("%s: %zu points, %zu labelled\n", from, cloud.width, counts.labelled);
    free(class_id);
    free(data);
    return status == HASKD_OK;
}

int main(int count, char** words) {
    if (count < 5 || count % 2 == 0) {
        fprintf(stderr, "usage: %s MODEL THREADS CLOUD.bin LABELS [CLOUD.bin LABELS ..]\n",
                words[0]);
        return 2;
    }
    char error[HASKD_ERROR_SIZE];
    haskd_model* model = haskd_open(words[1], HASKD_AUTO, NULL, error, sizeof error);
    if (!model) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    int good = 1;
    for (int i = 3; i < count && good; i += 2)
        good = label_file(model, atoi(words[2]), words[i], words[i + 1]);
    haskd_close(model);
    return good ? 0 : 1;
}
