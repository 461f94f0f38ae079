// What was said of places: a hash table of voxels (score_memory.py, place_table.py).

#include <cmath>
#include <cstdint>
#include <cstring>

#include "lanes.h"
#include "threads.h"

namespace {

constexpr int64_t NONE = -1;  // no voxel's key
constexpr int64_t AHEAD = 16;  // rows for which memory is asked in time

// What a slot of a table begins with; the scores of the classes follow. All of it stands together,
// since a slot is seldom in a cache.
struct Slot {
    int64_t key;
    double seen;    // s
    int32_t cloud;  // the last one that was here, and where among its places
    int32_t place;

    float* scores() { return reinterpret_cast<float*>(this + 1); }
};

struct Table {
    char* slots;
    int64_t mask;  // the number of slots, a power of two, less one
    int64_t bytes;  // of a slot

    Slot& at(int64_t slot) const { return *reinterpret_cast<Slot*>(slots + slot * bytes); }

    // Where a key is looked for first: x, y and z of a voxel must all tell in the bits that count.
    int64_t first(int64_t key) const {
        uint64_t mixed = static_cast<uint64_t>(key) * 0x9E3779B97F4A7C15u;
        mixed = (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93u;
        return static_cast<int64_t>(mixed >> 32) & mask;
    }

    // Have a slot in a cache soon.
    void fetch(int64_t slot) const {
        __builtin_prefetch(slots + slot * bytes, 1);
        __builtin_prefetch(slots + slot * bytes + 64, 1);
    }

    // Where a key stands, or could be put: some slots are free.
    int64_t of(int64_t key) const {
        int64_t slot = first(key);
        while (at(slot).key != key && at(slot).key != NONE) slot = (slot + 1) & mask;
        return slot;
    }

    // Frees a slot; those behind it that would not be found any more move up.
    void free(int64_t slot) const {
        for (int64_t next = (slot + 1) & mask; at(next).key != NONE; next = (next + 1) & mask) {
            const int64_t since_first = (next - first(at(next).key)) & mask;
            if (since_first >= ((next - slot) & mask)) {
                std::memcpy(&at(slot), &at(next), bytes);
                slot = next;
            }
        }
        at(slot).key = NONE;
    }
};

int64_t slot_bytes(int64_t classes) {
    return static_cast<int64_t>(sizeof(Slot)) + ceil_div(classes, 2) * 8;
}

}  // namespace

extern "C" {

// Bytes of a slot of a table.
int64_t haskd_slot_bytes(int64_t classes) { return slot_bytes(classes); }

// Frees all slots of a table.
void haskd_free_places(char* slots, int64_t count, int64_t classes) {
    const Table table{slots, count - 1, slot_bytes(classes)};
    for (int64_t slot = 0; slot < count; ++slot) table.at(slot) = {NONE, 0.0, 0, 0};
}

// Enters rows of one cloud, keys[rows] of their voxels and probabilities[rows, classes], into a
// table of `count` slots, a power of two, of which more than `rows` are free. What is in the table
// fades by half in half_life. The scores of a slot become what is left of them plus the mean of the
// cloud's rows there; a row of NaN counts for nothing.
// Writes refined[rows, classes]: the probabilities plus `weight` of what was left of their slot's
// scores before; as they are where no class is likelier than one that moves[classes].
// `cloud` is higher with each call. Scratch: places[2, rows] int32, sizes[rows], and sums and
// earlier [rows, classes]. Returns how many slots were taken anew.
int64_t haskd_remember(const int64_t* keys, const float* probabilities, int64_t rows,
                       int64_t classes, const uint8_t* moves, double now, double half_life,
                       float weight, char* slots, int64_t count, int32_t cloud, int32_t* places,
                       float* sizes, float* sums, float* earlier, float* refined, int threads) {
    const Table table{slots, count - 1, slot_bytes(classes)};
    int32_t* slot_of = places + rows;  // of a place
    int64_t taken = 0, last_key = NONE;
    int32_t found = 0, place = 0;
    for (int64_t row = 0; row < rows; ++row) {
        if (row + AHEAD < rows) table.fetch(table.first(keys[row + AHEAD]));
        // Neighbours in a sweep are neighbours in space.
        if (keys[row] != last_key) {
            last_key = keys[row];
            const int64_t number = table.of(last_key);
            Slot& slot = table.at(number);
            if (slot.key == NONE || slot.cloud != cloud) {
                place = found++;
                float* before = earlier + place * classes;
                if (slot.key == NONE) {
                    ++taken;
                    slot.key = last_key;
                    std::memset(before, 0, classes * sizeof(float));
                } else {
                    const float left = std::exp2(static_cast<float>((slot.seen - now) / half_life));
                    for (int64_t c = 0; c < classes; ++c) before[c] = left * slot.scores()[c];
                }
                slot.cloud = cloud;
                slot.place = place;
                slot_of[place] = static_cast<int32_t>(number);
                sizes[place] = 0.0f;
                std::memset(sums + place * classes, 0, classes * sizeof(float));
            } else {
                place = slot.place;
            }
        }
        places[row] = place;
        const float* said = probabilities + row * classes;
        // One that is no number makes all of them so: they are shares of one sum.
        if (std::isnan(said[0])) continue;
        sizes[place] += 1.0f;
        for (int64_t c = 0; c < classes; ++c) sums[place * classes + c] += said[c];
    }
    parallel_for_rows(found, 1024, threads, [&](int64_t, int64_t first, int64_t last) {
        for (int64_t p = first; p < last; ++p) {
            if (p + AHEAD < last) table.fetch(slot_of[p + AHEAD]);
            Slot& slot = table.at(slot_of[p]);
            slot.seen = now;
            const float share = sizes[p] > 0.0f ? 1.0f / sizes[p] : 0.0f;
            for (int64_t c = 0; c < classes; ++c)
                slot.scores()[c] = earlier[p * classes + c] + sums[p * classes + c] * share;
        }
    });
    parallel_for_rows(rows, 1024, threads, [&](int64_t, int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row) {
            const float* said = probabilities + row * classes;
            const float* before = earlier + places[row] * classes;
            float* out = refined + row * classes;
            float best = 0.0f, moving = 0.0f;
            for (int64_t c = 0; c < classes; ++c) {
                best = said[c] > best ? said[c] : best;
                const float own = moves[c] ? said[c] : 0.0f;
                moving = own > moving ? own : moving;
            }
            const float part = moving < best ? weight : 0.0f;
            for (int64_t c = 0; c < classes; ++c) out[c] = said[c] + part * before[c];
        }
    });
    return taken;
}

// Frees those of the slots from `first` to before `last` that were not seen later than `since`.
// Returns how many.
int64_t haskd_forget_places(char* slots, int64_t count, int64_t classes, double since,
                            int64_t first, int64_t last) {
    const Table table{slots, count - 1, slot_bytes(classes)};
    int64_t freed = 0;
    for (int64_t number = first; number < last; ++number) {
        // Another one may take the place of the one that is freed.
        while (table.at(number).key != NONE && table.at(number).seen <= since) {
            table.free(number);
            ++freed;
        }
    }
    return freed;
}

// Enters the slots of a table into another one, which has more free slots than those; keys become
// higher by `shift`.
void haskd_move_places(char* slots, int64_t count, int64_t classes, int64_t shift, char* new_slots,
                       int64_t new_count) {
    const Table table{slots, count - 1, slot_bytes(classes)};
    const Table next{new_slots, new_count - 1, slot_bytes(classes)};
    for (int64_t number = 0; number < count; ++number) {
        const Slot& slot = table.at(number);
        if (slot.key == NONE) continue;
        Slot& to = next.at(next.of(slot.key + shift));
        std::memcpy(&to, &slot, table.bytes);
        to.key = slot.key + shift;
    }
}

}  // extern "C"
