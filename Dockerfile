# Pollux on a CPU: the gateway, a worker, or both in one process. See docs/deployment.md.
#
#   docker build -t pollux .
#   docker run -p 127.0.0.1:8000:8000 -v pollux-cache:/var/cache/pollux \
#     -e POLLUX_API_KEYS=alice=$(openssl rand -hex 32) pollux
#
# In a container it listens on all addresses, which it refuses without keys. Where the port is open
# to this machine only, as above, -e POLLUX_ALLOW_OPEN=1 instead lets everyone on it in.
FROM python:3.11-slim

# Where models and compiled programs are kept: mount a volume, or every start fetches them again.
ENV POLLUX_CACHE=/var/cache/pollux \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# The CPU kernels are compiled for the CPU that runs them, at the first start.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --no-install-recommends -y g++ \
 && rm -rf /var/lib/apt/lists/*

RUN useradd --uid 10001 --create-home pollux \
 && install -d -o pollux -g pollux /var/cache/pollux

WORKDIR /opt/pollux

# Dependencies change seldom, code often: this layer is rebuilt only when the first do.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); print(*p['project']['dependencies'], sep='\n')" > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt

COPY README.md LICENSE ./
COPY service service
COPY routing routing
COPY model model
RUN pip install --no-deps .

# By number, so that Kubernetes can tell that it is not root.
USER 10001
VOLUME /var/cache/pollux
EXPOSE 8000

# Liveness only. A gateway that waits for its model is alive; /readyz says whether it can answer.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

ENTRYPOINT ["pollux"]
CMD ["serve", "--host", "0.0.0.0"]
