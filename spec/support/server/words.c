/* Words of a text: the scripted model's tokens, and what of a prompt can be an argument.
 */
#define _GNU_SOURCE
#include "model.h"

#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_wordy(char c) {
    return is_digit(c) || is_capital(c) || (c >= 'a' && c <= 'z') || c == '_' || (unsigned char)c >= 0x80;
}

/* One space and a word, or one other byte: close to what tokenizers do, and never inside a code point. */
size_t piece_length(const char *text, size_t length) {
    size_t at = length > 1 && text[0] == ' ' ? 1 : 0;
    if (length == 0) return 0;
    if (!is_wordy(text[at])) return at + 1;
    while (at < length && is_wordy(text[at])) at++;
    return at;
}

unsigned long piece_count(const char *text, size_t length) {
    unsigned long count = 0;
    for (size_t at = 0; at < length; at += piece_length(text + at, length - at)) count++;
    return count;
}

static size_t find_quoted(const char *prompt, struct slice *found, size_t room) {
    size_t count = 0;
    const char *from = strchr(prompt, '"');
    while (from != NULL && count < room) {
        const char *to = strchr(from + 1, '"');
        if (to == NULL) break;
        if (to > from + 1) found[count++] = (struct slice){from + 1, (size_t)(to - from) - 1};
        from = strchr(to + 1, '"');
    }
    return count;
}

static size_t word_length(const char *text) {
    size_t length = 0;
    while (is_wordy(text[length])) length++;
    return length;
}

/* Words with a capital, not at the beginning of a sentence; neighbours belong together ("New York"). */
size_t find_names(const char *prompt, struct slice *found, size_t room) {
    size_t count = find_quoted(prompt, found, room);
    bool begins = true;
    if (count > 0) return count;
    for (const char *at = prompt; *at != '\0' && count < room;) {
        size_t length = word_length(at);
        if (length == 0) {
            if (strchr(".!?:\n", *at) != NULL) begins = true;
            at++;
            continue;
        }
        if (!begins && length > 1 && is_capital(*at)) {
            while (at[length] == ' ' && is_capital(at[length + 1])) length += 1 + word_length(at + length + 1);
            found[count++] = (struct slice){at, length};
        }
        begins = false;
        at += length;
    }
    return count;
}

bool find_number(const char **prompt, struct slice *found) {
    const char *at = *prompt + strcspn(*prompt, "0123456789");
    if (*at == '\0') return false;
    const char *from = at;
    if (from > *prompt && from[-1] == '-') from--;
    while (at[0] == '0' && is_digit(at[1])) at++; /* JSON has no leading zeros */
    if (*from != '-') from = at;
    else if (at > from + 1) from = at;
    while (is_digit(*at)) at++;
    if (*at == '.' && is_digit(at[1]))
        for (at++; is_digit(*at);) at++;
    *found = (struct slice){from, (size_t)(at - from)};
    *prompt = at;
    return true;
}

bool find_sum(const char *prompt, struct slice *found) {
    static const char parts[] = "0123456789.+-*/^%() ";
    const char *from = prompt + strcspn(prompt, "0123456789(");
    size_t length = strspn(from, parts);
    while (length > 0 && strchr(" .", from[length - 1]) != NULL) length--;
    *found = (struct slice){from, length};
    return length > 2;
}

/* Whether one of the words, each of `shortest` letters or more, occurs in the prompt. */
bool mentions(const char *prompt, const char *words, size_t shortest) {
    char word[64];
    for (const char *at = words; *at != '\0';) {
        size_t length = 0;
        while (is_wordy(at[length]) && at[length] != '_') length++;
        if (length >= shortest && length < sizeof word) {
            memcpy(word, at, length);
            word[length] = '\0';
            if (strcasestr(prompt, word) != NULL) return true;
        }
        at += length > 0 ? length : 1;
    }
    return false;
}
