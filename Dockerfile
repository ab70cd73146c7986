# The relay as an image: a Python, the packages it needs, and nothing that could install more.
#
#   docker build --tag image-relay .
#
# BASE is any image with Python 3.11 or newer, its venv module, and CA certificates. Wheels that lie in a
# folder `wheels` of the context are used in place of downloads; tools/download-wheels fills it.
# The default is pinned to what its tag meant on 2026-11-29, for all platforms. To renew it, which Debian's security updates
# ask for before a release, write the digest here that this prints, and the version that the image has:
#   docker buildx imagetools inspect --format 'digest={{.Manifest.Digest}}' python:3.13-slim-trixie
ARG BASE=python:3.13.15-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml wheel[s] wheels/
RUN set -eu; \
    python3 -m venv /pip; \
    python3 -m venv --without-pip /opt/image-relay
COPY pyproject.toml README.md LICENSE action/requirements.txt ./
COPY config config
COPY proxy proxy
COPY tools/shrink-libraries /usr/local/bin/
# The packages are those of the lock, by their hashes. What is only needed to build, type-check or debug goes again, and the second backend of zstandard, for PyPy.
RUN set -eu; \
    offline=; \
    if ls wheels/*.whl >/dev/null 2>&1; then offline='--no-index --find-links=wheels'; fi; \
    install() { \
      /pip/bin/pip --quiet --disable-pip-version-check --python /opt/image-relay/bin/python \
        install --no-cache-dir --no-compile --no-deps $offline "$@"; \
    }; \
    install --require-hashes --only-binary :all: --requirement requirements.txt; \
    install .; \
    find /opt/image-relay -type f '(' -name '*.py[ixd]' -o -name '*.[ch]' -o -name RECORD -o -name '_cffi.*' ')' -delete; \
    shrink-libraries /opt/image-relay
# Byte code of what a start really imports, of Python's own modules too: some bases have none, and the image is
# read-only later. So the relay is started once, with each store, and asked for its health.
ENV PYTHONPYCACHEPREFIX=/opt/image-relay/cache PATH=/opt/image-relay/bin:$PATH
RUN set -eu; \
    for store in directory actions; do \
      image-relay serve --store "$store" --data /tmp/relay & \
      until image-relay health; do sleep 0.1; done 2>/dev/null; \
      kill "$!"; \
      wait "$!"; \
    done; \
    image-relay list --port 1 || true; \
    mkdir --parents --mode=1777 /image/data

FROM ${BASE}
ARG VERSION=1.0.0
ARG REVISION=
ARG SOURCE=https://github.com/OWNER/image-relay
ARG ACTION=
LABEL org.opencontainers.image.title="image-relay" \
      org.opencontainers.image.description="Push in one job, pull in the next: a registry whose storage is the artifacts of the workflow run" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/image-relay /opt/image-relay
# No VOLUME: GitHub's runner removes containers without their volumes, and disks fill up. Open to every user, since
# a tmpfs over it takes owner or mode from here, which depends on the engine.
COPY --from=build --chown=10001:10001 /image /
ENV PATH=/opt/image-relay/bin:$PATH \
    PYTHONPYCACHEPREFIX=/opt/image-relay/cache \
    IMAGE_RELAY_ACTION=${ACTION} \
    RELAY_HOST=0.0.0.0,:: \
    RELAY_DATA=/data
USER 10001:10001
EXPOSE 5000
STOPSIGNAL SIGTERM
# Engines before 25 know one interval alone, so it is short, for a quick start; a probe of a relay that has started
# takes half a minute itself.
HEALTHCHECK --interval=1s --timeout=60s --retries=10 CMD ["image-relay", "health", "--slow-probe", "30"]
ENTRYPOINT ["image-relay"]
CMD ["serve"]
