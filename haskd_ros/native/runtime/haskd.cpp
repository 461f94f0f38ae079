#include "haskd.h"

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "labeller.h"
#include "model/sealed_file.h"
#include "model/text.h"

struct haskd_model {
    haskd::Labeller labeller;
};

namespace {

haskd_status tell(haskd_status status, const char* text, char* error, size_t error_size) {
    if (error && error_size) std::snprintf(error, error_size, "%s", text);
    return status;
}

// The status of a function; what it throws ends here.
template <typename Function>
haskd_status guarded(char* error, size_t error_size, const Function& f) noexcept {
    try {
        f();
        return tell(HASKD_OK, "", error, error_size);
    } catch (const haskd::TooFewPoints& problem) {
        return tell(HASKD_TOO_FEW_POINTS, problem.what(), error, error_size);
    } catch (const haskd::Error& problem) {
        return tell(HASKD_REFUSED, problem.what(), error, error_size);
    } catch (const std::bad_alloc&) {
        return tell(HASKD_NO_MEMORY, "not enough memory", error, error_size);
    } catch (const std::exception& problem) {
        return tell(HASKD_FAILED, problem.what(), error, error_size);
    } catch (...) {
        return tell(HASKD_FAILED, "an unknown fault", error, error_size);
    }
}

haskd_model* opened(std::string_view content, haskd_precision precision) {
    if (precision < HASKD_AUTO || precision > HASKD_BF16)
        throw haskd::Error("an unknown precision");
    return new haskd_model{haskd::Labeller(content, precision)};
}

haskd_model* opened_file(const std::string& path, haskd_precision precision) {
    try {
        return opened(haskd::SealedFile::read(path), precision);
    } catch (const haskd::Error& problem) {
        throw haskd::Error("model " + haskd::quoted(path) + ": " + problem.what());
    }
}

}  // namespace

extern "C" {

const char* haskd_version(void) { return HASKD_VERSION; }

haskd_model* haskd_open(const char* path, haskd_precision precision, haskd_status* status,
                        char* error, size_t error_size) {
    haskd_model* model = nullptr;
    const haskd_status result = guarded(error, error_size, [&] {
        if (!path) throw haskd::Error("no path of a model");
        model = opened_file(path, precision);
    });
    if (status) *status = result;
    return model;
}

haskd_model* haskd_open_content(const void* content, size_t bytes, haskd_precision precision,
                                haskd_status* status, char* error, size_t error_size) {
    haskd_model* model = nullptr;
    const haskd_status result = guarded(error, error_size, [&] {
        if (!content) throw haskd::Error("no content of a model");
        model = opened({static_cast<const char*>(content), bytes}, precision);
    });
    if (status) *status = result;
    return model;
}

void haskd_close(haskd_model* model) { delete model; }

void haskd_describe(const haskd_model* model, haskd_info* info) {
    if (!model || !info) return;
    const haskd::ModelHeader& header = model->labeller.header();
    info->sha256 = model->labeller.sha256().c_str();
    info->classes = static_cast<uint32_t>(header.classes.size());
    info->channels = static_cast<uint32_t>(header.channels.size());
    info->channel_values = static_cast<uint32_t>(header.network.extra_inputs);
    info->voxel_size = header.network.voxel_size;
    info->max_range = header.max_range;
    info->intensity_scale = header.intensity_scale;
    info->intensity_required = header.intensity_required;
    info->bf16 = model->labeller.in_bf16();
}

haskd_status haskd_class(const haskd_model* model, uint32_t class_id, haskd_class_info* info) {
    if (!model || !info) return HASKD_REFUSED;
    const auto& classes = model->labeller.header().classes;
    if (class_id >= classes.size()) return HASKD_REFUSED;
    const haskd::ClassInfo& found = classes[class_id];
    *info = {found.name.c_str(), {found.color[0], found.color[1], found.color[2]}, found.movable};
    return HASKD_OK;
}

haskd_status haskd_channel(const haskd_model* model, uint32_t number, haskd_channel_info* info) {
    if (!model || !info) return HASKD_REFUSED;
    const auto& channels = model->labeller.header().channels;
    if (number >= channels.size()) return HASKD_REFUSED;
    const haskd::Channel& found = channels[number];
    *info = {found.name.c_str(), static_cast<uint32_t>(found.mean.size()), found.scale,
             found.required};
    return HASKD_OK;
}

haskd_status haskd_label(haskd_model* model, const haskd_cloud* cloud,
                         const haskd_options* options, const haskd_labels* labels,
                         haskd_counts* counts, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        if (!model || !cloud || !labels) throw haskd::Error("no model, cloud or labels");
        const haskd_counts found =
            model->labeller.label(*cloud, options ? *options : haskd_options{}, *labels);
        if (counts) *counts = found;
    });
}

}  // extern "C"
