# Jetson Thor with JetPack 7 (Jetson Linux 38): Ubuntu 24.04, Python 3.12, CUDA 13, TensorRT 10.13. Its CUDA is that of
# Arm servers, so the base is NVIDIA's TensorRT image for them. Build and run on the Jetson:
#   docker build -f docker/jetpack7.Dockerfile -t fsr-jetson .
#   docker run --rm --runtime nvidia --group-add video --user "$(id -u)" -v fsr-plans:/plans \
#     --entrypoint fsr-export fsr-jetson build --fp16
#   docker run --rm --runtime nvidia --group-add video --user "$(id -u)" -v fsr-plans:/plans \
#     -v "$PWD:/data" fsr-jetson --input photos --engine tensorrt
ARG BASE=nvcr.io/nvidia/tensorrt:25.08-py3
FROM python:3.12-slim AS wheel
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM ${BASE}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# GStreamer is for cameras at the CSI connector.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        gstreamer1.0-plugins-base gstreamer1.0-tools libgl1 libglib2.0-0t64 python3-venv \
    && rm -rf /var/lib/apt/lists/*
# TensorRT is a package of the system, which an ordinary environment hides; importing it needs no GPU.
RUN python3 -m venv --system-site-packages /opt/fsr
ENV PATH=/opt/fsr/bin:$PATH
RUN python -c "import tensorrt"
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[cuda,preview,video]" "cuda-bindings<14" && rm -r /wheels
COPY docker/healthcheck.py /usr/local/lib/fsr/healthcheck.py
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all XDG_CACHE_HOME=/plans
# Whoever runs it, by --user, may write there.
RUN useradd --create-home --uid 10001 fsr && install --directory --mode=1777 /data /plans
USER 10001
WORKDIR /data
VOLUME /plans
EXPOSE 8090
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "/usr/local/lib/fsr/healthcheck.py"]
ENTRYPOINT ["fsr-run"]
CMD ["--doctor"]
