"""Packages and dependencies. Versions are pinned in constraints.txt: `pip install -c constraints.txt -e .`"""

from setuptools import find_packages, setup

setup(
    name="apollo_ds",
    version="0.1.0",
    description="Pretrain Transformers for a fraction of the compute by growing them while they train",
    python_requires=">=3.11",
    packages=find_packages(include=["apollo_ds", "apollo_ds.*", "data_prep", "data_prep.*"]),
    install_requires=[
        "torch",
        "deepspeed",
        "transformers",
        "tokenizers",
        "datasets",
        "tensorboard",
        "pydantic",
        "pyyaml",
        "rich",
        "matplotlib",
        "rensa",
        "safetensors",
        "xxhash",
        "psutil",
        "scikit-learn",
        "scipy",
        "torchmetrics",
    ],
    extras_require={
        "benchmark": ["accelerate"],
        "test": [
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "megatron-core",
            "pandas",
            "pyarrow",
            "ruff",
            "mypy",
            "import-linter",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            "apollo-ds=apollo_ds.__main__:main",
            "apollo-prep=data_prep.__main__:main",
        ]
    },
)
