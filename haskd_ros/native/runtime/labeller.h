// A model at work: points in, labels out (segmenter.py).
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "cloud_reader.h"
#include "haskd.h"
#include "model/model_header.h"
#include "model/sealed_file.h"
#include "model/text.h"
#include "network/sparse_unet.h"

namespace haskd {

struct TooFewPoints : Error {
    using Error::Error;
};

class Labeller {
   public:
    // Of the content of a model's file. Throws Error.
    Labeller(std::string_view content, haskd_precision precision);

    const ModelHeader& header() const { return model; }
    const std::string& sha256() const { return digest; }
    bool in_bf16() const { return bf16; }

    // Throws Error, TooFewPoints.
    haskd_counts label(const haskd_cloud& cloud, const haskd_options& options,
                       const haskd_labels& labels);

   private:
    Labeller(std::string_view content, const SealedFile& file, haskd_precision precision);

    // Points that can be labelled, as the network reads them.
    struct Valid {
        Scratch::Array<float> points;  // [count, 4 + channels' values]
        Scratch::Array<uint8_t> mask;  // [points of the cloud], which they are
        int64_t count, beyond;
    };
    Valid valid_points(const CloudReader& reader, const haskd_options& options);
    void add_channels(const CloudReader& reader, const haskd_field* fields, Valid& valid);
    int64_t infer(const Valid& valid, int64_t points, int threads, const haskd_labels& labels);

    bool bf16;
    std::string digest;
    ModelHeader model;
    SparseUNet network;
    std::mutex one_caller;
    Scratch scratch;
};

}  // namespace haskd
