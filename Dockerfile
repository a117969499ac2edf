# Restoring and training in a container. The folder one stands in becomes /work, and what is written there is one's own.
#
#   docker build -t mirage .
#   docker build -t mirage --build-arg TORCH="--index-url https://download.pytorch.org/whl/cpu" .    # small, for CPUs
#   alias indocker='docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work"'
#   indocker mirage mirage-restore photo.jpg -o restored
#   indocker --gpus all --shm-size=8g mirage mirage-basicsr train -opt train.yml
FROM python:3.13-slim
ARG TORCH=
COPY . /opt/mirage
RUN pip install --no-cache-dir torch torchvision ${TORCH} \
    && PIP_NO_CACHE_DIR=1 python /opt/mirage/mirage_ir/install_basicsr.py \
    && pip install --no-cache-dir /opt/mirage \
    && rm -rf /opt/mirage
RUN useradd --create-home user && mkdir --mode=1777 /work
ENV HOME=/tmp
USER user
WORKDIR /work
CMD ["mirage-basicsr", "doctor"]
