"""Packages and dependencies. Tested versions are pinned in constraints.txt: `pip install -c constraints.txt .`"""

import re
from pathlib import Path

from setuptools import find_packages, setup

# A wheel has the recipes and DeepSpeed files of the checkout's top in here; apollo_ds/config/packaged.py finds them.
FILES = {"launch/recipes": "*.yaml", "ds_configs": "*.json"}
PACKAGED = {f"apollo_ds.packaged.{folder.replace('/', '.')}": folder for folder in FILES}
# What `apollo-ds finetune` scores with; nothing else needs it.
FINETUNE = ["scikit-learn", "scipy", "torchmetrics"]

setup(
    name="apollo_ds",
    version=re.findall(r'^__version__ = "(.+)"$', Path("apollo_ds/version.py").read_text(), re.MULTILINE)[0],
    description="Pretrain Transformers by growing them while they train",
    long_description=Path("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=[*find_packages(include=["apollo_ds", "apollo_ds.*", "data_prep", "data_prep.*"]), *PACKAGED],
    package_dir=PACKAGED,
    package_data={
        "apollo_ds": ["py.typed"],
        "data_prep": ["py.typed"],
        **{package: [FILES[folder]] for package, folder in PACKAGED.items()},
    },
    install_requires=[
        "torch>=2.13",
        # The engine uses private parts of it. Another version than these is warned of when a run starts.
        "deepspeed>=0.19.8,<0.20",
        "megatron-core>=0.16",
        "transformers>=5.0",
        "tokenizers",
        "huggingface_hub",
        "datasets",
        "tensorboard",
        "packaging",
        "pydantic>=2.10",
        "pyyaml",
        "rich",
        "typer>=0.29",
        "matplotlib",
        "numpy>=2",
        "rensa",
        "safetensors",
        "xxhash",
        "psutil",
        "pyarrow",
    ],
    extras_require={
        "finetune": FINETUNE,
        "eval": ["lm-eval[hf]>=0.4.13"],
        "wandb": ["wandb>=0.20"],
        "mlflow": ["mlflow-skinny>=3"],
        "fast": ["fastokens>=0.3.5"],
        "benchmark": ["accelerate"],
        "docs": ["mkdocs-material>=9.7", "mkdocstrings[python]>=1.0"],
        "test": [
            *FINETUNE,
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "pandas",
            "ruff",
            "mypy",
            "import-linter",
            "codespell",
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
