#include "sealed_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sha256.h"
#include "text.h"

namespace haskd {

namespace {

constexpr int64_t MAX_BYTES = 1 << 30;
constexpr size_t LENGTH = 8;  // bytes that tell the header's length
constexpr int FORMAT = 2;
constexpr const char* KEY = "haskd_ros";
constexpr const char* CHECKSUM = "sha256";

[[noreturn]] void damaged(const std::string& why) {
    throw Error("damaged or no model file (" + why + ")");
}

class Descriptor {
   public:
    // Without O_NONBLOCK a named pipe would be waited for.
    explicit Descriptor(const std::string& path)
        : number(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number >= 0) close(number);
    }
    const int number;
};

// A list of numbers of bytes or rows; whole ones from 0 up.
std::vector<int64_t> sizes(const Json* list, const std::string& tensor) {
    if (!list || list->kind != Json::Kind::List) damaged("tensor " + tensor + ": no list of sizes");
    std::vector<int64_t> result;
    for (const Json& item : list->items) {
        if (!item.whole || *item.whole < 0) damaged("tensor " + tensor + ": a size that is none");
        result.push_back(*item.whole);
    }
    return result;
}

}  // namespace

std::string SealedFile::read(const std::string& path) {
    const auto refuse = [](int code) -> Error { return Error(std::strerror(code)); };
    const Descriptor file(path);
    if (file.number < 0) throw refuse(errno);
    struct stat state;
    if (fstat(file.number, &state)) throw refuse(errno);
    if (!S_ISREG(state.st_mode)) throw Error("no file, but a folder, pipe, socket or device");
    if (state.st_size > MAX_BYTES)
        throw Error(std::to_string(state.st_size) + " bytes, allowed are " +
                    std::to_string(MAX_BYTES));
    // Read, not mapped: a mapped file that somebody shortens ends the process.
    std::string content(static_cast<size_t>(state.st_size), '\0');
    size_t at = 0;
    while (at < content.size()) {
        const ssize_t count = ::read(file.number, content.data() + at, content.size() - at);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw refuse(errno);
        if (count == 0) break;
        at += static_cast<size_t>(count);
    }
    content.resize(at);
    return content;
}

SealedFile::SealedFile(std::string_view content) {
    uint64_t length = 0;
    for (size_t i = 0; i < std::min(LENGTH, content.size()); ++i)
        length |= uint64_t{static_cast<uint8_t>(content[i])} << 8 * i;
    if (content.size() < LENGTH || length > content.size() - LENGTH)
        damaged("its header is not whole");
    Json header;
    try {
        header = parse_json(content.substr(LENGTH, length));
    } catch (const Error& error) {
        damaged(std::string("header: ") + error.what());
    }
    if (header.kind != Json::Kind::Object) damaged("its header is no JSON object");
    const Json* metadata = header.find("__metadata__");
    const Json* text = metadata ? metadata->find(KEY) : nullptr;
    if (!text || text->kind != Json::Kind::Text)
        throw Error(std::string("a safetensors file, but not of ") + KEY);
    for (const Json& entry : metadata->items)
        if (entry.kind != Json::Kind::Text) damaged("its metadata holds more than texts");
    document = parse_json(text->text);
    if (document.kind != Json::Kind::Object)
        throw Error(std::string("damaged: the entry ") + KEY + " is no JSON object");
    const Json* format = document.find("format");
    if (!format || format->kind != Json::Kind::Number || format->number != FORMAT)
        throw Error("another model format than " + std::to_string(FORMAT) +
                    ", which this version reads: train the model again, or use the release of "
                    "haskd_ros that wrote it");
    verify(content);
    take_tensors(header, content.substr(LENGTH + length));
}

void SealedFile::verify(std::string_view content) {
    const std::string unset(64, '0');
    const Json* entry = document.find(CHECKSUM);
    const std::string found = entry && entry->kind == Json::Kind::Text ? entry->text : "";
    const size_t place = found.size() == unset.size() ? content.find(found) : content.npos;
    if (place == content.npos)
        throw Error(std::string("damaged: no checksum, ") + CHECKSUM + " is " + quoted(found));
    Sha256 digest;
    digest.update(content.data(), place);
    digest.update(unset.data(), unset.size());
    const std::string_view rest = content.substr(place + unset.size());
    digest.update(rest.data(), rest.size());
    if (digest.hexadecimal() != found)
        throw Error("damaged: its content doesn't match its checksum");
    const auto index = std::find(document.names.begin(), document.names.end(), CHECKSUM);
    document.items.erase(document.items.begin() + (index - document.names.begin()));
    document.names.erase(index);
}

void SealedFile::take_tensors(const Json& header, std::string_view data) {
    struct Span {
        int64_t first, last;
    };
    std::vector<Span> spans;
    for (size_t i = 0; i < header.items.size(); ++i) {
        if (header.names[i] == "__metadata__") continue;
        const Json& entry = header.items[i];
        const std::string name = quoted(header.names[i]);
        const Json* dtype = entry.find("dtype");
        if (entry.kind != Json::Kind::Object || entry.items.size() != 3 || !dtype ||
            dtype->kind != Json::Kind::Text)
            damaged("tensor " + name + ": not dtype, shape and data_offsets");
        if (dtype->text != "F32" && dtype->text != "I64")
            throw Error("weight " + name + " is of type " + quoted(dtype->text) +
                        ", wanted F32 or I64");
        Tensor tensor{dtype->text == "F32", sizes(entry.find("shape"), name), 1, {}};
        const std::vector<int64_t> offsets = sizes(entry.find("data_offsets"), name);
        const int64_t width = tensor.is_float ? 4 : 8;
        for (const int64_t size : tensor.shape) {
            if (size && tensor.count > MAX_BYTES / size)
                damaged("tensor " + name + " is larger than a file may be");
            tensor.count *= size;
        }
        if (offsets.size() != 2 || offsets[0] > offsets[1] ||
            offsets[1] > static_cast<int64_t>(data.size()) ||
            offsets[1] - offsets[0] != tensor.count * width)
            damaged("tensor " + name + " has another size than its shape, or lies outside");
        tensor.octets = data.substr(offsets[0], offsets[1] - offsets[0]);
        spans.push_back({offsets[0], offsets[1]});
        tensors.emplace(header.names[i], std::move(tensor));
    }
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
        return a.first != b.first ? a.first < b.first : a.last < b.last;
    });
    int64_t end = 0;
    for (const Span& span : spans) {
        if (span.first != end) damaged("tensors overlap, or there is a gap between them");
        end = span.last;
    }
    if (end != static_cast<int64_t>(data.size())) damaged("more behind the tensors");
}

}  // namespace haskd
