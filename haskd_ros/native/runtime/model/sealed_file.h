// A model file: tensors and a JSON document in one safetensors file, with a checksum over all of it
// (sealed_tensors.py).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"

namespace haskd {

struct Tensor {
    bool is_float;  // float32; else int64
    std::vector<int64_t> shape;
    int64_t count;            // of its numbers
    std::string_view octets;  // in the file, little-endian, at any address
};

class SealedFile {
   public:
    // The content of a file that `path` names. Throws Error: no such file, or too large for a model.
    static std::string read(const std::string& path);

    // Checks header, document, checksum and where the tensors lie; their values are not looked at.
    // `content` has to outlive this. Throws Error.
    explicit SealedFile(std::string_view content);

    // The document without its checksum.
    Json document;
    std::map<std::string, Tensor> tensors;

   private:
    void take_tensors(const Json& header, std::string_view data);
    void verify(std::string_view content);
};

}  // namespace haskd
