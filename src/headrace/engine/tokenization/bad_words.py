"""Encodes the texts that an output must not contain."""

from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.tokenization.tokenizer import Tokenizer


def encode_bad_words(params: SamplingParams, tokenizer: Tokenizer) -> SamplingParams:
    """The parameters with the token sequences of their ``bad_words``.

    A word is banned in the tokens that encode it alone and in those that encode it after a space.
    An output may still spell it in others.
    """
    words = [word.lstrip() or word for word in params.bad_words]
    plain = tokenizer.encode_batch(words, add_special_tokens=False)
    spaced = tokenizer.encode_batch([f" {word}" for word in words], add_special_tokens=False)
    sequences: dict[tuple[int, ...], None] = {tuple(each): None for each in plain if each}
    for one, other in zip(plain, spaced, strict=True):
        if one and other[-len(one) :] != one:  # else the sequence of the word alone bans it
            sequences[tuple(other)] = None
    return params.replace(bad_words_token_ids=(*params.bad_words_token_ids, *sequences))
