"""lm-eval's local-completions; prints results and samples as JSON.

Arguments: the base URL, an API key, and the file with the questions.
"""

import json
import os
import sys

import lm_eval

CAPITALS = {
    "task": "capitals",
    "dataset_path": "json",
    "test_split": "train",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc"}],
}
WRITTEN = {
    **CAPITALS,
    "task": "capitals_written",
    "output_type": "generate_until",
    "doc_to_target": " {{choices[answer]}}",
    "generation_kwargs": {"until": ["."], "max_gen_toks": 12},
    "metric_list": [{"metric": "exact_match"}],
}
del WRITTEN["doc_to_choice"]


def main(base_url, api_key, questions):
    os.environ["OPENAI_API_KEY"] = api_key
    files = {"dataset_kwargs": {"data_files": questions}}
    found = lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "model": "smollm2-135m",
            "base_url": f"{base_url}/completions",
            "tokenizer_backend": "remote",
            "auth_token": api_key,
            "num_concurrent": 4,
            "max_retries": 1,
            "max_length": 1024,
        },
        tasks=[{**task, **files} for task in (CAPITALS, WRITTEN)],
        bootstrap_iters=0,
        log_samples=True,
    )
    return {
        name: {
            "results": found["results"][name],
            "samples": [{"doc": sample["doc"], "resps": sample["resps"]} for sample in samples],
        }
        for name, samples in found["samples"].items()
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
