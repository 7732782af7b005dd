"""Which revision of which service. Knows nothing else of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RevisionKey:
    service: str
    number: int

    def __str__(self) -> str:
        return f"{self.service}/{self.number}"
