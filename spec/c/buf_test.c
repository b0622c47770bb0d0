/* The growable buffer: bounds, failure of memory, consumption. */
#include "check.h"

#include "../../src/core/buf.h"

static void appending(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_buf buf;
    vllm_buf_init(&buf, &alloc, 1000);
    CHECK_BYTES(vllm_buf_view(&buf), "");
    CHECK(memory.live == 0);
    CHECK_STATUS(vllm_buf_append(&buf, NULL, 0), VLLM_OK);
    CHECK_STATUS(vllm_buf_text(&buf, "one"), VLLM_OK);
    CHECK_STATUS(vllm_buf_byte(&buf, ' '), VLLM_OK);
    CHECK_STATUS(vllm_buf_append(&buf, "two!", 3), VLLM_OK);
    CHECK_BYTES(vllm_buf_view(&buf), "one two");
    vllm_buf_clear(&buf);
    CHECK_BYTES(vllm_buf_view(&buf), "");
    CHECK(memory.live == buf.cap);
    CHECK_STATUS(vllm_buf_text(&buf, "again"), VLLM_OK);
    CHECK_BYTES(vllm_buf_view(&buf), "again");
    vllm_buf_free(&buf);
    vllm_buf_free(&buf);
    CHECK(memory.live == 0);
    CHECK_STATUS(vllm_buf_text(&buf, "usable"), VLLM_OK);
    CHECK_BYTES(vllm_buf_view(&buf), "usable");
    vllm_buf_free(&buf);
    CHECK(memory.live == 0);
}

static void bounds(void) {
    static const size_t maxima[] = {0, 1, 3, 63, 64, 65, 100, 1000};
    for (size_t i = 0; i < sizeof maxima / sizeof maxima[0]; i++) {
        struct check_memory memory;
        struct vllm_alloc alloc = check_alloc(&memory);
        struct vllm_buf buf;
        vllm_buf_init(&buf, &alloc, maxima[i]);
        for (size_t n = 0; n < maxima[i]; n++) {
            CHECK_STATUS(vllm_buf_byte(&buf, 'x'), VLLM_OK);
        }
        CHECK(buf.len == maxima[i] && buf.cap <= maxima[i]);
        CHECK_STATUS(vllm_buf_byte(&buf, 'y'), VLLM_ELIMIT);
        CHECK_STATUS(vllm_buf_append(&buf, "", SIZE_MAX), VLLM_ELIMIT);
        CHECK_STATUS(vllm_buf_reserve(&buf, SIZE_MAX - 1), VLLM_ELIMIT);
        CHECK(buf.len == maxima[i]);
        CHECK(memory.peak <= maxima[i] * 2);
        vllm_buf_free(&buf);
        CHECK(memory.live == 0);
    }
}

static void no_overflow_without_a_bound(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_buf buf;
    vllm_buf_init(&buf, &alloc, SIZE_MAX);
    CHECK_STATUS(vllm_buf_text(&buf, "abc"), VLLM_OK);
    memory.left = 0;
    CHECK_STATUS(vllm_buf_reserve(&buf, SIZE_MAX), VLLM_ELIMIT);
    CHECK_STATUS(vllm_buf_reserve(&buf, SIZE_MAX - 3), VLLM_ENOMEM);
    CHECK_STATUS(vllm_buf_reserve(&buf, SIZE_MAX / 2 + 1), VLLM_ENOMEM);
    CHECK_BYTES(vllm_buf_view(&buf), "abc");
    vllm_buf_free(&buf);
    CHECK(memory.live == 0);
}

static void failing_memory(void) {
    for (long left = 0; left < 6; left++) {
        struct check_memory memory;
        struct vllm_alloc alloc = check_alloc(&memory);
        struct vllm_buf buf;
        memory.left = left;
        vllm_buf_init(&buf, &alloc, 1 << 20);
        size_t appended = 0;
        enum vllm_status status = VLLM_OK;
        while (status == VLLM_OK && appended < 10000) {
            status = vllm_buf_text(&buf, "0123456789");
            appended += status == VLLM_OK ? 10 : 0;
        }
        CHECK_STATUS(status, VLLM_ENOMEM);
        CHECK(buf.len == appended);
        memory.left = -1;
        CHECK_STATUS(vllm_buf_text(&buf, "end"), VLLM_OK);
        CHECK(buf.len == appended + 3 && memcmp(buf.data + appended, "end", 3) == 0);
        vllm_buf_free(&buf);
        CHECK(memory.live == 0);
    }
}

static void consuming(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_buf buf;
    vllm_buf_init(&buf, &alloc, 100);
    vllm_buf_consume(&buf, 0);
    vllm_buf_consume(&buf, 5);
    CHECK_STATUS(vllm_buf_text(&buf, "abcdef"), VLLM_OK);
    vllm_buf_consume(&buf, 0);
    CHECK_BYTES(vllm_buf_view(&buf), "abcdef");
    vllm_buf_consume(&buf, 2);
    CHECK_BYTES(vllm_buf_view(&buf), "cdef");
    vllm_buf_consume(&buf, 4);
    CHECK_BYTES(vllm_buf_view(&buf), "");
    CHECK_STATUS(vllm_buf_text(&buf, "xy"), VLLM_OK);
    vllm_buf_consume(&buf, SIZE_MAX);
    CHECK_BYTES(vllm_buf_view(&buf), "");
    vllm_buf_free(&buf);
}

static void reserving(void) {
    struct check_memory memory;
    struct vllm_alloc alloc = check_alloc(&memory);
    struct vllm_buf buf;
    vllm_buf_init(&buf, &alloc, 5000);
    CHECK_STATUS(vllm_buf_reserve(&buf, 4000), VLLM_OK);
    CHECK(buf.len == 0 && buf.cap >= 4000);
    memset(buf.data, 'z', 4000);
    buf.len = 4000;
    memory.left = 0;
    CHECK_STATUS(vllm_buf_reserve(&buf, buf.cap - buf.len), VLLM_OK);
    CHECK_STATUS(vllm_buf_reserve(&buf, 1001), VLLM_ELIMIT);
    vllm_buf_free(&buf);
    CHECK(memory.live == 0);
}

int main(void) {
    appending();
    bounds();
    no_overflow_without_a_bound();
    failing_memory();
    consuming();
    reserving();
    return check_report("buf");
}
