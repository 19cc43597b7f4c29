// A program that uses the installed library: one bundle, one event.
#include <iostream>

#include <trkx/event.hpp>
#include <trkx/pipeline.hpp>
#ifdef WITH_onnx
#include <trkx/onnx_engine.hpp>
#else
#include <trkx/torch_engine.hpp>
#endif

int main(int, char** words) {
    const trkx::Bundle bundle = trkx::Bundle::open(words[1]);
#ifdef WITH_onnx
    const trkx::Pipeline pipeline(bundle.spec(), trkx::open_onnx_engine(bundle));
#else
    const trkx::Pipeline pipeline(bundle.spec(), trkx::open_torchscript_engine(bundle));
#endif
    const trkx::Event event = trkx::read_csv_event(words[2]);
    std::cout << pipeline.run(event).num_tracks() << " tracks of " << event.size() << " hits\n";
}
