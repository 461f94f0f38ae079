#include "json.h"

#include <algorithm>
#include <charconv>

#include "text.h"

namespace haskd {

namespace {

constexpr size_t MAX_DIGITS = 4300;  // of a whole number that Python reads

class Parser {
   public:
    explicit Parser(std::string_view text) : text(text) {}

    Json document() {
        Json result = value(1);
        skip_space();
        if (at < text.size()) fail("more behind its end");
        return result;
    }

   private:
    [[noreturn]] void fail(const char* what) const {
        throw Error("no JSON (" + std::string(what) + " at byte " + std::to_string(at) + ")");
    }

    char peek() const { return at < text.size() ? text[at] : '\0'; }

    bool take(char wanted) {
        if (at >= text.size() || text[at] != wanted) return false;
        ++at;
        return true;
    }

    bool take(std::string_view word) {
        if (text.substr(at, word.size()) != word) return false;
        at += word.size();
        return true;
    }

    void skip_space() {
        while (at < text.size() && std::string_view(" \t\n\r").find(text[at]) != text.npos) ++at;
    }

    Json value(int depth) {
        if (depth > MAX_JSON_DEPTH)
            throw Error("JSON nested deeper than " + std::to_string(MAX_JSON_DEPTH) + " levels");
        skip_space();
        Json result;
        if (take('{')) {
            object(result, depth);
        } else if (take('[')) {
            list(result, depth);
        } else if (take('"')) {
            result.kind = Json::Kind::Text;
            result.text = string();
        } else if (take("true") || take("false")) {
            result.kind = Json::Kind::Boolean;
            result.boolean = text[at - 2] == 'u';
        } else if (!take("null")) {
            for (const std::string_view name : {"NaN", "Infinity", "-Infinity"})
                if (take(name))
                    throw Error("JSON with " + std::string(name) + ", which is no number");
            number(result);
        }
        return result;
    }

    void object(Json& result, int depth) {
        result.kind = Json::Kind::Object;
        skip_space();
        if (take('}')) return;
        do {
            skip_space();
            if (!take('"')) fail("no name");
            result.names.push_back(string());
            skip_space();
            if (!take(':')) fail("no colon");
            result.items.push_back(value(depth + 1));
            skip_space();
        } while (take(','));
        if (!take('}')) fail("no end of an object");
        std::vector<std::string_view> sorted(result.names.begin(), result.names.end());
        std::sort(sorted.begin(), sorted.end());
        const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
        if (twice != sorted.end())
            throw Error("JSON in which the key " + quoted(*twice) + " stands twice");
    }

    void list(Json& result, int depth) {
        result.kind = Json::Kind::List;
        skip_space();
        if (take(']')) return;
        do {
            result.items.push_back(value(depth + 1));
            skip_space();
        } while (take(','));
        if (!take(']')) fail("no end of a list");
    }

    std::string string() {
        std::string result;
        while (!take('"')) {
            char32_t character;
            if (at >= text.size()) fail("no end of a text");
            if (take('\\'))
                character = escaped();
            else if (!next_character(text, at, character))
                throw Error("JSON with characters that are none (not UTF-8)");
            else if (character < 0x20)
                fail("a control character in a text");
            append_character(result, character);
        }
        return result;
    }

    char32_t escaped() {
        constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
        const size_t which = names.find(peek());
        if (at < text.size() && which != names.npos) {
            ++at;
            return values[which];
        }
        if (!take('u')) fail("an unknown escape");
        const char32_t first = hexadecimal();
        if (first < 0xd800 || first > 0xdfff) return first;
        const bool is_high = first < 0xdc00;
        const char32_t second = is_high && take("\\u") ? hexadecimal() : 0;
        if (second < 0xdc00 || second > 0xdfff)
            throw Error("JSON with characters that are none (half of a pair)");
        return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    }

    char32_t hexadecimal() {
        unsigned result = 0;
        const char* first = text.data() + at;
        const char* last = first + std::min<size_t>(4, text.size() - at);
        const auto [end, error] = std::from_chars(first, last, result, 16);
        if (error != std::errc() || end != first + 4) fail("an escape without four digits");
        at += 4;
        return result;
    }

    size_t digits() {
        const size_t first = at;
        while (peek() >= '0' && peek() <= '9') ++at;
        return at - first;
    }

    void number(Json& result) {
        const size_t first = at;
        take('-');
        const bool begins_with_0 = peek() == '0';
        const size_t count = digits();
        if (!count || (begins_with_0 && count > 1)) fail("no value");
        bool is_whole = true;
        if (take('.')) {
            if (!digits()) fail("no digit behind a point");
            is_whole = false;
        }
        if (take('e') || take('E')) {
            if (!take('-')) take('+');
            if (!digits()) fail("no digit in an exponent");
            is_whole = false;
        }
        if (is_whole && count > MAX_DIGITS) fail("a number too long");
        result.kind = Json::Kind::Number;
        const char *from = text.data() + first, *to = text.data() + at;
        // Whatever language the program has chosen, unlike strtod.
        if (std::from_chars(from, to, result.number).ec != std::errc())
            fail("a number that no double holds");
        int64_t whole;
        if (is_whole && std::from_chars(from, to, whole).ec == std::errc()) result.whole = whole;
    }

    std::string_view text;
    size_t at = 0;
};

}  // namespace

const Json* Json::find(std::string_view name) const {
    const auto found = std::find(names.begin(), names.end(), name);
    return found == names.end() ? nullptr : &items[found - names.begin()];
}

Json parse_json(std::string_view text) {
    if (text.size() > MAX_JSON_CHARACTERS)
        throw Error("JSON of " + std::to_string(text.size()) + " bytes, allowed are " +
                    std::to_string(MAX_JSON_CHARACTERS));
    return Parser(text).document();
}

}  // namespace haskd
