# x86-64 with an NVIDIA GPU, CUDA 12 and TensorRT 10; the driver comes from the host, through NVIDIA's container toolkit:
#   docker build -f docker/cuda.Dockerfile -t fsr-cuda .
#   docker run --rm --gpus all --user "$(id -u)" -v fsr-plans:/plans \
#     --entrypoint fsr-export fsr-cuda build --fp16 --explain
#   docker run --rm --gpus all --user "$(id -u)" -v fsr-plans:/plans -v "$PWD:/data" \
#     fsr-cuda --input photos --engine tensorrt
FROM python:3.12-slim AS wheel
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.12-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
# PyPI has only a stub of it; its libraries come from NVIDIA's index. Importing it needs no GPU.
ARG TENSORRT=10.13.3.9
RUN pip install --no-cache-dir --extra-index-url https://pypi.nvidia.com "tensorrt-cu12==$TENSORRT" \
    && python -c "import tensorrt"
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[cuda,preview,video]" "cuda-bindings<13" && rm -r /wheels
COPY docker/healthcheck.py /usr/local/lib/fsr/healthcheck.py
# Plans belong to one GPU: they lie in a volume, not in the image.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,video XDG_CACHE_HOME=/plans
# Whoever runs it, by --user, may write there.
RUN useradd --create-home --uid 10001 fsr && install --directory --mode=1777 /data /plans
USER 10001
WORKDIR /data
VOLUME /plans
EXPOSE 8090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/usr/local/lib/fsr/healthcheck.py"]
ENTRYPOINT ["fsr-run"]
CMD ["--doctor"]
