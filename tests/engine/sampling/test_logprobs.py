import pytest
import torch

from headrace.engine.sampling.logprobs import raw_logprobs


@pytest.mark.parametrize("vocab_size", [7, 300, 30000])
def test_logprobs_equal_a_log_softmax(vocab_size: int) -> None:
    logits = torch.randn(3, vocab_size, generator=torch.Generator().manual_seed(1)) * 3
    token_ids = torch.tensor([0, 3, 6])
    num_top = [0, 5, 2]
    found = raw_logprobs(logits, token_ids, num_top)
    expected = torch.log_softmax(logits.double(), dim=-1)
    for row, entry in enumerate(found):
        values, columns = expected[row].sort(descending=True)
        assert entry.token_id == token_ids[row]
        assert entry.logprob == pytest.approx(expected[row, token_ids[row]].item(), abs=1e-5)
        assert columns[entry.rank - 1] == entry.token_id
        assert [token_id for token_id, _ in entry.top] == columns[: num_top[row]].tolist()
        logprobs = [logprob for _, logprob in entry.top]
        assert logprobs == pytest.approx(values[: num_top[row]].tolist(), abs=1e-5)


def test_ties_share_the_better_rank() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, 0.0]])
    (entry,) = raw_logprobs(logits, torch.tensor([2]), [4])
    assert entry.rank == 1
    assert [token_id for token_id, _ in entry.top] == [1, 2, 0, 3]


def test_half_precision_logits_are_not_changed() -> None:
    logits = torch.randn(1, 50).bfloat16()
    before = logits.clone()
    (entry,) = raw_logprobs(logits, torch.tensor([4]), [1])
    assert torch.equal(logits, before)
    exact = torch.log_softmax(before.float(), dim=-1)[0, 4].item()
    assert entry.logprob == pytest.approx(exact, abs=1e-6)
