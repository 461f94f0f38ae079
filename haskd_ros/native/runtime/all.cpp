// The runtime as one unit: the headers of the C++ library are read once, which takes a third of
// the time.

#include "cloud_reader.cpp"
#include "haskd.cpp"
#include "labeller.cpp"
#include "model/json.cpp"
#include "model/model_header.cpp"
#include "model/sealed_file.cpp"
#include "model/sha256.cpp"
#include "model/text.cpp"
#include "model/value.cpp"
#include "network/geometry.cpp"
#include "network/layer.cpp"
#include "network/sparse_unet.cpp"
#include "network/weights.cpp"
