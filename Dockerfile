# Build: docker build -t dockrion .
# Run:   docker run --rm --read-only -p 8080:8080 -v "$PWD/config:/app:ro" dockrion
#
# Mount Dockfile.yaml and the agent's code at /app. Inside the container the service listens on port
# 8080, whatever expose.port says. An image with an agent and its requirements: dockrion/guide/image.md

FROM python:3.13-slim AS dependencies
WORKDIR /src
COPY config/constraints.txt ./
# Only wheels: what builds a source distribution would not be pinned.
RUN python -m venv --without-pip /opt/dockrion \
    && pip --python /opt/dockrion install --no-cache-dir --only-binary :all: --require-hashes -r constraints.txt

FROM dependencies AS service
COPY config/constraints-build.txt ./
RUN pip install --no-cache-dir --only-binary :all: --require-hashes -r constraints-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY dockrion ./dockrion
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/dockrion install --no-cache-dir --no-deps --prefix /service /wheels/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-log-init --no-create-home --shell /usr/sbin/nologin dockrion \
    && mkdir /app \
    && pip uninstall --yes pip \
    && rm -rf /usr/local/lib/python3.13/ensurepip
# Two layers: a change of the code leaves the first one as it is.
COPY --from=dependencies /opt/dockrion /opt/dockrion
COPY --from=service /service /opt/dockrion
ENV PATH=/opt/dockrion/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001
EXPOSE 8080
# Any response below 500 is healthy: with `expose.rest: false` there is no /health, and the response is 404. HTTPS is
# tried first, for `expose.tls`, with any certificate: it may name other hosts.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import http.client as h, ssl\ndef status(c):\n c.request('GET', '/health')\n return c.getresponse().status\ntry: found = status(h.HTTPSConnection('127.0.0.1', 8080, timeout=1, context=ssl._create_unverified_context()))\nexcept ssl.SSLError: found = status(h.HTTPConnection('127.0.0.1', 8080, timeout=1))\nraise SystemExit(found >= 500)"]
# Exec form, so that signals reach dockrion. On SIGTERM it lets runs finish for up to 30 s, so stop the
# container with a longer timeout: docker stop --time 45
STOPSIGNAL SIGTERM
ENTRYPOINT ["dockrion"]
CMD ["run", "/app/Dockfile.yaml", "--host", "0.0.0.0", "--port", "8080"]
LABEL org.opencontainers.image.title="Dockrion" \
      org.opencontainers.image.description="Serve an AI agent over HTTP from one YAML file, and stream what it does." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
