# An image with vaebench, on CPUs. For GPUs, take a base image with CUDA and leave the index of the CPU builds away.
#
#     docker build -t vaebench .
#     docker run --rm -v "$PWD/runs:/study/runs" vaebench sweep beta
FROM python:3.12-slim

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY vaebench vaebench
COPY conf conf
RUN pip install --no-cache-dir -c constraints.txt .

WORKDIR /study
ENV OMP_NUM_THREADS=1 WANDB_MODE=offline
ENTRYPOINT ["vaebench"]
CMD ["--help"]
