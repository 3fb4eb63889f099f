"""A recipe that names a saved model is read as quickly as any other."""

import subprocess
import sys
from pathlib import Path

from saved_models import saved

_READ = """
import sys
from apollo_ds.config.load import load_recipe
from apollo_ds.config.source_model import read_model
read_model(sys.argv[1])
load_recipe("bert-base", [f"model=hf:{sys.argv[1]}", "seq_len=8"])
print(*sys.modules)
"""


def test_reading_a_model_does_not_import_torch(tmp_path: Path) -> None:
    folder = saved(tmp_path, "bert", shard_size="2KB")
    done = subprocess.run([sys.executable, "-c", _READ, str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    assert not {"torch", "transformers"} & set(done.stdout.split())
