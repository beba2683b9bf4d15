# x86-64 or Arm, on the processor:
#   docker build -f docker/cpu.Dockerfile -t fsr .
#   docker run --rm --user "$(id -u)" -v "$PWD:/data" fsr --input photos
#   docker run --rm --init -p 8090:8090 -e FSR_PREVIEW_TOKEN fsr --input rtsp://camera/1 --headless --preview 0.0.0.0:8090
FROM python:3.12-slim AS wheel
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.12-slim
# What OpenCV links to. Debian keeps no old versions to pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[openvino,preview,video]" && rm -r /wheels
COPY docker/healthcheck.py /usr/local/lib/fsr/healthcheck.py
# Whoever runs it, by --user, may write there.
RUN useradd --create-home --uid 10001 fsr && install --directory --mode=1777 /data
USER 10001
WORKDIR /data
EXPOSE 8090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/usr/local/lib/fsr/healthcheck.py"]
ENTRYPOINT ["fsr-run"]
CMD ["--doctor"]
