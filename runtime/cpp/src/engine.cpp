#include <trkx/engine.hpp>

#include <string>

namespace trkx {

namespace {

void require_size(std::string_view stage, const char* name, const char* row, std::size_t found, std::size_t rows,
                  std::size_t columns, std::size_t wanted) {
    const bool fits = columns == 0 ? found == 0 : found % columns == 0 && found / columns == rows;
    if (fits && columns == wanted) return;
    throw InputError(std::string(stage) + ": " + name + " must be [" + std::to_string(rows) + ", " + std::to_string(wanted)
                     + "], row-major, found " + std::to_string(found) + " numbers in " + std::to_string(columns)
                     + " columns; give one row a " + row + ".");
}

}  // namespace

Columns::Columns(const Spec& spec)
    : x(spec.features.size()), places(static_cast<std::size_t>(spec.embedding_dim)), edge_attr(spec.edge_features.size()) {}

void require_fit(std::string_view stage, const Given& given, const Columns& columns) {
    const std::size_t edges = given.edges ? given.edges->size() : 0;
    require_size(stage, "x", "hit", given.x.size(), given.n, given.F, columns.x);
    require_size(stage, "edge_attr", "edge", given.edge_attr.size(), edges, given.A, stage == "gnn" ? columns.edge_attr : 0);
    if (given.edges) require_edges(*given.edges, given.n, stage);
}

}  // namespace trkx
