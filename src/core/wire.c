/* JSON tokens and content parts of wire messages; see wire.h.
 * Strings of several texts are composed in place: nothing is copied twice, however many texts there are. Bytes become
 * base64 straight in the buffer. Object keys are sorted by bytes. Never: repairs UTF-8 (a malformed text is a fault
 * that names its place). Sources: OpenAI chat completions (image_url, input_audio, text); vLLM's multimodal inputs
 * (video_url, audio_url). */
#include "wire.h"

#include <string.h>

#include "base64.h"
#include "json.h"
#include "utf8.h"

static size_t utf8_fault(struct vllm_slice text) {
    const char *at = text.ptr, *end = text.ptr + text.len;
    while (at < end) {
        bool well_formed;
        size_t step = vllm_utf8_step(at, end, &well_formed);
        if (!well_formed) {
            break;
        }
        at += step;
    }
    return (size_t)(at - text.ptr);
}

static void note(struct vllm_wire *w, enum vllm_status status, struct vllm_slice text) {
    w->status = status;
    if (status == VLLM_EUTF8) {
        w->fault->tag = w->tag;
        w->fault->text = text;
        w->fault->offset = utf8_fault(text);
    }
}

void vllm_wire_put(struct vllm_wire *w, const char *json) {
    if (w->status == VLLM_OK) {
        w->status = vllm_buf_text(w->out, json);
    }
    w->composing = false;
}

void vllm_wire_extend(struct vllm_wire *w, const char *lead, struct vllm_slice text) {
    if (w->status != VLLM_OK) {
        return;
    }
    size_t last = strlen(lead) - 1;
    if (w->composing) {
        w->out->len--;
    }
    w->composing = true;
    w->status = vllm_buf_append(w->out, lead, last);
    if (w->status == VLLM_OK) {
        size_t quote = w->out->len;
        note(w, vllm_json_write_string(w->out, text.ptr, text.len), text);
        if (w->status == VLLM_OK) {
            w->out->data[quote] = lead[last];
        }
    }
}

void vllm_wire_close(struct vllm_wire *w, const char *json) {
    if (w->status == VLLM_OK) {
        w->out->len--;
        vllm_wire_put(w, json);
        vllm_wire_put(w, "\"");
    }
}

void vllm_wire_string(struct vllm_wire *w, struct vllm_slice text) {
    w->composing = false;
    vllm_wire_extend(w, "\"", text);
}

static void put_base64(struct vllm_wire *w, struct vllm_slice bytes) {
    if (w->status == VLLM_OK) {
        w->status = vllm_base64_append(w->out, bytes.ptr, bytes.len);
    }
}

void vllm_wire_separate(struct vllm_wire *w) {
    if (w->comma) {
        vllm_wire_put(w, ",");
    }
    w->comma = true;
}

void vllm_wire_key(struct vllm_wire *w, const char *literal) {
    vllm_wire_separate(w);
    vllm_wire_put(w, literal);
}

void vllm_wire_open(struct vllm_wire *w, const char *bracket) {
    vllm_wire_put(w, bracket);
    w->comma = false;
}

void vllm_wire_shut(struct vllm_wire *w, const char *bracket) {
    vllm_wire_put(w, bracket);
    w->comma = true;
}

bool vllm_wire_comes_before(struct vllm_slice a, struct vllm_slice b) {
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.ptr, b.ptr, len) : 0;
    return order < 0 || (order == 0 && a.len < b.len);
}

static void put_member(struct vllm_wire *w, const struct vllm_piece *member) {
    vllm_wire_separate(w);
    vllm_wire_string(w, member->name);
    vllm_wire_put(w, ":");
    if (w->status == VLLM_OK) {
        w->status = vllm_buf_append(w->out, member->text.ptr, member->text.len);
    }
}

void vllm_wire_members(struct vllm_wire *w, struct vllm_slice before) {
    while (w->member < w->members_end && vllm_wire_comes_before(w->member->name, before)) {
        put_member(w, w->member++);
    }
}

