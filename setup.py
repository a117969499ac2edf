"""Packaging of MIRAGE for BasicSR.

The folder ``basicsr/`` holds this checkout's two launchers and is left out on purpose: installed, it would
overwrite the ``train.py`` and ``test.py`` of BasicSR itself.
"""
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name='mirage-ir',
    version='0.1.0',
    description='MIRAGE all-in-one image restoration (ICLR 2026) as a plugin of BasicSR',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8') if (HERE / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='MIT',
    python_requires='>=3.10,<3.13',  # basicsr 1.4.2 cannot be built on Python 3.13
    packages=find_packages(include=['mirage_*']),
    package_data={'mirage_data': ['*.yml'], 'mirage_data.degradations': ['*.json'], 'mirage_ir': ['*.yml', '*.json'],
                  'mirage_ir.classical': ['*.yml'], 'mirage_restore': ['weights/*']},
    install_requires=[
        'torch',
        'basicsr>=1.4.2',  # brings torchvision, OpenCV, lmdb, PyYAML, tqdm and TensorBoard
        'numpy',
        'opencv-python',
        'pyyaml',
        'lmdb',
        'tqdm',
        'safetensors',  # the format the shipped weights and other projects' checkpoints come in
    ],
    extras_require={
        'dev': ['pytest', 'ruff', 'scikit-image', 'scikit-learn', 'pyriemann'],
        'quickstart': ['scikit-image', 'scikit-learn'],
        'export': ['onnx', 'onnxruntime', 'onnxscript'],
        'openvino': ['openvino'],
        'lpips': ['lpips'],
        'classical': ['scikit-image', 'bm3d'],  # bm3d: non-commercial use only
        'plots': ['matplotlib'],
    },
    entry_points={
        'console_scripts': [
            'mirage-basicsr=mirage_ir.cli:main',
            'mirage-restore=mirage_restore.cli:main',
        ],
    },
    classifiers=[
        'License :: OSI Approved :: MIT License',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
)
