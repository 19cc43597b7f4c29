// CSV: what is read, what is refused, and that damaged text is never more than an error.
#include <array>
#include <cmath>
#include <limits>

#include <trkx/csv.hpp>

#include "core_check.hpp"

using namespace trkx;

namespace {

const std::vector<csv::Wanted> wanted = {{"id", csv::Type::int64, false, {"old_id"}},
                                         {"x", csv::Type::float32, false, {"sp_x", "global_x"}},
                                         {"g", csv::Type::uint64, true, {}},
                                         {"v", csv::Type::int32, true, {}}};

csv::Table read(std::string_view text) { return csv::parse(text, "f.csv", wanted); }

void test_spellings() {
    constexpr std::array<std::string_view, 11> texts = {
        "id,x,other\n1,2.5,a\n3,-4,b\n",         "\xEF\xBB\xBFid,x,other\n1,2.5,a\n3,-4,b\n",
        "id,x,other\r\n1,2.5,a\r\n3,-4,b\r\n",   "other,x,id\na,2.5,1\nb,-4,3\n",
        "id,x,other\n\n1,2.5,a\n\n\n3,-4,b\n\n", "\"id\",\"x\",other\n\"1\",\"2.5\",\"a,b\"\n3,-4,b\n",
        "id, x ,other\n 1, 2.5 ,a\n3,-4,\n",     "old_id,x,other\n1,2.5,a\n3,-4,b\n",
        "id,sp_x,global_x\n1,2.5,7\n3,-4,7\n",   "id,x,other\n1,+2.5,a\"b\n3,-4.0e0,\"\"\"b\"\"\"\n",
        "id,x,other\n1,2.5,a\r3,-4,b\r"};
    for (const std::string_view text : texts) {
        const csv::Table table = read(text);
        check::that(table.rows == 2 && table.at<std::int64_t>("id") == std::vector<std::int64_t>{1, 3} &&
                        table.at<float>("x") == std::vector<float>{2.5F, -4.0F} && table.warnings.empty() && !table.has("g"),
                    "spelling of " + std::string(text));
    }
    check::that(read("id,x\n1,2").warnings.size() == 1, "a file that ends within its last line is told of");
    for (const std::string_view text : {"id,x", "id,x\n", "id,x\r\n", "id,x\n\n \n"})
        check::equal(read(text).rows, 0U, "no rows");
}

void test_numbers() {
    const csv::Table table = read(
        "id,x,g,v\n-9223372036854775808,nan,18446744073709551615,-2147483648\n007,1e39,0,2147483647\n"
        "0,1e-60,1,0\n1,,1,0\n2,NA,1,0\n3,-1e400,1,0\n4,1e-400,1,0\n5,16777217,1,0\n6,1e-45,1,0\n");
    const std::vector<float>& x = table.at<float>("x");
    constexpr float inf = std::numeric_limits<float>::infinity();
    check::that(std::isnan(x[0]) && x[1] == inf && x[2] == 0.0F && std::isnan(x[3]) && std::isnan(x[4]) && x[5] == -inf &&
                    x[6] == 0.0F && x[7] == 16777216.0F && x[8] == std::numeric_limits<float>::denorm_min(),
                "floats at the ends");
    check::equal(table.at<std::uint64_t>("g")[0], std::numeric_limits<std::uint64_t>::max(), "largest uint64");
    check::equal(table.at<std::int32_t>("v")[0], std::numeric_limits<std::int32_t>::min(), "smallest int32");
    check::equal(table.at<std::int64_t>("id")[0], std::numeric_limits<std::int64_t>::min(), "smallest int64");
}

void test_refusals() {
    struct Case {
        std::string_view text, says;
    };
    constexpr std::array<Case, 24> cases = {{
        {"", "empty file"},
        {"\n1,2\n", "empty file"},
        {"\x1f\x8b\x08\n", "unpack it first"},
        {"id,\xFF\n", "binary"},
        {"id,x\r1,2\r", "old Mac"},
        {"id,y\n1,2\n", "missing column x; found id, y"},
        {"a,b\n", "missing columns id, x"},
        {"id,x,x\n1,2,3\n", "more than once"},
        {"id,x\n1\n", "expected 2 columns, found 1: 1 in row 1"},
        {"id,x\n1,2\n1,2,3\n", "expected 2 columns, found 3: 1,2,3 in row 2"},
        {"id,x\n1,2\n   ", "row 2"},
        {"id,x\n,2\n", "column id must hold integers, but is empty in row 1"},
        {"id,x\nnan,2\n", "is empty"},
        {"id,x\n1.0,2\n", "expected int64, found '1.0'"},
        {"id,x\n9223372036854775808,2\n", "expected int64"},
        {"id,x\n+1,2\n", "expected int64"},
        {"id,x\n1,2d\n", "expected float32, found '2d'"},
        {"id,x\n1,0x10\n", "expected float32"},
        {"id,x\n1,+-2\n", "expected float32"},
        {"id,x\n1, \n", "expected float32"},
        {"id,x,g\n1,2,-1\n", "expected uint64"},
        {"id,x,v\n1,2,2147483648\n", "expected int32"},
        {"id,x,o\n1,2,\"a\nb\"\n", "quote"},
        {"id,x,o\n1,2,\"a", "quote"},
    }};
    for (const Case& one : cases)
        check::refuses<InputError>([&] { read(one.text); }, one.says, "refusal of " + std::string(one.text));
    check::refuses<InputError>([] { csv::read("/no/such/file.csv", wanted); }, "could not be read", "a file that is not there");
    check::refuses<InputError>([] { csv::read("/", wanted); }, "could not be read", "a folder");
}

void test_damaged_text() {
    std::string whole = "id,x,g,v,\"other\"\r\n";
    for (int row = 0; row < 12; ++row)
        whole += std::to_string(row) + ",\"-1.25e-3\"," + std::to_string(row * 977) + ",7,\"a,\"\"b\"\n";
    std::mt19937_64 random(5);
    int read_well = 0;
    for (int i = 0; i < 20'000; ++i) {
        try {
            const csv::Table table = read(check::damaged(whole, random, ",\"\r\n0123456789.eE+-naif \t"));
            for (const auto& [name, column] : table.columns) {
                std::visit([&](const auto& values) { check::equal(values.size(), table.rows, "rows of " + name); }, column);
            }
            ++read_well;
        } catch (const InputError&) {
        }
    }
    check::that(read_well > 1000 && read_well < 19'000,
                "some damaged files can be read, others not: " + std::to_string(read_well));
}

}  // namespace

int main() {
    test_spellings();
    test_numbers();
    test_refusals();
    test_damaged_text();
    return check::result();
}
