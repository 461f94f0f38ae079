// AMX, the matrix registers of Intel's processors, where there are any.
//
// A register holds 16 rows of 64 bytes. One instruction multiplies 16 rows of up to 16 pairs of
// bfloat16 by as many pairs of 16 columns, and adds the products to 16 x 16 sums of float32.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "lanes.h"

constexpr int REGISTER_ROWS = 16, REGISTER_COLUMNS = 16, REGISTER_PAIRS = 16;

// Rows of pairs are cut into parts of one size, so that one shape of the registers does for all, and
// are copied by COPIED pairs; what a row lacks to both is padded with 0.
constexpr int COPIED = 8;
inline int64_t parts_of(int64_t pairs) { return ceil_div(pairs, REGISTER_PAIRS); }
inline int64_t pairs_of_part(int64_t pairs) { return ceil_div(pairs, parts_of(pairs)); }
inline int64_t padded_pairs(int64_t pairs) {
    while (pairs % COPIED || pairs % parts_of(pairs)) ++pairs;
    return pairs;
}

// clang's assembler takes these instructions only in functions for such a processor alone.
#if defined(__AVX512BF16__) && defined(__linux__) && !defined(__clang__)
#define HAS_MATRIX_REGISTERS

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

// Whether the processor has them and Linux lets this process use them: they make a thread's state
// larger by 8 KiB, so that a process has to ask.
inline bool has_matrix_registers() {
    static const bool result = [] {
        constexpr unsigned bf16 = 1u << 22, registers = 1u << 24;
        constexpr long ask_for = 0x1023, their_data = 18;  // ARCH_REQ_XCOMP_PERM, of asm/prctl.h
        unsigned a, b, c, d;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & bf16) && (d & registers) &&
               !syscall(SYS_arch_prctl, ask_for, their_data);
    }();
    return result;
}

// f(v) for every v below COUNT, as a type whose value it is.
template <typename Function, int... V>
inline void each(Function f, std::integer_sequence<int, V...>) {
    (f(std::integral_constant<int, V>{}), ...);
}
template <int COUNT, typename Function>
inline void each(Function f) {
    each(f, std::make_integer_sequence<int, COUNT>{});
}

// While it lives this thread's registers are four of sums (SUMS and up), two of rows of so many
// pairs (ROWS) and two of so many pairs of columns (COLUMNS).
class MatrixRegisters {
   public:
    static constexpr int SUMS = 0, ROWS = 4, COLUMNS = 6;

    explicit MatrixRegisters(int64_t pairs) {
        struct alignas(64) {
            uint8_t palette = 1, first_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {};
            uint8_t rows[16] = {};
        } shape;
        for (int i = 0; i < 8; ++i) {
            const bool is_rows = i == ROWS || i == ROWS + 1, is_columns = i >= COLUMNS;
            shape.row_bytes[i] = static_cast<uint16_t>(is_rows ? 4 * pairs : 4 * REGISTER_COLUMNS);
            shape.rows[i] = static_cast<uint8_t>(is_columns ? pairs : REGISTER_ROWS);
        }
        asm volatile("ldtilecfg %0" ::"m"(shape));
    }
    ~MatrixRegisters() { asm volatile("tilerelease"); }
    MatrixRegisters(const MatrixRegisters&) = delete;
    MatrixRegisters& operator=(const MatrixRegisters&) = delete;

    template <int NUMBER>
    static void clear() {
        asm volatile("tilezero %%tmm%c0" ::"i"(NUMBER));
    }
    // From rows that are `stride` pairs apart.
    template <int NUMBER>
    static void read(const Bf16Pair* from, int64_t stride) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(4 * stride), "i"(NUMBER)
                     : "memory");
    }
    // To rows that are `stride` floats apart.
    template <int NUMBER>
    static void write(float* to, int64_t stride) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(4 * stride), "i"(NUMBER)
                     : "memory");
    }
    template <int SUM, int ROW, int COLUMN>
    static void add_products() {
        asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUM), "i"(ROW), "i"(COLUMN));
    }
};

#else

inline bool has_matrix_registers() { return false; }

#endif
