# The training half on a workstation with an NVIDIA GPU, and `haskd` as what is started.
# docs/deployment.md says how to build and start it.
#
# Linted (hadolint), never built.

FROM nvidia/cuda:12.6.3-runtime-ubuntu24.04
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The compiler of the kernels, and what Open3D and OpenCV load. Ubuntu's versions are those that fit.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        g++ libgl1 libgomp1 libusb-1.0-0 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/haskd
ENV PATH=/opt/haskd/bin:$PATH
WORKDIR /opt/haskd/source
COPY . .
ARG TORCH=torch==2.13.0
# spconv of this CUDA and this Python (docs/installation.md); the others as setup.py asks for them.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "$TORCH" spconv-cu126 '.[training,files]' \
    && useradd --create-home --uid 1500 haskd
USER 1500
WORKDIR /data
ENTRYPOINT ["haskd"]
