#include "value.h"

#include <algorithm>

#include "text.h"

namespace haskd {

void Value::refuse(const std::string& problem) const {
    throw Error("model header: " + (place.empty() ? "" : place + ": ") + problem);
}

void Value::expect_object() const {
    if (json.kind != Json::Kind::Object) refuse("no object");
}

void Value::expect_names(std::initializer_list<const char*> required,
                         std::initializer_list<const char*> others) const {
    expect_object();
    for (const char* name : required)
        if (!json.find(name)) refuse(std::string(name) + " is missing");
    for (const std::string& name : json.names) {
        const auto is_it = [&](const char* known) { return name == known; };
        if (std::none_of(required.begin(), required.end(), is_it) &&
            std::none_of(others.begin(), others.end(), is_it))
            refuse("unknown key " + quoted(name));
    }
}

Value Value::member(const char* name) const {
    const std::optional<Value> found = optional_member(name);
    if (!found) refuse(std::string(name) + " is missing");
    return *found;
}

std::optional<Value> Value::optional_member(const char* name, bool null_is_none) const {
    const Json* found = json.find(name);
    if (!found || (null_is_none && found->kind == Json::Kind::Null)) return std::nullopt;
    return Value(*found, place.empty() ? name : place + "." + name);
}

std::vector<Value> Value::members() const {
    expect_object();
    std::vector<Value> result;
    for (size_t i = 0; i < json.items.size(); ++i)
        result.emplace_back(json.items[i], place + "." + quoted(json.names[i]));
    return result;
}

std::vector<Value> Value::list(size_t least, size_t most) const {
    if (json.kind != Json::Kind::List) refuse("no list");
    if (json.items.size() < least || json.items.size() > most)
        refuse("a list of " + std::to_string(json.items.size()) + ", wanted are " +
               (least == most ? "" : std::to_string(least) + " to ") + std::to_string(most));
    std::vector<Value> result;
    for (size_t i = 0; i < json.items.size(); ++i)
        result.emplace_back(json.items[i], place + "." + std::to_string(i));
    return result;
}

double Value::number() const {
    if (json.kind != Json::Kind::Number) refuse("no number");
    return json.number;
}

double Value::number(double lowest, double highest) const {
    const double value = number();
    if (value < lowest || value > highest)
        refuse(shown(value) + ", allowed is " + shown(lowest) + " to " + shown(highest));
    return value;
}

int64_t Value::whole(int64_t lowest, int64_t highest) const {
    if (!json.whole) refuse("no whole number");
    if (*json.whole < lowest || *json.whole > highest)
        refuse(std::to_string(*json.whole) + ", allowed is " + std::to_string(lowest) + " to " +
               std::to_string(highest));
    return *json.whole;
}

bool Value::boolean() const {
    if (json.kind != Json::Kind::Boolean) refuse("neither true nor false");
    return json.boolean;
}

const std::string& Value::text() const {
    if (json.kind != Json::Kind::Text) refuse("no text");
    return json.text;
}

}  // namespace haskd
