# Build: docker build -t dockrion .
# Run:   docker run -p 8080:8080 -v "$PWD/config:/app:ro" dockrion
#
# Mount Dockfile.yaml and the agent's code at /app. Inside the container the service listens on port
# 8080, whatever expose.port says.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY dockrion ./dockrion
RUN python -m venv /opt/dockrion \
    && /opt/dockrion/bin/pip install --no-cache-dir . \
    && /opt/dockrion/bin/pip uninstall --yes pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin dockrion \
    && mkdir /app
COPY --from=build /opt/dockrion /opt/dockrion
ENV PATH=/opt/dockrion/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001
EXPOSE 8080
# Any response below 500 is healthy: with `expose.rest: false` there is no /health, and the response is 404.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=2); c.request('GET', '/health'); raise SystemExit(c.getresponse().status >= 500)"]
# Exec form, so that signals reach dockrion. On SIGTERM it lets runs finish for up to 30 s, so stop the
# container with a longer timeout: docker stop --time 45
STOPSIGNAL SIGTERM
ENTRYPOINT ["dockrion"]
CMD ["run", "/app/Dockfile.yaml", "--host", "0.0.0.0", "--port", "8080"]
