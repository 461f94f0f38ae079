// A value of a JSON document that knows where it stands, for messages.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "json.h"

namespace haskd {

// All of these throw Error where the value is not what is asked for: where, and what is wanted.
class Value {
   public:
    Value(const Json& json, std::string place) : json(json), place(std::move(place)) {}

    [[noreturn]] void refuse(const std::string& problem) const;

    // An object of these names and no others, of which only the required ones have to be there.
    void expect_names(std::initializer_list<const char*> required,
                      std::initializer_list<const char*> others = {}) const;
    // Of an object.
    Value member(const char* name) const;
    // None where it is not there, or is null and that is allowed.
    std::optional<Value> optional_member(const char* name, bool null_is_none = false) const;
    std::vector<Value> members() const;

    std::vector<Value> list(size_t least = 0, size_t most = SIZE_MAX) const;
    double number(double lowest, double highest) const;
    double number() const;
    int64_t whole(int64_t lowest, int64_t highest) const;
    bool boolean() const;
    const std::string& text() const;
    void expect_object() const;

   private:
    const Json& json;
    std::string place;
};

}  // namespace haskd
