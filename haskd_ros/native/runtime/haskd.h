/* libhaskd: labels the points of LiDAR clouds with a model of haskd_ros, on a CPU, without Python.
 *
 * Takes models of the architecture `sparse_unet`. Class, probability and entropy are those that
 * haskd_ros.segmenter.Segmenter gives for the same cloud.
 *
 * No function ends the process or lets an exception out; what goes wrong is told by a status and a
 * text. A handle is used by one thread at a time, others wait; different handles are independent.
 */
#ifndef HASKD_H
#define HASKD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HASKD_API __attribute__((visibility("default")))

/* Class id of a point without a label: x y z not finite, in the sensor's origin or out of range, or
 * scores that are no numbers. Its probability is 0, its entropy the logarithm of the number of
 * classes. */
#define HASKD_UNLABELLED 255

/* Large enough for every text of an error; a longer one is cut off. */
#define HASKD_ERROR_SIZE 1024

typedef enum haskd_status {
    HASKD_OK = 0,
    HASKD_REFUSED = 1,        /* a model, cloud or argument that can't be read or makes no sense */
    HASKD_TOO_FEW_POINTS = 2, /* fewer valid points than haskd_options.min_points */
    HASKD_NO_MEMORY = 3,
    HASKD_FAILED = 4 /* a fault of the library */
} haskd_status;

/* In which numbers a network's convolutions multiply. */
typedef enum haskd_precision {
    HASKD_AUTO = 0, /* bfloat16 where the processor that this was compiled for multiplies it faster */
    HASKD_FP32 = 1,
    HASKD_BF16 = 2
} haskd_precision;

typedef struct haskd_model haskd_model;

/* Version of the library, that of haskd_ros: "0.1.0". */
HASKD_API const char* haskd_version(void);

/* Reads a model's file. Null where that fails: `error` of `error_size` bytes then says why, in a
 * line that names the file. The status goes to `status`, which may be null, as may `error`. */
HASKD_API haskd_model* haskd_open(const char* path, haskd_precision precision,
                                  haskd_status* status, char* error, size_t error_size);

/* The same of a file's content, which is not needed any longer then. No error names a file. */
HASKD_API haskd_model* haskd_open_content(const void* content, size_t bytes,
                                          haskd_precision precision, haskd_status* status,
                                          char* error, size_t error_size);

/* Frees it; null is allowed. */
HASKD_API void haskd_close(haskd_model* model);

/* What a model is. Texts are valid until it is closed. */
typedef struct haskd_info {
    const char* sha256;      /* of the file, 64 hexadecimal digits */
    uint32_t classes;        /* 2 to 255 */
    uint32_t channels;       /* that it reads beside place and intensity */
    uint32_t channel_values; /* of all of them together */
    double voxel_size;       /* m */
    double max_range;        /* m; points further away get no label */
    double intensity_scale;  /* of the training's clouds: the raw value of a full return */
    int intensity_required;  /* else the training's mean stands in where a cloud has none */
    int bf16;                /* whether its convolutions multiply numbers of bfloat16 */
} haskd_info;
HASKD_API void haskd_describe(const haskd_model* model, haskd_info* info);

typedef struct haskd_class_info {
    const char* name; /* UTF-8 */
    uint8_t rgb[3];
    uint8_t movable; /* whether such things move by themselves */
} haskd_class_info;

/* HASKD_REFUSED where there is no class of this id; ids are 0 to classes - 1. */
HASKD_API haskd_status haskd_class(const haskd_model* model, uint32_t class_id,
                                   haskd_class_info* info);

typedef struct haskd_channel_info {
    const char* name; /* rgb, normal, reflectivity, echo or sweep_age */
    uint32_t values;  /* of a point: 3 of rgb and normal */
    double scale;     /* the raw value that stands for 1: 255 of rgb, 1 s of sweep_age */
    int required;     /* else the training's mean stands in where a cloud has none */
} haskd_channel_info;

/* HASKD_REFUSED where there is none of this number; they are 0 to channels - 1. */
HASKD_API haskd_status haskd_channel(const haskd_model* model, uint32_t number,
                                     haskd_channel_info* info);

/* Types of a field, numbered as in sensor_msgs/PointField. Little-endian, as the processor. */
typedef enum haskd_type {
    HASKD_ABSENT = 0,
    HASKD_INT8 = 1,
    HASKD_UINT8 = 2,
    HASKD_INT16 = 3,
    HASKD_UINT16 = 4,
    HASKD_INT32 = 5,
    HASKD_UINT32 = 6,
    HASKD_FLOAT32 = 7,
    HASKD_FLOAT64 = 8
} haskd_type;

/* Where in a point's bytes a value lies, at any address. */
typedef struct haskd_field {
    uint32_t offset;
    uint32_t type; /* haskd_type; HASKD_ABSENT: the cloud does not have it */
} haskd_field;

/* A cloud as sensor_msgs/PointCloud2 has it; read in place. */
typedef struct haskd_cloud {
    const void* data;
    size_t bytes;         /* of the data; nothing beyond is read */
    size_t height, width; /* points of a column and of a row; fewer than 2^31 in all */
    size_t point_step;    /* bytes from a point to the next one */
    size_t row_step;      /* bytes from a row to the next one; of no meaning where height is 1 */
    haskd_field x, y, z;  /* m in the sensor's frame */
    haskd_field intensity;
    /* [channel_values of haskd_info], channel after channel; null: none is there. A colour of 32
     * bits at offset o, 0x00RRGGBB, is three fields of HASKD_UINT8 at o + 2, o + 1 and o. */
    const haskd_field* channels;
} haskd_cloud;

/* All zero: the defaults. */
typedef struct haskd_options {
    int threads;            /* to use, the caller's among them; 0: as many as there are processors */
    double min_range;       /* m; nearer points get no label */
    double max_range;       /* m; further ones get none; 0: the model's own, which holds anyway */
    double intensity_scale; /* raw value of a full return; 0: that of the training's clouds */
    size_t min_points; /* refuse clouds of fewer points that are finite and not in the origin */
} haskd_options;

/* Where the labels go, [height * width] each, row after row: that of point i at i. */
typedef struct haskd_labels {
    uint8_t* class_id;
    float* probability; /* of that class; may be null */
    float* entropy;     /* of the distribution over the classes, nats; may be null */
} haskd_labels;

typedef struct haskd_counts {
    size_t labelled;
    /* Points whose height, intensity or channels were cut off to what the training saw, or replaced
     * where they were no number. */
    size_t beyond_training;
} haskd_counts;

/* Labels every point of a cloud. `options` null: the defaults; `counts` and `error` may be null. On
 * any status but HASKD_OK the labels are undefined. Memory is kept for the next cloud. */
HASKD_API haskd_status haskd_label(haskd_model* model, const haskd_cloud* cloud,
                                   const haskd_options* options, const haskd_labels* labels,
                                   haskd_counts* counts, char* error, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif
