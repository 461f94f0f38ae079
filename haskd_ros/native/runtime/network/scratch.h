// Memory that is kept from cloud to cloud: the system clears fresh memory page by page, which takes
// longer than most steps of a network.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace haskd {

class Scratch {
    struct Block {
        void* memory;
        size_t bytes;
    };

   public:
    // Uninitialised memory, given back to where it came from at its end.
    template <typename T>
    class Array {
       public:
        Array() = default;
        Array(Array&& other) noexcept { *this = std::move(other); }
        Array& operator=(Array&& other) noexcept {
            std::swap(owner, other.owner);
            std::swap(block, other.block);
            return *this;
        }
        ~Array() {
            if (owner) owner->give_back(block);
        }
        T* data() const { return static_cast<T*>(block.memory); }

       private:
        friend Scratch;
        Scratch* owner = nullptr;
        Block block{};
    };

    Scratch() = default;
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() {
        for (const Block& block : unused) std::free(block.memory);
    }

    // Throws std::bad_alloc.
    template <typename T>
    Array<T> take(int64_t count) {
        if (count < 0 || static_cast<uint64_t>(count) > LARGEST / sizeof(T)) throw std::bad_alloc();
        Array<T> result;
        result.block = block(std::max<size_t>(count * sizeof(T), 1));
        result.owner = this;
        return result;
    }

   private:
    static constexpr size_t LARGEST = size_t{1} << 46, ALIGNMENT = 64;

    // The smallest block that is large enough; where none is, a new one in place of the largest, so
    // that there are never more than are in use at once.
    Block block(size_t bytes) {
        unused.reserve(blocks + 1);
        auto best = unused.end(), largest = unused.begin();
        for (auto at = unused.begin(); at != unused.end(); ++at) {
            if (at->bytes >= bytes && (best == unused.end() || at->bytes < best->bytes)) best = at;
            if (at->bytes > largest->bytes) largest = at;
        }
        if (best != unused.end()) {
            const Block found = *best;
            unused.erase(best);
            return found;
        }
        // Clouds differ in size: the next one may be a little larger.
        const size_t size = (bytes + bytes / 4 + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
        if (largest != unused.end()) {
            std::free(largest->memory);
            unused.erase(largest);
            --blocks;
        }
        void* memory = std::aligned_alloc(ALIGNMENT, size);
        if (!memory) throw std::bad_alloc();
        ++blocks;
        return {memory, size};
    }

    // There is room for every block since it was made.
    void give_back(const Block& block) noexcept { unused.push_back(block); }

    std::vector<Block> unused;
    size_t blocks = 0;  // unused ones and those in use
};

}  // namespace haskd
