# Restoring and training in a container.
#
#   docker build -t mirage .
#   docker build -t mirage --build-arg TORCH="--index-url https://download.pytorch.org/whl/cpu" .    # small, for CPUs
#   docker run --rm -v "$PWD:/work" mirage mirage-restore photo.jpg -o restored
#   docker run --rm -v "$PWD:/work" --gpus all --shm-size=8g mirage mirage-basicsr train -opt train.yml
FROM python:3.13-slim
ARG TORCH=
COPY . /opt/mirage
RUN pip install --no-cache-dir torch torchvision ${TORCH} \
    && PIP_NO_CACHE_DIR=1 python /opt/mirage/mirage_ir/install_basicsr.py \
    && pip install --no-cache-dir /opt/mirage \
    && rm -rf /opt/mirage
RUN useradd --create-home user
USER user
WORKDIR /work
CMD ["mirage-basicsr", "doctor"]