void vllm_wire_rest(struct vllm_wire *w) {
    while (w->member < w->members_end) {
        put_member(w, w->member++);
    }
}

void vllm_wire_sorted_key(struct vllm_wire *w, const char *literal) {
    if (w->member < w->members_end) {
        vllm_wire_members(w, (struct vllm_slice){literal + 1, strcspn(literal + 1, "\"")});
    }
    vllm_wire_key(w, literal);
}

/* The member "url", given or made of bytes. */
static void put_url(struct vllm_wire *w, const struct vllm_piece *piece, bool bytes) {
    vllm_wire_put(w, "\"url\":");
    if (!bytes) {
        vllm_wire_string(w, piece->text);
        return;
    }
    w->composing = false;
    vllm_wire_extend(w, "\"data:", piece->name);
    vllm_wire_close(w, ";base64,");
    if (w->status == VLLM_OK) {
        w->out->len--;
    }
    put_base64(w, piece->text);
    vllm_wire_put(w, "\"");
}

static void put_image(struct vllm_wire *w, const struct vllm_piece *piece) {
    vllm_wire_put(w, "{\"image_url\":{");
    if (piece->extra.ptr) {
        vllm_wire_put(w, "\"detail\":");
        vllm_wire_string(w, piece->extra);
        vllm_wire_put(w, ",");
    }
    put_url(w, piece, piece->type == VLLM_PIECE_IMAGE_BYTES);
    vllm_wire_put(w, "},\"type\":\"image_url\"}");
}

static void put_audio(struct vllm_wire *w, const struct vllm_piece *piece) {
    if (piece->type == VLLM_PIECE_AUDIO) {
        vllm_wire_put(w, "{\"audio_url\":{");
        put_url(w, piece, false);
        vllm_wire_put(w, "},\"type\":\"audio_url\"}");
        return;
    }
    vllm_wire_put(w, "{\"input_audio\":{\"data\":");
    if (piece->type == VLLM_PIECE_AUDIO_DATA) {
        vllm_wire_string(w, piece->text);
    } else {
        vllm_wire_put(w, "\"");
        put_base64(w, piece->text);
        vllm_wire_put(w, "\"");
    }
    vllm_wire_put(w, ",\"format\":");
    vllm_wire_string(w, piece->name);
    vllm_wire_put(w, "},\"type\":\"input_audio\"}");
}

static void put_video(struct vllm_wire *w, const struct vllm_piece *piece) {
    vllm_wire_put(w, "{\"type\":\"video_url\",\"video_url\":{");
    put_url(w, piece, piece->type == VLLM_PIECE_VIDEO_BYTES);
    vllm_wire_put(w, "}}");
}

void vllm_wire_part(struct vllm_wire *w, const struct vllm_piece *piece) {
    switch (piece->type) {
    case VLLM_PIECE_TEXT:
    case VLLM_PIECE_FILE:
        vllm_wire_put(w, "{\"text\":");
        vllm_wire_string(w, piece->type == VLLM_PIECE_FILE ? piece->extra : piece->text);
        if (piece->type == VLLM_PIECE_FILE) {
            vllm_wire_extend(w, VLLM_WIRE_BLANK_LINE, piece->text);
        }
        vllm_wire_put(w, ",\"type\":\"text\"}");
        break;
    case VLLM_PIECE_IMAGE:
    case VLLM_PIECE_IMAGE_BYTES: put_image(w, piece); break;
    case VLLM_PIECE_VIDEO:
    case VLLM_PIECE_VIDEO_BYTES: put_video(w, piece); break;
    case VLLM_PIECE_JSON:
        if (w->status == VLLM_OK) {
            w->status = vllm_buf_append(w->out, piece->text.ptr, piece->text.len);
        }
        break;
    default: put_audio(w, piece);
    }
}
