/* General categories of code points, for `\p{…}`: names to bits, one bit for each category, and code points to bits.
 * Sources: Unicode's PropertyValueAliases.txt; pattern_ranges.h for the code points. */
#include "pattern_program.h"
#include "pattern_ranges.h"
#include "slice.h"

#define BIT(name)  ((uint32_t)1 << VLLM_CATEGORY_##name)
#define CASED      (BIT(LU) | BIT(LL) | BIT(LT))
#define LETTERS    (CASED | BIT(LM) | BIT(LO))
#define MARKS      (BIT(MN) | BIT(MC) | BIT(ME))
#define NUMBERS    (BIT(ND) | BIT(NL) | BIT(NO))
#define POINTS     (BIT(PC) | BIT(PD) | BIT(PS) | BIT(PE) | BIT(PI) | BIT(PF) | BIT(PO))
#define SYMBOLS    (BIT(SM) | BIT(SC) | BIT(SK) | BIT(SO))
#define SEPARATORS (BIT(ZS) | BIT(ZL) | BIT(ZP))
#define OTHERS     (BIT(CC) | BIT(CF) | BIT(CS) | BIT(CO) | BIT(CN))

static const struct {
    const char *brief, *full;
    uint32_t bits;
} categories[] = {
    {"L", "Letter", LETTERS},
    {"LC", "Cased_Letter", CASED},
    {"Lu", "Uppercase_Letter", BIT(LU)},
    {"Ll", "Lowercase_Letter", BIT(LL)},
    {"Lt", "Titlecase_Letter", BIT(LT)},
    {"Lm", "Modifier_Letter", BIT(LM)},
    {"Lo", "Other_Letter", BIT(LO)},
    {"M", "Mark", MARKS},
    {"M", "Combining_Mark", MARKS},
    {"Mn", "Nonspacing_Mark", BIT(MN)},
    {"Mc", "Spacing_Mark", BIT(MC)},
    {"Me", "Enclosing_Mark", BIT(ME)},
    {"N", "Number", NUMBERS},
    {"Nd", "Decimal_Number", BIT(ND)},
    {"Nd", "digit", BIT(ND)},
    {"Nl", "Letter_Number", BIT(NL)},
    {"No", "Other_Number", BIT(NO)},
    {"P", "Punctuation", POINTS},
    {"P", "punct", POINTS},
    {"Pc", "Connector_Punctuation", BIT(PC)},
    {"Pd", "Dash_Punctuation", BIT(PD)},
    {"Ps", "Open_Punctuation", BIT(PS)},
    {"Pe", "Close_Punctuation", BIT(PE)},
    {"Pi", "Initial_Punctuation", BIT(PI)},
    {"Pf", "Final_Punctuation", BIT(PF)},
    {"Po", "Other_Punctuation", BIT(PO)},
    {"S", "Symbol", SYMBOLS},
    {"Sm", "Math_Symbol", BIT(SM)},
    {"Sc", "Currency_Symbol", BIT(SC)},
    {"Sk", "Modifier_Symbol", BIT(SK)},
    {"So", "Other_Symbol", BIT(SO)},
    {"Z", "Separator", SEPARATORS},
    {"Zs", "Space_Separator", BIT(ZS)},
    {"Zl", "Line_Separator", BIT(ZL)},
    {"Zp", "Paragraph_Separator", BIT(ZP)},
    {"C", "Other", OTHERS},
    {"Cc", "Control", BIT(CC)},
    {"Cc", "cntrl", BIT(CC)},
    {"Cf", "Format", BIT(CF)},
    {"Cs", "Surrogate", BIT(CS)},
    {"Co", "Private_Use", BIT(CO)},
    {"Cn", "Unassigned", BIT(CN)},
};

/* Without `gc=` or `General_Category=`. */
static struct vllm_slice value_of(struct vllm_slice name) {
    const char *sign = name.len > 0 ? memchr(name.ptr, '=', name.len) : NULL;
    size_t len = sign ? (size_t)(sign - name.ptr) : 0;
    struct vllm_slice property = {name.ptr, len};
    if (vllm_slice_is(property, "gc") || vllm_slice_is(property, "General_Category")) {
        name.ptr += len + 1;
        name.len -= len + 1;
    }
    return name;
}

uint32_t vllm_pattern_category(struct vllm_slice name) {
    name = value_of(name);
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++) {
        if (vllm_slice_is(name, categories[i].brief) || vllm_slice_is(name, categories[i].full)) {
            return categories[i].bits;
        }
    }
    return 0;
}

/* The last run that begins at the code point or before it. */
static uint32_t run_of(uint32_t code_point) {
    size_t low = 0, high = sizeof vllm_pattern_runs / sizeof *vllm_pattern_runs;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (vllm_pattern_runs[middle] >> 8 <= code_point) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return vllm_pattern_runs[low];
}

uint32_t vllm_pattern_category_of(uint32_t character) {
    if (character >= VLLM_PATTERN_BAD) {
        return 0;
    }
    uint32_t category = run_of(character) & 0xFF;
    if (category == VLLM_CATEGORY_EVEN_UPPER || category == VLLM_CATEGORY_ODD_UPPER) {
        bool is_upper = character % 2 == (category == VLLM_CATEGORY_ODD_UPPER);
        return is_upper ? BIT(LU) : BIT(LL);
    }
    return (uint32_t)1 << category;
}
