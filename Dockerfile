# The image for the tasks of a pipeline on Vertex AI or Kubeflow:
#   docker build -t IMAGE .                             for CPUs
#   docker build -t IMAGE --build-arg DEVICE=gpu .      with CUDA, from TensorFlow's wheels
# For your own model as module:function, build another image on top of this one with your package.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim
ARG DEVICE=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore TF_CPP_MIN_LOG_LEVEL=2

WORKDIR /opt/ib-keras
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY .ci .ci
COPY ib_keras ib_keras
COPY components components
COPY pipelines pipelines
RUN case "$DEVICE" in cpu) extras=pipelines ;; gpu) extras=pipelines,gpu ;; *) echo "DEVICE is $DEVICE. Expected cpu or gpu." >&2; exit 1 ;; esac; sh .ci/install python ".[$extras]"

# Tasks start here, so that they import the installed package and not the source folders.
WORKDIR /
RUN python -c "import ib_keras, ib_keras.components.base; print('ib_keras', ib_keras.__version__)"
