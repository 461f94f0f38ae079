"""Parts of the GPU benchmark, see `benchmarks/gpu.sh --help`."""
