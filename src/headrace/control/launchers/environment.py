"""The allow-list of environment variables that replicas, runs and the gateway inherit.

The shell that runs `headrace up` often holds credentials: cloud keys, tokens of model hubs, the
token of Headrace's own API. Replicas run third-party code, so they get only the variables that
programs need to find their interpreter, libraries, devices and network.
"""

import re
from collections.abc import Mapping

from headrace.control.processes.secret_variables import names_a_secret

OWN_CREDENTIALS = frozenset(
    {"HEADRACE_API_KEY", "HEADRACE_API_TOKEN", "HEADRACE_API_URL", "HEADRACE_DATABASE_URL"}
)
"""Headrace's own credentials, and the address that they are for. Never inherited."""

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
    """The part of ``environ`` that a process inherits.

    With ``everything``, all but Headrace's own credentials. Otherwise the allow-list, without
    variables whose name matches a secret's and without URLs that contain a password.
    """
    kept = {name: value for name, value in environ.items() if name not in OWN_CREDENTIALS}
    if everything:
        return kept
    return {name: value for name, value in kept.items() if _is_allowed(name, value)}


def _is_allowed(name: str, value: str) -> bool:
    if _PASSWORD_IN_URL.search(value):
        return False
    return name in _NAMES or (name.startswith(_PREFIXES) and not names_a_secret(name))
