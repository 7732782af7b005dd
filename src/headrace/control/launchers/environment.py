"""Which of the operator's environment variables a process gets that Headrace starts.

`headrace up` runs in a shell that often holds credentials: cloud keys, tokens of model hubs, the
token of Headrace's own API. A replica runs code of others, so it gets only what a program needs to
find its interpreter, its libraries, its devices and the network. Knows no manifest.
"""

import re
from collections.abc import Mapping

from headrace.control.manifests.env import names_a_secret

OWN_CREDENTIALS = frozenset(
    {"HEADRACE_API_KEY", "HEADRACE_API_TOKEN", "HEADRACE_API_URL", "HEADRACE_DATABASE_URL"}
)
"""Of Headrace itself, and the address that they open. No replica or run gets them, not even one
that inherits everything."""

_NAMES = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "TZDIR", "TMPDIR"),
        *("LANG", "LANGUAGE", "VIRTUAL_ENV", "CONDA_PREFIX"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HUGGINGFACE_HUB_CACHE", "TOKENIZERS_PARALLELISM"),
        *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
_PREFIXES = (
    *("LC_", "XDG_", "PYTHON", "PIP_", "UV_"),
    *("HEADRACE_", "HF_", "TRANSFORMERS_", "VLLM_", "TORCH", "PYTORCH_", "TRITON_", "NUMBA_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "MALLOC_"),
    *("CUDA_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_", "HSA_"),
)

_PASSWORD_IN_URL = re.compile(r"://[^/@\s]*@")


def inherited_environment(environ: Mapping[str, str], *, everything: bool) -> dict[str, str]:
    """What of ``environ`` a process gets.

    With ``everything`` all but Headrace's own credentials; else what is known to be needed, unless
    its name is that of a secret or its value is a URL with a password in it.
    """
    kept = {name: value for name, value in environ.items() if name not in OWN_CREDENTIALS}
    if everything:
        return kept
    return {name: value for name, value in kept.items() if _is_allowed(name, value)}


def _is_allowed(name: str, value: str) -> bool:
    if _PASSWORD_IN_URL.search(value):
        return False
    return name in _NAMES or (name.startswith(_PREFIXES) and not names_a_secret(name))
