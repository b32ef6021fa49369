# Stillhouse in a container: the API by default, a training worker with `python -m app.worker`.
#
#   docker build -t stillhouse .                                  the locked CUDA build of PyTorch
#   docker build -t stillhouse --build-arg TORCH_BACKEND=cpu .    the small build for CPUs only
#
# It listens on all addresses of the container, so it starts with keys, or told who reaches it:
#
#   docker run -p 127.0.0.1:8000:8000 -e STILLHOUSE_PUBLISHED_AT=127.0.0.1:8000 -e STILLHOUSE_REDIS_URL=… stillhouse
#   docker run -p 8000:8000 -e STILLHOUSE_API_KEYS=… -e STILLHOUSE_REDIS_URL=… stillhouse
#
# Nothing here needs BuildKit: the classic builder of docker-compose 1.29 builds it too.

# Any Python from 3.11 with pip and venv.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
# Empty: the lock as it stands.  Else a name that uv's --torch-backend knows (cpu, cu130, rocm7.1, …):
# torch and torchvision come at their locked versions from PyTorch's own index, everything else
# from the lock with its hashes.
ARG TORCH_BACKEND=
WORKDIR /build
# Only the locks: a change of code reinstalls nothing.
COPY requirements-uv.lock requirements.lock ./
# --without-pip: the virtual environment goes on to the next stage, the tools stay here.
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      --require-hashes -r requirements-uv.lock \
 && python3 -m venv --without-pip /opt/venv
COPY ops/install-locked.sh ./
RUN sh install-locked.sh /opt/venv requirements.lock "$TORCH_BACKEND"

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --create-home --home-dir /home/stillhouse stillhouse \
 && install -d -o stillhouse -g stillhouse /store /data
COPY --from=dependencies /opt/venv /opt/venv
# OMP_WAIT_POLICY: PyTorch's threads that wait for one another sleep.  Spinning, as they do by default,
# processes on the same cores starve each other: a picture takes seconds instead of milliseconds.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    STILLHOUSE_HOST=0.0.0.0 \
    STILLHOUSE_PORT=8000 \
    STILLHOUSE_STORE=/store \
    STILLHOUSE_DATA=/data
WORKDIR /srv/stillhouse
COPY pyproject.toml ./
COPY models models
COPY training training
COPY app app
# The user below cannot write here, so the bytecode is made now.
RUN python -m compileall -q models training app
USER stillhouse
EXPOSE 8000
# Ready, not merely alive: who waits for "healthy" wants answers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"STILLHOUSE_PORT\"]}/readyz', timeout=4)"]
# Exec form: the process is PID 1's own child or PID 1 itself, and gets the SIGTERM.
CMD ["python", "-m", "app"]
