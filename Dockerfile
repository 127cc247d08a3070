# videobert on a CPU, with all extras: docker build --tag videobert .
# (docs/installation.md; torch's own index of CPU builds as PIP_EXTRA_INDEX_URL saves most of the size)
FROM python:3.11-slim

ARG PIP_EXTRA_INDEX_URL=
WORKDIR /opt/videobert
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY vision vision
COPY speech speech
COPY multimodal multimodal
COPY flows flows
COPY prefect.yaml prefect.yaml
RUN pip install --no-cache-dir --constraint constraints.txt '.[all,cpu]' && rm -rf build *.egg-info

# Store, weights and Prefect's records lie in /data, the one folder to mount; the user writes nowhere else.
ENV VIDEOBERT_HOME=/data VIDEOBERT_STORE=/data/store VIDEOBERT_CACHE=/data/weights PREFECT_HOME=/data/prefect
RUN useradd --uid 1000 --create-home videobert && install --directory --owner videobert --group videobert /data
USER videobert
WORKDIR /data
ENTRYPOINT ["videobert"]
CMD ["--help"]
