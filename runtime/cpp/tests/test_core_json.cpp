// JSON: what is read, what is refused, the canonical form, and that damaged text is never more than an error.
#include <array>
#include <limits>

#include <trkx/json.hpp>
#include <trkx/sha256.hpp>

#include "core_check.hpp"

using namespace trkx;

namespace {

struct Case {
    std::string_view text, canonical;
};

// Right-hand sides are what Python's json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) gives.
constexpr std::array<Case, 30> cases = {{
    {"null", "null"},
    {" [true,\tfalse,\r\n null ] ", "[true,false,null]"},
    {"{}", "{}"},
    {R"({"b":1,"a":{"d":[],"c":""}})", R"({"a":{"c":"","d":[]},"b":1})"},
    {"0", "0"},
    {"-0", "0"},
    {"-0.0", "-0.0"},
    {"1.0", "1.0"},
    {"1E2", "100.0"},
    {"1e16", "1e+16"},
    {"9999999999999998.0", "9999999999999998.0"},
    {"0.0001", "0.0001"},
    {"0.00001", "1e-05"},
    {"1.5e-7", "1.5e-07"},
    {"123456789.125", "123456789.125"},
    {"1e22", "1e+22"},
    {"1e23", "1e+23"},
    {"5e-324", "5e-324"},
    {"1e-400", "0.0"},
    {"-1e-99999999999999999999", "-0.0"},
    {"0.000e99999999999999999999", "0.0"},
    {"1.7976931348623157e308", "1.7976931348623157e+308"},
    {"0.1", "0.1"},
    {"123456789012345678901234567890", "123456789012345678901234567890"},
    {R"("\"\\\/\b\f\n\r\t")", R"("\"\\/\b\f\n\r\t")"},
    {"\"\xC3\xA9\x7F\"", "\"\\u00e9\\u007f\""},
    {"\"\xF0\x9F\x98\x80\"", "\"\\ud83d\\ude00\""},
    {R"("\uD83D\uDE00")", R"("\ud83d\ude00")"},
    {R"("\udce9\ud800x")", R"("\udce9\ud800x")"},
    {"{\"\xF0\x90\x80\x80\":1,\"\xEF\xBF\xBD\":2,\"z\":3}", R"({"z":3,"\ufffd":2,"\ud800\udc00":1})"},
}};

constexpr std::array<Case, 34> refusals = {{
    {"", "truncated"},
    {" ", "truncated"},
    {"nul", "expected a value"},
    {"NaN", "expected a value"},
    {"-Infinity", "expected a value"},
    {"01", "leading zeros"},
    {"-", "expected a value"},
    {"+1", "expected a value"},
    {"1.", "digits after '.'"},
    {".5", "expected a value"},
    {"1e", "digits of an exponent"},
    {"1e999", "finite"},
    {"-1e99999999999999999999", "finite"},
    {"1 2", "expected the end"},
    {"[1,]", "expected a value"},
    {"[1", "expected ',' or ']'"},
    {"{\"a\":1,}", "key in quotes"},
    {"{\"a\" 1}", "expected ':'"},
    {"{\"a\":1", "expected ',' or '}'"},
    {"{a:1}", "key in quotes"},
    {"{\"a\":1,\"b\":2,\"a\":1}", "'a' twice"},
    {"\"abc", "truncated"},
    {"\"a\nb\"", "control character"},
    {"\"\\x\"", "escape"},
    {"\"\\u12g4\"", "four hexadecimal"},
    {"\"\\u12", "four hexadecimal"},
    {"\"\\u-123\"", "four hexadecimal"},
    {"\"\xFF\"", "UTF-8"},
    {"\"\xC0\xAF\"", "UTF-8"},
    {"\"\xED\xA0\x80\"", "UTF-8"},
    {"\"\xF4\x90\x80\x80\"", "UTF-8"},
    {"\"\xE2\x82", "UTF-8"},
    {"\xEF\xBB\xBF{}", "byte order mark"},
    {"'a'", "expected a value"},
}};

void test_values() {
    for (const Case& one : cases) check::equal(json::canonical(json::parse(one.text)), one.canonical, std::string(one.text));
    for (const Case& one : refusals) {
        check::refuses<json::JsonError>([&] { json::parse(one.text); }, one.canonical, "refusal of " + std::string(one.text));
    }
    check::refuses<json::JsonError>([] { json::parse("{\n \"a\": tru}"); }, "line 2, column 7", "place of an error");
    check::equal(json::canonical(json::parse(R"({"sha256":"x","a":{"sha256":1}})"), "sha256"), R"({"a":{"sha256":1}})",
                 "a key left out");
    const json::Value whole = json::parse("-9223372036854775808"), large = json::parse("9223372036854775808");
    check::that(whole.number()->whole == std::numeric_limits<std::int64_t>::min(), "smallest int64");
    check::that(!large.number()->whole && large.number()->is_integer(), "beyond int64");
    check::that(json::parse("1.0").number()->is_integer() == false, "1.0 is no integer");
}

void test_sizes() {
    const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    check::equal(json::canonical(json::parse(nested(200))), nested(200), "200 levels");
    check::refuses<json::JsonError>([&] { json::parse(nested(300)); }, "levels", "300 levels");
    check::refuses<json::JsonError>([&] { json::parse(std::string(10'000'000, '[')); }, "levels", "ten million brackets");
    check::refuses<json::JsonError>([&] { json::parse(std::string(5000, '7')); }, "4300", "an integer of 5000 digits");
    check::equal(json::canonical(json::parse(std::string(4300, '7'))), std::string(4300, '7'), "an integer of 4300 digits");
    const std::string zeros(400, '0');
    check::equal(json::canonical(json::parse("-0." + zeros + "1")), "-0.0", "a small number without an exponent");
    check::equal(json::canonical(json::parse("0." + zeros + "1e401")), "1.0", "zeros and an exponent");
    check::refuses<json::JsonError>([&] { json::parse("1" + zeros + ".0"); }, "finite", "a large number without an exponent");
    const std::string text(1 << 20, 'a');
    check::equal(json::canonical(json::parse("\"" + text + "\"")).size(), text.size() + 2, "long text");
}

void test_damaged_text() {
    const std::string whole =
        R"({"schema": 1, "spec": {"features": [{"name": "r", "scale": 1000.0, "low": -2.96e-3, "high": null}],
        "é😀\ud83d\ude00\udce9": "a\"\\\n", "k": [true, false, [], {}, 0, -1, 12345678901234567890, 1e-7, 5e-324]}})";
    std::mt19937_64 random(11);
    int read = 0;
    for (int i = 0; i < 30'000; ++i) {
        const std::string text = check::damaged(whole, random, "\"\\{}[]:,0123456789.eE+-u \n\x80\xED");
        try {
            const std::string canonical = json::canonical(json::parse(text));
            check::equal(json::canonical(json::parse(canonical)), canonical, "canonical form reads back");
            ++read;
        } catch (const json::JsonError&) {
        }
    }
    check::that(read > 100 && read < 29'000, "some damaged texts are JSON, most are not: " + std::to_string(read));
}

void test_sha256() {
    const auto hash = [](const std::string& text) { return sha256_hex(std::as_bytes(std::span<const char>(text))); };
    check::equal(hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "SHA-256 of nothing");
    check::equal(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "SHA-256 of abc (FIPS 180-4)");
    check::equal(hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", "SHA-256 of two blocks (FIPS 180-4)");
    check::equal(hash(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
                 "SHA-256 of a million a (FIPS 180-4)");
}

}  // namespace

int main() {
    test_values();
    test_sizes();
    test_damaged_text();
    test_sha256();
    return check::result();
}
