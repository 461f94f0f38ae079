// The weights of a model's file, taken out one by one and checked (model_file.py).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "../model/sealed_file.h"

namespace haskd {

class Weights {
   public:
    // `tensors` has to outlive this.
    explicit Weights(const std::map<std::string, Tensor>& tensors) : tensors(tensors) {}

    // All of these throw Error: no such weight, or one of another type or shape, or of values that
    // it can't have.
    std::vector<float> take(const std::string& name, std::initializer_list<int64_t> shape);
    std::vector<float> take_variance(const std::string& name, int64_t channels);
    // The number of batches that a norm has seen, which nothing needs.
    void take_count(const std::string& name);

    // Throws Error: some were not taken.
    void expect_none_left() const;

   private:
    const Tensor& find(const std::string& name, const std::vector<int64_t>& shape, bool is_float);

    const std::map<std::string, Tensor>& tensors;
    std::set<std::string> taken;
};

}  // namespace haskd
